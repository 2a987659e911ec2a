package discover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/config"
	"weir/discover"
	"weir/lb"
	"weir/lb/balance"
)

// fake is a source that reports and fails as the test says.
type fake struct {
	reports chan []lb.Endpoint
	ends    chan error

	mu      sync.Mutex
	starts  int
	running int
}

func newFake() *fake { return &fake{reports: make(chan []lb.Endpoint), ends: make(chan error)} }

func (s *fake) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	s.count(1, 1)
	defer s.count(0, -1)
	for {
		select {
		case list := <-s.reports:
			report(list)
		case err := <-s.ends:
			if err != nil && err.Error() == "panic" {
				panic("of the source")
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *fake) count(starts, running int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts += starts
	s.running += running
}

// counts returns how often Run was called, and how many calls have not returned.
func (s *fake) counts() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.starts, " ", s.running)
}

// report reports endpoints of these names.
func (s *fake) report(names ...string) {
	list := []lb.Endpoint{}
	for _, name := range names {
		list = append(list, lb.Endpoint{URL: "http://" + name})
	}
	s.reports <- list
}

// world is an upstream with a Follower; it must run in a synctest bubble.
type world struct {
	*testing.T
	u      *lb.Upstream
	f      *discover.Follower
	log    bytes.Buffer
	panics int
	empty  time.Duration
	static bool // the configuration has a target of its own
}

func newWorld(t *testing.T) *world { return newWorldWith(t, nil) }

// newWorldWith is newWorld with what remembers over restarts.
func newWorldWith(t *testing.T, m *discover.Memory) *world {
	w := &world{T: t, static: true}
	w.f = discover.NewFollower(discover.Options{
		Memory:     m,
		EmptyAfter: func() time.Duration { return w.empty },
		Log:        slog.New(slog.NewTextHandler(&w.log, nil)),
		OnPanic:    func(any) { w.panics++ },
	})
	w.reload()
	t.Cleanup(func() {
		w.f.Stop()
		w.u.Close()
	})
	return w
}

// reload makes a new generation with these sources; each is "ID" and what runs it.
func (w *world) reload(specs ...discover.Spec) {
	w.Helper()
	cfg := config.DefaultUpstream()
	if w.static {
		cfg.Targets = []config.Target{{URL: "http://static", Weight: 1}}
	}
	old := w.u
	var err error
	if w.u, err = lb.NewUpstream("test", &cfg, lb.Options{Algorithms: balance.Algorithms()}, old); err != nil {
		w.Fatal(err)
	}
	w.f.Follow(w.u, specs)
	if old != nil {
		old.Close()
	}
}

// check compares the targets that were found.
func (w *world) check(what, want string) {
	w.Helper()
	time.Sleep(time.Second / 4) // sets are not replaced more often than that
	synctest.Wait()
	var names []string
	for _, t := range w.u.Targets() {
		names = append(names, strings.TrimPrefix(t.Name(), "http://"))
	}
	equal(w, what, strings.TrimPrefix(strings.TrimPrefix(strings.Join(names, " "), "static"), " "), want)
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func spec(id string, s discover.Source) discover.Spec { return discover.Spec{ID: id, Source: s} }

// A source of the same ID goes on over a reload, with its targets.
func TestSourceGoesOnOverReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := newFake()
		w.reload(spec("one", one))
		one.report("b", "a")
		w.check("reported", "a b")
		a := w.u.Targets()[1]
		w.u.SetDrain(a, true)

		unused := newFake()
		w.reload(spec("one", unused))
		w.check("after a reload", "a b")
		equal(t, "the source", one.counts(), "1 1")
		equal(t, "the same source again", unused.counts(), "0 0")
		equal(t, "state of a", w.u.Targets()[1].State(), lb.Draining)
		one.report("b", "c", "a")
		w.check("reported later", "a b c")
		equal(t, "the same target", w.u.Targets()[1].Same(a), true)
		one.report()
		w.check("nothing is there any more", "")

		one.report("a")
		w.reload()
		w.check("without the source", "")
		equal(t, "the source has ended", one.counts(), "1 0")
	})
}

// One source in place of another: what the old one found stays until the new one has
// reported.
func TestSourceIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two, three := newFake(), newFake(), newFake()
		w.reload(spec("one", one), spec("two", two))
		one.report("a", "b")
		w.check("one has reported", "a b")
		two.report("c", "b", "static")
		w.check("both have", "a b c")

		w.reload(spec("two", two), spec("three", three))
		equal(t, "one has ended", one.counts(), "1 0")
		w.check("three has not reported", "b c a")
		two.report("c")
		w.check("two has again", "c a b")
		three.ends <- errors.New("not there")
		w.check("three failed", "c a b")
		time.Sleep(time.Second)
		three.report("d")
		w.check("three has reported", "c d")

		// A source that ends without a report has found nothing.
		four := newFake()
		w.reload(spec("four", four))
		w.check("four has not reported", "c d")
		four.ends <- nil
		w.check("four never will", "")
		equal(t, "it is not run again", four.counts(), "1 0")
	})
}

// What a source had found stays with the generation before, which serves until the new one is in force.
func TestSourceIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		names := func(u *lb.Upstream) string {
			var names []string
			for _, t := range u.Targets() {
				names = append(names, strings.TrimPrefix(t.Name(), "http://"))
			}
			return strings.Join(names, " ")
		}
		next := func(old *lb.Upstream, specs ...discover.Spec) *lb.Upstream {
			cfg := config.DefaultUpstream()
			cfg.Targets = []config.Target{{URL: "http://static", Weight: 1}}
			u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: balance.Algorithms()}, old)
			if err != nil {
				t.Fatal(err)
			}
			w.f.Follow(u, specs)
			return u
		}
		one, two := newFake(), newFake()
		w.reload(spec("one", one), spec("two", two))
		one.report("a", "b")
		two.report("b", "c")
		w.check("both have reported", "a b c")

		first := w.u
		second := next(first, spec("two", two))
		equal(t, "the new generation", names(second), "static b c")
		equal(t, "the one before", names(first), "static b c a")
		two.report("d", "a")
		time.Sleep(time.Second / 4)
		synctest.Wait()
		equal(t, "the new generation, after a report", names(second), "static a d")
		equal(t, "the one before, after a report", names(first), "static a d b")
		w.u = next(second)
		equal(t, "the newest generation", names(w.u), "static")
		equal(t, "the first", names(first), "static a d b")
		first.Close()
		second.Close()
		w.reload()
		equal(t, "in the end", names(w.u), "static")
	})
}

// Sources in place of the targets of a configuration: these stay until the sources have reported.
func TestSourceReplacesTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		check := func(what, want string) {
			t.Helper()
			time.Sleep(time.Second / 4)
			synctest.Wait()
			var names []string
			for _, t := range w.u.Targets() {
				names = append(names, strings.TrimPrefix(t.Name(), "http://"))
			}
			equal(t, what, strings.Join(names, " "), want)
		}
		one, two := newFake(), newFake()
		w.static = false
		w.reload(spec("one", one))
		check("one has not reported", "static")
		one.ends <- errors.New("not there")
		check("one fails", "static")
		w.reload(spec("one", one), spec("two", two))
		two.report("b")
		check("two has reported, one fails still", "b static")
		one.report("a")
		check("both have reported", "a b")

		w.static = true
		w.reload(spec("one", one), spec("two", two))
		check("a target of the configuration again", "static a b")
		w.static = false
		w.reload(spec("one", one), spec("two", two))
		check("it is taken away, and both sources have reported", "a b")
	})
}

// A source that fails is run again, after waits that grow, and what it found stays.
func TestSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newFake()
		w.reload(spec("s", s))
		s.report("a")
		fail := func(text string, least, most time.Duration) {
			t.Helper()
			s.mu.Lock()
			before := s.starts
			s.mu.Unlock()
			s.ends <- errors.New(text)
			began := time.Now()
			for {
				synctest.Wait()
				s.mu.Lock()
				again := s.starts > before
				s.mu.Unlock()
				if again {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if waited := time.Since(began); waited < least || waited > most+10*time.Millisecond {
				t.Errorf("%s: waited %v, want %v to %v", text, waited, least, most)
			}
			w.check("what was found", "a")
		}
		fail("broken", time.Second/8, time.Second/4)
		fail("broken", time.Second/4, time.Second/2)
		for began := time.Now(); time.Since(began) < 5*time.Minute-2*time.Second; {
			fail("broken", time.Second/2, time.Second)
		}
		for range 20 {
			fail("broken", time.Second/2, 10*time.Second)
		}
		for range 3 {
			fail("broken", 5*time.Second, 10*time.Second)
		}
		// That it is well for a while makes it begin anew.
		s.report("a")
		time.Sleep(5 * time.Second)
		fail("panic", time.Second/8, time.Second/4)
		fail("broken", time.Second/4, time.Second/2)
		equal(t, "panics", w.panics, 1)
		w.f.Stop()
		equal(t, "stopped", strings.HasSuffix(s.counts(), " 0"), true)
		w.check("what was found, to the end", "a")
		for _, want := range []string{`source=s error=broken`, `error="panic: of the source"`, `well again" source=s failed_for=`} {
			if !strings.Contains(w.log.String(), want) {
				t.Errorf("no %s in the log:\n%s", want, w.log.String())
			}
		}
		if n := strings.Count(w.log.String(), "error=broken"); n > 10 {
			t.Errorf("one failure that goes on for 5 minutes fills the log: %d lines", n)
		}
	})
}

// A source that reports and fails again and again is not run without a pause, and does not fill the log.
func TestSourceFailsAfterEachReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newFake()
		w.reload(spec("s", s))
		port := 40000
		again := func(least, most time.Duration) {
			t.Helper()
			began := time.Now()
			s.report("a") // is taken when it runs
			if waited := time.Since(began); waited < least || waited > most {
				t.Errorf("it ran again after %v, want %v to %v", waited, least, most)
			}
			port++
			s.ends <- fmt.Errorf("read tcp 127.0.0.1:%d->127.0.0.1:80: connection reset", port)
		}
		again(0, 0)
		again(time.Second/8, time.Second/4)
		again(time.Second/4, time.Second/2)
		for range 20 {
			again(time.Second/4, time.Second/2)
		}
		w.check("what was found", "a")
		lines := func(text string, want int) {
			t.Helper()
			if got := strings.Count(w.log.String(), text); got != want {
				t.Errorf("%d lines with %q, want %d:\n%s", got, text, want, w.log.String())
			}
		}
		lines("connection reset", 1)
		lines("well again", 1)
		s.report("a")
		time.Sleep(10 * time.Second)
		again(0, 0)
		s.report("a")
		synctest.Wait()
		lines("connection reset", 2)
		lines("well again", 2)
	})
}

// A server may say when it wants to be asked again.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newFake()
		w.reload(spec("s", s))
		for field, want := range map[string]time.Duration{"7": 7 * time.Second, "3600": 10 * time.Second} {
			s.ends <- fmt.Errorf("the server is busy: %w", discover.RetryAfter(errors.New("429"), field))
			began := time.Now()
			s.report("a") // is taken when it runs
			if waited := time.Since(began); waited != want {
				t.Errorf("Retry-After of %s: it ran again after %v, want %v", field, waited, want)
			}
		}
		if err := errors.New("503"); discover.RetryAfter(err, "") != err || discover.RetryAfter(err, "Fri, 27 Nov 2026 00:00:00 GMT") != err {
			t.Error("an error without a number of seconds is another one")
		}
	})
}

// A report of which nothing can be used is nonsense, and not an empty one.
func TestNothingCanBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.empty = 30 * time.Second
		s := newFake()
		w.reload(spec("s", s))
		s.report("a", "b")
		w.check("at the start", "a b")
		s.reports <- []lb.Endpoint{{URL: "ftp://a"}, {URL: "nonsense"}}
		time.Sleep(10 * time.Minute)
		w.check("nonsense", "a b")
		if e := w.f.Endpoints()["http://a"]; e.Kept != "nothing that the source finds can be used" {
			t.Errorf("got %+v", e)
		}
		s.reports <- []lb.Endpoint{{URL: "ftp://a"}, {URL: "http://b"}}
		time.Sleep(time.Second)
		w.check("one is good", "b")
		s.reports <- []lb.Endpoint{}
		time.Sleep(time.Minute)
		w.check("nothing", "")
	})
}

// What cannot be used is left out, and the rest is used.
func TestBadEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newFake()
		w.reload(spec("s", s))
		s.reports <- []lb.Endpoint{
			{URL: "http://b", Weight: 1 << 40}, {URL: "ftp://x"}, {URL: "http://user:secret@c"}, {URL: ""},
			{URL: "http://a/", Weight: -1}, {URL: "http://a", Weight: 5}, {URL: "http://d/path"},
		}
		w.check("the good ones", "a b")
		equal(t, "weight of a", w.u.Targets()[1].Weight(), 1)
		equal(t, "weight of b", w.u.Targets()[2].Weight(), config.MaxWeight)
		if log := w.log.String(); strings.Contains(log, "secret") || strings.Count(log, "cannot be used") != 4 {
			t.Errorf("log:\n%s", log)
		}
		// The same in another order is no change.
		before := w.u.Targets()
		s.reports <- []lb.Endpoint{{URL: "http://a"}, {URL: "http://b", Weight: config.MaxWeight}}
		synctest.Wait()
		equal(t, "the set is the same", &w.u.Targets()[0], &before[0])
	})
}

// A report of a source that was stopped changes nothing.
func TestLateReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		late := make(chan func([]lb.Endpoint), 1)
		w.reload(spec("s", sourceFunc(func(ctx context.Context, report func([]lb.Endpoint)) error {
			late <- report
			<-ctx.Done()
			return ctx.Err()
		})))
		report := <-late
		report([]lb.Endpoint{{URL: "http://a"}})
		w.check("in time", "a")
		w.reload()
		report([]lb.Endpoint{{URL: "http://b"}})
		w.check("too late", "")
	})
}

type sourceFunc func(ctx context.Context, report func([]lb.Endpoint)) error

func (f sourceFunc) Run(ctx context.Context, report func([]lb.Endpoint)) error { return f(ctx, report) }
