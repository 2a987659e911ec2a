package cache_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"

	"github.com/BurntSushi/toml"
)

// TestScenarios runs testdata/*.txtar. A section is an exchange:
//
//	at 5s                  time since the first one
//	> GET http://h/x       the request: line, fields, an empty ">" and a body
//	< 200                  the origin's answer: status, fields, "<" and a body;
//	                       "< refused" stands for no answer, "< cut" after an
//	                       answer for a truncated one
//	^ If-None-Match: "a"   a field that the origin must see; "^ -Name" must not
//	= 200 hit              what the client gets: status, then any of hit, miss,
//	                       stale, revalidate, bypass, stored, asked, silent
//	= Name: value          a field of it; "= -Name" must not be there
//	= body hello           its body
//	= why no-store         the reason's name
//
// The section "policy" is the route's cache table. Origins send Date unless
// they say so ("< -Date").
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			var d *driver
			group := ""
			for _, s := range sections(string(text)) {
				switch {
				case s.name == "policy":
					d = newDriver(t, 1<<20, func(c *config.RouteCache) {
						if _, err := toml.Decode(s.text, c); err != nil {
							t.Fatal(err)
						}
					})
					continue
				case strings.HasPrefix(s.name, "# "):
					// A new store under the same policy.
					group = s.name[2:]
					if d == nil {
						d = newDriver(t, 1<<20, nil)
					} else {
						p := d.policy
						d = newDriver(t, 1<<20, nil)
						d.policy = p
					}
				}
				if d == nil {
					d = newDriver(t, 1<<20, nil)
				}
				if s.text != "" {
					d.step(t, group+"/"+s.name, s.text)
				}
			}
		})
	}
}

type section struct{ name, text string }

func sections(text string) []section {
	var list []section
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "-- ") && strings.HasSuffix(trimmed, " --") {
			list = append(list, section{name: trimmed[3 : len(trimmed)-3]})
			continue
		}
		if len(list) > 0 {
			list[len(list)-1].text += line
		}
	}
	return list
}

// step runs one section.
func (d *driver) step(t *testing.T, name, text string) {
	t.Helper()
	var request, reply message
	var inBody [2]bool
	at, noDate := time.Duration(0), false
	var wants, sees []string
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		mark, rest := line[0], strings.TrimPrefix(line[1:], " ")
		switch mark {
		case 'a':
			offset, err := time.ParseDuration(strings.TrimPrefix(line, "at "))
			if err != nil {
				t.Fatalf("%s: %q", name, line)
			}
			at = offset
			d.now = epoch.Add(at)
		case '>', '<':
			m, i := &request, 0
			if mark == '<' {
				m, i = &reply, 1
			}
			switch {
			case inBody[i]:
				m.body += rest
			case m.first == "":
				m.first = rest
			case rest == "":
				inBody[i] = true
			case rest == "cut":
				m.cut = true
			case rest == "-Date":
				noDate = true
			default:
				m.fields = append(m.fields, rest+"\r\n"...)
			}
		case '^':
			sees = append(sees, rest)
		case '=':
			wants = append(wants, rest)
		default:
			t.Fatalf("%s: %q", name, line)
		}
	}
	if reply.first == "refused" {
		reply.err = errRefused
	} else if _, has := reply.lookup("Date"); !has && !noDate {
		reply.fields = append(reply.fields, "Date: "+d.now.Format("Mon, 02 Jan 2006 15:04:05 GMT")+"\r\n"...)
	}
	r := d.do(t, request.first, request.fields, request.body, func(*head.Head) message {
		if reply.first == "" {
			t.Fatalf("%s: the origin was asked", name)
		}
		return reply
	})
	for _, see := range sees {
		checkField(t, name+": origin", &r.upstream, see)
	}
	got := message{fields: r.head}
	for _, want := range wants {
		switch {
		case strings.HasPrefix(want, "body"):
			if w := strings.TrimPrefix(strings.TrimPrefix(want, "body"), " "); r.body != w {
				t.Errorf("%s: body %q, want %q", name, r.body, w)
			}
		case strings.HasPrefix(want, "why "):
			if w := want[4:]; r.reason.String() != w && r.decision.Reason.String() != w {
				t.Errorf("%s: reason %q and %q, want %q", name, r.reason, r.decision.Reason, w)
			}
		case want[0] >= '0' && want[0] <= '9':
			d.checkOutcome(t, name, &r, strings.Fields(want))
		default:
			checkField(t, name+": client", &got, want)
		}
	}
}

func checkField(t *testing.T, name string, m *message, want string) {
	t.Helper()
	if missing, ok := strings.CutPrefix(want, "-"); ok {
		if v, has := m.lookup(missing); has {
			t.Errorf("%s got %s: %s", name, missing, v)
		}
		return
	}
	field, value, _ := strings.Cut(want, ":")
	if v, has := m.lookup(field); !has || v != strings.TrimSpace(value) {
		t.Errorf("%s got %s: %q, want %q", name, field, v, strings.TrimSpace(value))
	}
}

func (d *driver) checkOutcome(t *testing.T, name string, r *result, words []string) {
	t.Helper()
	status, _ := time.ParseDuration(words[0] + "ns")
	if r.status != int(status) {
		t.Errorf("%s: status %d, want %s (%v, %v, %v)", name, r.status, words[0], r.outcome, r.reason, r.decision.Reason)
	}
	for _, w := range words[1:] {
		ok := false
		switch w {
		case "stored":
			ok = r.stored
		case "unstored":
			ok = !r.stored
		case "asked":
			ok = r.asked
		case "silent":
			ok = !r.asked
		case "refresh":
			ok = r.refresh
		default:
			ok = r.outcome.String() == w
			if !slices.Contains(rule.Outcomes(), w) {
				t.Fatalf("%s: no outcome %q", name, w)
			}
		}
		if !ok {
			t.Errorf("%s: not %q: %v, %v, decided %v %v, stored %v, asked %v", name, w, r.outcome, r.reason, r.decision.Action, r.decision.Reason, r.stored, r.asked)
		}
	}
}
