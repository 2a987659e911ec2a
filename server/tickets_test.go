package server_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/server"
)

// session is a client that takes up its sessions again.
type session struct {
	t   *testing.T
	cfg *tls.Config
}

func newSession(t *testing.T, a *testkit.Authority, version uint16) *session {
	cfg := tlsClient(a)
	cfg.MaxVersion, cfg.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
	return &session{t, cfg}
}

// resumes makes an exchange, and says whether its connection took up a session.
func (s *session) resumes(w *weir) bool {
	s.t.Helper()
	c := testkit.DialTLS(s.t, w.addr, s.cfg)
	equal(s.t, "status", c.Get("/").Status(), 200) // after it the tickets of TLS 1.3 are there
	c.Close()
	return c.Conn.(*tls.Conn).ConnectionState().DidResume
}

func eachVersion(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
	}
}

const answers200 = "[[routes]]\nrespond = { status = 200 }\n"

// Sessions are taken up again over a reload, and not where tickets are off.
func TestTickets(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		authority := testkit.NewAuthority(t)
		pair := authority.Issue("127.0.0.1")
		text := func(keys string) string { return secureListener(pair, keys) + answers200 }
		w := run(t, "%s", text(""))
		s := newSession(t, authority, version)
		equal(t, "the first", s.resumes(w), false)
		equal(t, "the second", s.resumes(w), true)
		reload := func(keys string) {
			t.Helper()
			if err := w.Reload(parse(t, text(keys))); err != nil {
				t.Fatal(err)
			}
		}
		reload(`min_tls = "1.2"`)
		equal(t, "after a reload", s.resumes(w), true)
		reload("tickets = false")
		equal(t, "without tickets", s.resumes(w), false)
		equal(t, "without tickets, again", s.resumes(w), false)
		reload("tickets = { rotate = \"1s\" }")
		s.resumes(w)
		testkit.Eventually(t, "keys are forgotten", func() bool {
			old := s.cfg.Clone()
			old.ClientSessionCache = kept{s.cfg.ClientSessionCache}
			return !(&session{t, old}).resumes(w)
		})
	})
}

// kept is a cache that takes in no session.
type kept struct{ tls.ClientSessionCache }

func (kept) Put(string, *tls.ClientSessionState) {}

// Nodes with the same file take up each other's sessions; a changed file is read again, and what cannot
// be used changes nothing.
func TestSharedTickets(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		authority := testkit.NewAuthority(t)
		pair := authority.Issue("127.0.0.1")
		dir := t.TempDir()
		secrets := func(name, text string) string {
			t.Helper()
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			return path
		}
		one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
		node := func(name, text string) (*weir, *textLog) {
			t.Helper()
			var logs textLog
			w := launch(t, secureListener(pair, "tickets = { file = '"+secrets(name, text)+"' }")+answers200, server.WithLog(logs.logger()))
			return w, &logs
		}
		a, _ := node("a", one)
		b, logs := node("b", one)
		c, _ := node("c", two)
		s := newSession(t, authority, version)
		equal(t, "a", s.resumes(a), false)
		equal(t, "b after a", s.resumes(b), true)
		equal(t, "a after b", s.resumes(a), true)
		equal(t, "c, of another secret", s.resumes(c), false)
		equal(t, "b after c", s.resumes(b), false)

		secrets("b", "short\n")
		logs.await(t, "cannot use changed secrets of session tickets, the old ones stay")
		equal(t, "b with a bad file", s.resumes(b), true)
		secrets("b", one+"\n"+two+"\n")
		logs.await(t, "secrets of session tickets were read again")
		equal(t, "b with both secrets", s.resumes(b), true)
		equal(t, "c, of the second", s.resumes(c), false)
		equal(t, "b after c", s.resumes(b), true)
	})
}

// The process that replaces another one takes up its sessions.
func TestTicketsOfPredecessor(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		authority := testkit.NewAuthority(t)
		text := secureListener(authority.Issue("127.0.0.1"), "") + answers200
		old := launch(t, text)
		s := newSession(t, authority, version)
		equal(t, "at first", s.resumes(old), false)
		known, err := old.Memory()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the next process", s.resumes(launch(t, text, server.WithPredecessor(&server.Predecessor{Memory: known}))), true)
	})
}
