package lb_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/balance"
	"weir/lb/lbtest"
)

// watch makes the stand eject after three failures in a row, as package health does.
func (s *stand) watch() {
	s.Watch(&lb.Watcher{Failed: func(t *lb.Target, _ lb.Outcome, inARow int64) {
		if inARow%3 == 0 {
			s.Eject(t, "three failures")
		}
	}})
}

// on sends an exchange to the target that ends with o, whatever the algorithm says.
func (s *stand) on(name string, o lb.Outcome) {
	s.Helper()
	var held []*lb.Target
	defer func() {
		for _, t := range held {
			s.Release(t, cancelled)
		}
	}()
	for range 2 * len(s.Targets()) {
		t, err := s.Acquire(&lb.Pick{Once: s.Once && s.Target(name).State() == lb.Ejected})
		if err != nil {
			s.Fatal(err)
		}
		if t.Same(s.Target(name)) {
			s.Release(t, o)
			return
		}
		held = append(held, t)
	}
	s.Fatalf("no exchange went to %s", name)
}

// Exchanges that cannot be repeated bring a target back after the time of its ejection.
func TestEjection(t *testing.T) {
	s := newStand(t, "a b c", func(c *config.Upstream) {
		c.Health.Passive.Eject = config.Duration(10 * time.Second)
		c.Health.Passive.EjectMax = config.Duration(time.Minute)
	})
	s.watch()
	s.Once = true
	b := s.Target("b")
	fail := func() {
		t.Helper()
		for range 3 {
			s.on("b", busy)
		}
		equal(t, "b after failures", b.State(), lb.Ejected)
	}
	// A success in between forgives.
	s.on("b", busy)
	s.on("b", busy)
	s.on("b", ok)
	s.on("b", busy)
	equal(t, "b", b.State(), lb.Healthy)
	s.on("b", ok)

	fail()
	equal(t, "reason", b.Reason(), "three failures")
	if got := s.Picks(4, ok); strings.Contains(got, "b") {
		t.Errorf("b is ejected: got %s", got)
	}
	s.Pass(9999 * time.Millisecond)
	if got := s.Picks(4, ok); strings.Contains(got, "b") {
		t.Errorf("b is still ejected: got %s", got)
	}
	// Then one exchange is a trial, and no other goes there until it ends.
	s.Pass(time.Millisecond)
	var trial *lb.Target
	for range 6 {
		target, err := s.Acquire(&lb.Pick{Once: true})
		if err != nil {
			t.Fatal(err)
		}
		if lbtest.Name(target) != "b" {
			s.Release(target, ok)
			continue
		}
		if trial != nil {
			t.Fatal("two trials at once")
		}
		trial = target
	}
	if trial == nil {
		t.Fatal("no trial")
	}
	// It fails: out for twice as long.
	s.Release(trial, timedOut)
	equal(t, "b after a failed trial", b.State(), lb.Ejected)
	s.Pass(19 * time.Second)
	if got := s.Picks(4, ok); strings.Contains(got, "b") {
		t.Errorf("b came back too early: got %s", got)
	}
	s.Pass(time.Second)
	s.on("b", ok)
	equal(t, "b after a good trial", b.State(), lb.Healthy)

	// The time grows up to its bound, ...
	for range 5 {
		fail()
		s.Pass(time.Minute)
		s.on("b", ok)
	}
	fail()
	s.Pass(59 * time.Second)
	if got := s.Picks(4, ok); strings.Contains(got, "b") {
		t.Errorf("b came back too early: got %s", got)
	}
	s.Pass(time.Second)
	s.on("b", ok)
	// ... and shrinks while all goes well.
	s.Pass(time.Hour)
	fail()
	s.Pass(10 * time.Second)
	s.on("b", ok)
	equal(t, "b after a short ejection", b.State(), lb.Healthy)
}

func TestCanceledTrialIsRepeated(t *testing.T) {
	s := newStand(t, "a b", nil)
	s.Eject(s.Target("b"), "test")
	s.Pass(10 * time.Second)
	s.on("b", cancelled) // says nothing about b
	equal(t, "b", s.Target("b").State(), lb.Ejected)
	s.on("b", ok)
	equal(t, "b", s.Target("b").State(), lb.Healthy)

	// A trial that never ends is not the last one.
	s.Eject(s.Target("b"), "test")
	s.Pass(time.Hour)
	for range 2 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	s.Pass(time.Minute)
	s.on("b", ok)
	equal(t, "b", s.Target("b").State(), lb.Healthy)
}

func TestEndlessResponseIsLearntAtItsHead(t *testing.T) {
	s := newStand(t, "a b", nil)
	s.Eject(s.Target("b"), "test")
	s.Pass(10 * time.Second)
	for range 2 {
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		s.Report(target, ok)
		defer s.Release(target, lb.Outcome{Kind: lb.AlreadyReported})
	}
	equal(t, "b while its response goes on", s.Target("b").State(), lb.Healthy)
	good, _, _ := s.Target("b").Counts()
	equal(t, "successes", good, 1)
}

func TestNeverTheLastUsableOne(t *testing.T) {
	s := newStand(t, "a b c d e f", func(c *config.Upstream) { c.Health.Passive.MaxEjected = 0.5 })
	eject := func(name string, want bool) {
		t.Helper()
		equal(t, "eject "+name, s.Eject(s.Target(name), "test"), want)
	}
	// At most the share.
	eject("a", true)
	eject("b", true)
	eject("c", true)
	eject("d", false)
	// Nor the last one, when others are out for other reasons.
	s = newStand(t, "a b c d e f", func(c *config.Upstream) {
		c.Health.Passive.MaxEjected = 1
		c.Health.PanicBelow = 0
	})
	s.SetDown(s.Target("a"), "test")
	s.SetDrain(s.Target("b"), true)
	s.on("c", refused)
	eject("d", true)
	eject("e", true)
	eject("f", false)
	equal(t, "picks", s.Picks(2, internal), "f f")
	// One may be, however small the share.
	s = newStand(t, "a b", func(c *config.Upstream) { c.Health.Passive.MaxEjected = 0.1 })
	eject("a", true)
	eject("b", false)
	// A single target stays.
	s = newStand(t, "a", nil)
	s.watch()
	s.Picks(10, internal)
	equal(t, "a single target", s.Target("a").State(), lb.Healthy)
}

// Panic mode doubts ejections, and nothing that is known otherwise.
func TestPanicMode(t *testing.T) {
	s := newStand(t, "a b c d", func(c *config.Upstream) { c.Health.PanicBelow = 0.5 })
	s.SetDown(s.Target("a"), "test")
	s.SetDown(s.Target("b"), "test")
	equal(t, "half is down", s.Picks(4, ok), "c d c d")
	s.SetDown(s.Target("c"), "test")
	equal(t, "three of four are down", s.Panicking(), false)
	equal(t, "three of four are down", s.Picks(2, ok), "d d")
	s.SetDown(s.Target("d"), "test")
	equal(t, "all are down", s.Panicking(), false)
	equal(t, "all are down", s.Picks(1, ok), "(no usable target)")
	for _, name := range []string{"a", "b", "c", "d"} {
		s.SetUp(s.Target(name))
	}

	// Two are ejected, two others are out: the ejected ones are used.
	s.Eject(s.Target("a"), "test")
	s.Eject(s.Target("b"), "test")
	equal(t, "half is ejected", s.Panicking(), false)
	s.SetDown(s.Target("c"), "test")
	s.on("d", refused)
	equal(t, "none is left", s.Panicking(), true)
	got := s.Shares(40, 1)
	equal(t, "picks", fmt.Sprint(got), "map[a:20 b:20]")
	s.SetDrain(s.Target("b"), true)
	equal(t, "b drains", s.Picks(2, ok), "a a")
	s.SetUp(s.Target("c"))
	equal(t, "c is up", s.Panicking(), false)
	equal(t, "c is up", s.Picks(2, ok), "c c")

	// Off.
	s = newStand(t, "a b", func(c *config.Upstream) { c.Health.PanicBelow = 0 })
	s.Eject(s.Target("a"), "test")
	s.SetDown(s.Target("b"), "test")
	equal(t, "none is left, off", s.Picks(1, ok), "(no usable target)")
}

func TestUnreachableIsKnownToAll(t *testing.T) {
	s := newStand(t, "a b", func(c *config.Upstream) { c.Health.Passive.Redial = config.Duration(time.Second) })
	// Many exchanges are on their way to a when it dies; the first that fails tells all others.
	var open []*lb.Target
	for range 20 {
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, target)
	}
	for _, target := range open {
		if lbtest.Name(target) == "a" {
			s.Release(target, refused)
		} else {
			s.Release(target, ok)
		}
	}
	equal(t, "a", s.Target("a").State(), lb.Unreachable)
	equal(t, "picks", s.Picks(5, ok), "b b b b b")

	// However long a is dead, dials are few: 100, 200, 400, 800 ms and then 1 s apart.
	dials := 0
	for range 10_000 {
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		if lbtest.Name(target) == "a" {
			dials++
			s.Release(target, refused)
		} else {
			s.Release(target, ok)
		}
		s.Pass(time.Millisecond)
	}
	if dials < 10 || dials > 13 {
		t.Errorf("%d exchanges were sent to the dead target within 10 s, want 10 to 13", dials)
	}
	s.Pass(time.Second)
	if got := s.Picks(3, ok); !strings.Contains(got, "a") {
		t.Errorf("a is back: got %s", got)
	}
	equal(t, "a", s.Target("a").State(), lb.Healthy)
}

func TestAllUnreachable(t *testing.T) {
	s := newStand(t, "a b c", nil)
	attempts := 0
	for range 10_000 {
		var p lb.Pick
		for {
			target, err := s.Acquire(&p)
			if err != nil {
				equal(t, "error", err, lb.ErrNoTarget)
				break
			}
			attempts++
			s.Release(target, refused)
		}
		s.Pass(time.Millisecond)
	}
	if attempts > 45 {
		t.Errorf("%d attempts for 10,000 exchanges in 10 s, want at most 45", attempts)
	}
	s.Pass(time.Second)
	s.Picks(6, ok)
	for _, target := range s.Targets() {
		equal(t, target.Name(), target.State(), lb.Healthy)
	}
}

func TestWatcherDials(t *testing.T) {
	s := newStand(t, "a b", nil)
	var told []string
	w := &lb.Watcher{Unreachable: func(t *lb.Target) { told = append(told, lbtest.Name(t)) }}
	s.Watch(w)
	s.on("a", refused)
	s.Pass(time.Hour)
	equal(t, "no exchange is a trial", s.Picks(4, ok), "b b b b")
	equal(t, "told", strings.Join(told, " "), "a")
	// An ejection that ran out meanwhile is kept in mind.
	s.SetReachable(s.Target("a"))
	equal(t, "a", s.Target("a").State(), lb.Healthy)

	s.Eject(s.Target("a"), "test")
	s.Pass(10 * time.Second)
	s.on("a", refused) // the trial cannot connect
	equal(t, "told again", strings.Join(told, " "), "a a")
	s.Pass(time.Hour)
	equal(t, "no trial while unreachable", s.Picks(4, ok), "b b b b")
	s.SetReachable(s.Target("a"))
	equal(t, "still ejected", s.Target("a").State(), lb.Ejected)
	s.on("a", ok)
	equal(t, "after the trial", s.Target("a").State(), lb.Healthy)
	s.Unwatch(w)
}

func TestLocalErrorsBlameNoTarget(t *testing.T) {
	s := newStand(t, "a b", nil)
	s.watch()
	s.Picks(20, lb.Outcome{Kind: lb.LocalError})
	s.Picks(20, cancelled)
	for _, target := range s.Targets() {
		equal(t, target.Name(), target.State(), lb.Healthy)
		good, bad, _ := target.Counts()
		equal(t, "counted", good+bad, 0)
	}
}

func TestChangesAreLoggedAndTold(t *testing.T) {
	var log bytes.Buffer
	cfg := config.DefaultUpstream()
	cfg.Targets = []config.Target{{URL: "http://a"}, {URL: "http://b"}}
	var told []string
	u, err := lb.NewUpstream("test", &cfg, lb.Options{
		Algorithms: balance.Algorithms(),
		Log:        slog.New(slog.NewTextHandler(&log, nil)),
		OnChange: func(_ *lb.Upstream, t *lb.Target, from, to lb.State, reason string) {
			told = append(told, t.Name()+" "+from.String()+"-"+to.String()+" ("+reason+")")
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.SetDown(u.Targets()[0], "probe: refused")
	u.SetDown(u.Targets()[0], "probe: refused") // no change
	u.SetUp(u.Targets()[0])
	equal(t, "told", strings.Join(told, ", "),
		"http://a healthy-down (probe: refused), http://a down-healthy (probes succeed)")
	if got := log.String(); !strings.Contains(got, `level=WARN msg="target changed" upstream=test target=http://a from=healthy to=down reason="probe: refused"`) ||
		strings.Count(got, "\n") != 2 {
		t.Errorf("log:\n%s", got)
	}
}
