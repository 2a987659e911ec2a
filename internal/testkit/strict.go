package testkit

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// StrictCase is a case of server/testdata/strict.txt.
type StrictCase struct {
	Name string
	// Send are the bytes that the client sends.
	Send string
	// Status and Cause are the answer and the cause in the access log.
	Status int
	Cause  string
	// Want are lines that the origin must get, Not is text that it must not get.
	Want, Not []string
}

// StrictCases reads the cases of a file, whose format its first lines explain.
func StrictCases(t testing.TB, file string) []StrictCase {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []StrictCase
	for i, line := range strings.Split(string(b), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		kind, text := line[0], strings.TrimPrefix(line[1:], " ")
		if kind == '=' {
			cases = append(cases, StrictCase{Name: text})
			continue
		}
		c := &cases[len(cases)-1]
		switch kind {
		case '>':
			text, open := strings.CutSuffix(text, `\`)
			c.Send += unescape(t, text)
			if !open {
				c.Send += "\r\n"
			}
		case '<':
			status, cause, _ := strings.Cut(text, " ")
			c.Status, err = strconv.Atoi(status)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			c.Cause = cause
		case '@':
			c.Want = append(c.Want, unescape(t, text))
		case '!':
			c.Not = append(c.Not, unescape(t, text))
		default:
			t.Fatalf("line %d begins with %q", i+1, kind)
		}
	}
	return cases
}

func unescape(t testing.TB, s string) string {
	t.Helper()
	s = strings.NewReplacer(`"`, `\"`, `\0`, `\x00`).Replace(s)
	s, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return s
}
