package discover_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/discover"
	"weir/lb"
)

// A source that finds nothing is not believed at once.
func TestEmptyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.empty = 30 * time.Second
		s := newFake()
		w.reload(spec("s", s))
		s.report()
		w.check("nothing yet", "")
		s.report("a", "b")
		w.check("found", "a b")
		s.report()
		w.check("nothing", "a b")
		time.Sleep(28 * time.Second)
		s.report() // says so again
		w.check("nothing for a while", "a b")
		if got := w.f.Endpoints()["http://a"]; got.Kept != "the source finds nothing" || time.Since(got.Seen) < 28*time.Second {
			t.Errorf("what is told of a: %+v", got)
		}
		time.Sleep(2 * time.Second)
		w.check("nothing for long", "")

		s.report("a")
		w.check("found again", "a")
		s.report()
		time.Sleep(29 * time.Second)
		s.report("b")
		w.check("found before it is believed", "b")
		time.Sleep(time.Minute)
		w.check("found, later", "b")

		exact := spec("exact", s)
		exact.Exact = true
		w.reload(exact)
		s.report("c")
		w.check("another source", "c")
		s.report()
		w.check("one that is exact", "")
	})
}

// That a source finds nothing is not believed when it then fails, or finds what cannot be used: the time begins anew when it
// says so again.
func TestEmptyThenFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, interrupt := range map[string]func(s *fake){
			"fails":    func(s *fake) { s.ends <- errors.New("gone"); time.Sleep(time.Second) },
			"nonsense": func(s *fake) { s.reports <- []lb.Endpoint{{URL: "ftp://a"}} },
		} {
			w := newWorld(t)
			w.empty = 30 * time.Second
			s := newFake()
			w.reload(spec("s", s))
			s.report("a", "b")
			w.check(what+", found", "a b")
			s.report()
			w.check(what+", nothing", "a b")
			interrupt(s)
			time.Sleep(time.Hour)
			w.check(what+", for long", "a b")
			s.report()
			time.Sleep(29 * time.Second)
			w.check(what+", nothing again", "a b")
			time.Sleep(time.Second)
			w.check(what+", nothing for long", "")
		}
	})
}

// An endpoint that comes and goes is used once it has stayed; one that is the last is used at
// once.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newFake()
		w.reload(spec("s", s))
		s.report("a", "b")
		w.check("found", "a b")
		for range 2 {
			s.report("a")
			w.check("b has gone", "a")
			s.report("a", "b")
			w.check("b is back", "a b")
		}
		s.report("a")
		w.check("b has gone too often", "a")
		s.report("a", "b", "c")
		w.check("b must stay", "a c")
		equal(t, "held back", len(w.f.Held()), 1)
		time.Sleep(4 * time.Second)
		w.check("b has not stayed for long", "a c")
		time.Sleep(time.Second)
		w.check("b has stayed", "a b c")
		equal(t, "held back", len(w.f.Held()), 0)

		s.report("a", "c")
		w.check("b has gone again", "a c")
		s.report("a", "b", "c")
		w.check("b must stay for longer", "a c")
		time.Sleep(9 * time.Second)
		w.check("b has not stayed for so long", "a c")
		s.report("a", "c")
		w.check("b did not stay", "a c")
		s.report("a", "b", "c")
		time.Sleep(19 * time.Second)
		w.check("b must stay for even longer", "a c")
		time.Sleep(time.Second)
		w.check("b has stayed", "a b c")

		time.Sleep(3 * time.Minute)
		s.report("a", "c")
		w.check("b has gone after a long time", "a c")
		s.report("a", "b", "c")
		w.check("that is forgotten", "a b c")
		if n := strings.Count(w.log.String(), "comes and goes"); n != 3 {
			t.Errorf("%d lines say that b comes and goes, want 3:\n%s", n, w.log.String())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.static = false
		s := newFake()
		w.reload(spec("s", s))
		for range 5 {
			s.report("a")
			w.check("the only one", "a")
			s.report()
			w.check("none", "")
		}
	})
}

// However often a source reports, the set is replaced a few times each second, and the last
// report counts. The first one after a pause counts at once.
func TestManyReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newFake()
		w.reload(spec("s", s))
		time.Sleep(time.Second)
		sets, last := 0, &w.u.Targets()[0]
		for i := range 1000 {
			s.report(fmt.Sprint("a", i))
			synctest.Wait()
			if set := &w.u.Targets()[0]; set != last {
				sets, last = sets+1, set
			}
			if i == 0 {
				equal(t, "sets after the first report", sets, 1)
			}
			time.Sleep(time.Millisecond)
		}
		if sets < 4 || sets > 6 {
			t.Errorf("the set was replaced %d times in a second, want 5", sets)
		}
		w.check("the last one", "a999")
	})
}

// What was found counts over a restart, until the source reports.
func TestFoundBeforeTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "found")
	open := func(t *testing.T) *discover.Memory {
		m, err := discover.OpenMemory(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, open(t))
		s := newFake()
		w.reload(spec("s", s))
		s.reports <- []lb.Endpoint{{URL: "http://a", Weight: 5, Priority: 2, Drain: true}, {URL: "http://b"}}
		w.check("found", "a b")
		time.Sleep(2 * time.Second) // it is written without being asked for
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, open(t))
		s := newFake()
		w.reload(spec("s", s), spec("other", newFake()))
		w.check("after a restart", "a b")
		a := w.u.Targets()[1]
		equal(t, "all of a", fmt.Sprint(a.Weight(), a.Priority(), a.State()), "5 2 draining")
		s.ends <- errors.New("not there")
		w.check("the source fails", "a b")
		if kept := w.f.Endpoints()["http://a"].Kept; kept != "the source fails: not there" {
			t.Errorf("a is kept because %s", kept)
		}
		time.Sleep(time.Second)
		s.report("c")
		w.check("the source reports", "c")
		equal(t, "kept", w.f.Endpoints()["http://c"].Kept, "")
	})
	synctest.Test(t, func(t *testing.T) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, broken := range map[string][]byte{
			"cut": text[:len(text)-1], "empty": nil, "changed": []byte(strings.Replace(string(text), "http", "hppt", 1)), "none of ours": []byte("{}"),
		} {
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := discover.OpenMemory(path, nil)
			if m == nil || err == nil || !strings.Contains(err.Error(), ".bad") {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := os.Stat(path + ".bad"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w := newWorldWith(t, open(t))
		w.reload(spec("s", newFake()))
		w.check("nothing is known", "")
	})
}
