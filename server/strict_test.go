package server_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// strictCase is a case of testdata/strict.txt.
type strictCase struct {
	name, send string
	status     int
	cause      string
	want, not  []string
}

func strictCases(t *testing.T) []strictCase {
	t.Helper()
	b, err := os.ReadFile("testdata/strict.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []strictCase
	for i, line := range strings.Split(string(b), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		kind, text := line[0], strings.TrimPrefix(line[1:], " ")
		if kind == '=' {
			cases = append(cases, strictCase{name: text})
			continue
		}
		c := &cases[len(cases)-1]
		switch kind {
		case '>':
			text, open := strings.CutSuffix(text, `\`)
			c.send += unescape(t, text)
			if !open {
				c.send += "\r\n"
			}
		case '<':
			status, cause, _ := strings.Cut(text, " ")
			c.status, err = strconv.Atoi(status)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			c.cause = cause
		case '@':
			c.want = append(c.want, unescape(t, text))
		case '!':
			c.not = append(c.not, unescape(t, text))
		default:
			t.Fatalf("line %d begins with %q", i+1, kind)
		}
	}
	return cases
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	s = strings.NewReplacer(`"`, `\"`, `\0`, `\x00`).Replace(s)
	s, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return s
}

// The corpus. Each refusal must reach the client, also one that goes on sending,
// and must be in the access log.
func TestStrictInput(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			got <- c.Request()
			c.Send(ok)
		}
	})
	w := through(t, origin)
	want := make(map[string]string) // the log's line by the client's address
	for _, c := range strictCases(t) {
		junk := []string{"", strings.Repeat("x", 1<<20)}
		if c.status == 200 {
			junk = junk[:1]
		}
		for _, more := range junk {
			t.Run(fmt.Sprintf("%s, %d more bytes", c.name, len(more)), func(t *testing.T) {
				client := testkit.Dial(t, w.addr)
				want[client.LocalAddr().String()] = fmt.Sprintf("%d %s", c.status, c.cause)
				client.Send(c.send + more)
				m := client.Response("GET")
				equal(t, "status", m.Status(), c.status)
				if m.Status() == 200 {
					c.judge(t, receive(t, got))
					return
				}
				equal(t, "Connection", m.Get("Connection"), "close")
				rest, end := client.Rest()
				equal(t, "what follows", rest, "")
				equal(t, "the end", end, testkit.Closed)
			})
		}
	}
	for _, line := range w.logged(len(want)) {
		equal(t, "the log's line", line.String(), want[line.Peer])
	}
	equal(t, "requests that reached the origin and were not looked at", len(got), 0)
}

// judge compares what the origin got.
func (c *strictCase) judge(t *testing.T, m *testkit.Message) {
	t.Helper()
	for _, want := range c.want {
		if !strings.Contains("\r\n"+m.Head, "\r\n"+want+"\r\n") {
			t.Errorf("origin got %q, without %q", m.Head, want)
		}
	}
	for _, not := range c.not {
		if strings.Contains(m.Head, not) {
			t.Errorf("origin got %q, with %q", m.Head, not)
		}
	}
}
