package lb_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/lbtest"
)

// find reports endpoints, written as the targets of lbtest.New.
func (s *stand) find(targets string) {
	s.Helper()
	if err := s.SetEndpoints(endpoints(targets)); err != nil {
		s.Fatal(err)
	}
}

func endpoints(targets string) (list []lb.Endpoint) {
	for _, t := range lbtest.Parse(targets) {
		list = append(list, lb.Endpoint{URL: t.URL, Weight: t.Weight, Priority: t.Priority, Drain: t.Drain})
	}
	return list
}

// reload replaces the generation and returns the old one.
func (s *stand) reload(targets string, settings func(*config.Upstream)) (old *lb.Upstream) {
	s.Helper()
	old = s.Upstream
	s.Upstream = s.Build(targets, settings, old)
	return old
}

// set returns the names and states of all targets.
func (s *stand) set() string {
	var list []string
	for _, t := range s.Targets() {
		list = append(list, lbtest.Name(t)+" "+t.State().String())
	}
	return strings.Join(list, ", ")
}

// acquire begins an exchange on the target of that name.
func (s *stand) acquire(name string) *lb.Target {
	s.Helper()
	for range 2 * len(s.Targets()) {
		t, err := s.Acquire(new(lb.Pick))
		if err != nil {
			s.Fatal(err)
		}
		if lbtest.Name(t) == name {
			return t
		}
		s.Release(t, cancelled)
	}
	s.Fatalf("no exchange went to %s", name)
	return nil
}

// What a target is known for survives a reload, whether it is configured or was found.
func TestFoundTargetsSurviveReload(t *testing.T) {
	check := func(what string, change func(s *stand, b *lb.Target), want lb.State) {
		t.Helper()
		s := newStand(t, "a", nil)
		s.find("a b")
		b := s.Target("b")
		change(s, b)
		old := s.reload("a", nil)
		equal(t, what+", after the reload", s.Target("b").State(), want)
		old.Close()
		s.find("a b")
		equal(t, what+", the same target", s.Target("b").Same(b), true)
		equal(t, what+", the same connections", s.Target("b").Transport(), b.Transport())
		equal(t, what+", found again", s.Target("b").State(), want)
		equal(t, what+", reason", s.Target("b").Reason(), b.Reason())
	}
	check("unchanged", func(s *stand, b *lb.Target) {}, lb.Healthy)
	check("drained", func(s *stand, b *lb.Target) { s.SetDrain(b, true) }, lb.Draining)
	check("down", func(s *stand, b *lb.Target) { s.SetDown(b, "probe: refused") }, lb.Down)
	check("ejected", func(s *stand, b *lb.Target) { s.Eject(b, "test") }, lb.Ejected)
	check("unreachable", func(s *stand, b *lb.Target) { s.on("b", refused) }, lb.Unreachable)
}

// The operator's weight lasts over reloads and new endpoints until it is taken back.
func TestSetWeight(t *testing.T) {
	s := newStand(t, "a b*2", nil)
	check := func(what, shares string) {
		t.Helper()
		got := s.Shares(60, 1)
		equal(t, what, fmt.Sprint(got["a"], " ", got["b"]), shares)
	}
	set := func(name string, weight int) {
		t.Helper()
		if err := s.SetWeight(s.Target(name), weight); err != nil {
			t.Fatal(err)
		}
	}
	running := s.acquire("b")
	check("configured", "20 40")
	set("a", 4)
	check("set", "40 20")
	equal(t, "weights", fmt.Sprint(s.Target("a").Weight(), " ", s.Target("a").ConfiguredWeight()), "4 1")
	old := s.reload("a b*2", nil)
	old.Close()
	check("after a reload", "40 20")
	s.find("a")
	check("after new endpoints", "40 20")
	set("a", 0)
	check("taken back", "20 40")
	s.Release(running, ok)
	equal(t, "in flight", s.Target("b").InFlight(), 0)
}

// Endpoints that share a weight have it together, beside those that have one alone.
func TestSharedWeight(t *testing.T) {
	s := newStand(t, "a b*2", nil)
	check := func(what string, want string, shared ...lb.Endpoint) {
		t.Helper()
		if err := s.SetEndpoints(shared); err != nil {
			t.Fatal(err)
		}
		got, text := s.Shares(6*60, 1), ""
		for _, name := range []string{"a", "b", "x", "y", "z"} {
			text += fmt.Sprint(" ", got[name])
		}
		equal(t, what, text, " "+want)
	}
	of := func(name string, weight, sharers int) lb.Endpoint {
		return lb.Endpoint{URL: "http://" + name, Weight: weight, Sharers: sharers}
	}
	check("none", "120 240 0 0 0")
	check("one", "60 120 180 0 0", of("x", 3, 1))
	check("two share 3", "60 120 90 90 0", of("x", 3, 2), of("y", 3, 2))
	check("three share 3", "60 120 60 60 60", of("x", 3, 3), of("y", 3, 3), of("z", 3, 3))
	check("two share 2 beside 1", "60 120 60 60 60", of("x", 2, 2), of("y", 2, 2), of("z", 1, 0))
	check("a draining one has no part", "60 120 180 0 0", of("x", 3, 1), lb.Endpoint{URL: "http://y", Weight: 3, Sharers: 1, Drain: true})
	check("two share 3 again", "60 120 90 90 0", of("x", 3, 2), of("y", 3, 2))
	weight, sharers := s.Target("x").OwnWeight()
	equal(t, "own weight", fmt.Sprint(weight, "/", sharers), "3/2")

	// The operator's weight is the target's alone.
	if err := s.SetWeight(s.Target("x"), 6); err != nil {
		t.Fatal(err)
	}
	got := s.Shares(21*10, 1)
	equal(t, "set", fmt.Sprint(got["a"], " ", got["b"], " ", got["x"], " ", got["y"]), "20 40 120 30")
	weight, sharers = s.Target("x").OwnWeight()
	equal(t, "own weight", fmt.Sprint(weight, "/", sharers), "6/1")

	// Many numbers of sharers together are nearly exact.
	var many []lb.Endpoint
	for _, n := range []int{7, 11, 13, 17} {
		for i := range n {
			many = append(many, of(fmt.Sprintf("n%d-%d", n, i), 1, n))
		}
	}
	if err := s.SetEndpoints(many); err != nil {
		t.Fatal(err)
	}
	parts := make(map[int]int)
	for _, target := range s.Targets() {
		_, sharers := target.OwnWeight()
		if n := target.Weight(); sharers > 1 {
			parts[sharers] += n
		} else if lbtest.Name(target) == "a" {
			parts[1] = n
		}
	}
	for n, part := range parts {
		if part < parts[1]*99/100 || part > parts[1] {
			t.Errorf("%d sharers have %d of %d", n, part, parts[1])
		}
	}
}

func TestFoundTargetsKeepCountsOverReload(t *testing.T) {
	s := newStand(t, "a", func(c *config.Upstream) { c.Balance = "least_connections" })
	s.find("b")
	s.on("b", ok)
	s.on("b", busy)
	running := s.acquire("b")
	old := s.reload("a", func(c *config.Upstream) { c.Balance = "least_connections" })
	b := s.Target("b")
	good, bad, inARow := b.Counts()
	equal(t, "counts", fmt.Sprint(good, bad, inARow), "1 1 1")
	equal(t, "latency", b.Latency() > 0, true)
	equal(t, "in flight", b.InFlight(), 1)
	equal(t, "picks", s.Picks(3, ok), "a a a")
	old.Release(running, ok)
	old.Close()
	equal(t, "in flight, later", b.InFlight(), 0)

	// Without a reload too: what stays is the same.
	s.find("c b")
	equal(t, "the same target", s.Target("b").Same(b), true)
	equal(t, "order", s.set(), "a healthy, c healthy, b healthy")
}

// A sticky cookie, and a key, lead to the same target after a reload.
func TestFoundTargetsKeepClientsOverReload(t *testing.T) {
	settings := func(c *config.Upstream) { c.Balance, c.Sticky.Cookie = "hash", "sticky" }
	s := newStand(t, "a", settings)
	s.find("b c d e")
	before, cookie := make(map[int]string), s.Target("d").Cookie()
	pick := func(key int, sticky string) string {
		p := lb.Pick{Sticky: []byte(sticky)}
		p.SetKey(fmt.Append(nil, key))
		target, err := s.Acquire(&p)
		if err != nil {
			t.Fatal(err)
		}
		s.Release(target, ok)
		return lbtest.Name(target)
	}
	for key := range 100 {
		before[key] = pick(key, "")
	}
	s.reload("a", settings).Close()
	equal(t, "sticky", pick(1, cookie), "d")
	for key := range 100 {
		equal(t, "target by hash", pick(key, ""), before[key])
	}
	s.find("e d c b") // another order is no other set
	for key := range 100 {
		equal(t, "target by hash", pick(key, ""), before[key])
	}
}

// A set is what is configured and what was found, in every generation that is open.
func TestFoundTargetsInAllGenerations(t *testing.T) {
	s := newStand(t, "a b", nil)
	s.find("b!drain c d!drain")
	equal(t, "both", s.set(), "a healthy, b draining, c healthy, d draining")
	first := new(stand)
	old := s.reload("a e", nil)
	equal(t, "after a reload", s.set(), "a healthy, e healthy, b draining, c healthy, d draining")

	s.find("c e*5 f")
	equal(t, "the new generation", s.set(), "a healthy, e healthy, c healthy, f healthy")
	equal(t, "weight by the configuration", s.Target("e").Weight(), 1)
	first.Stand = &lbtest.Stand{TB: t, Upstream: old}
	equal(t, "the old generation", first.set(), "a healthy, b healthy, c healthy, e healthy, f healthy")
	equal(t, "one target in both", first.Target("f").Same(s.Target("f")), true)

	// The old one may be told as well; the new one is what counts.
	first.find("g")
	old.Close()
	equal(t, "told by the old one", s.set(), "a healthy, e healthy, g healthy")
	if err := s.SetEndpoints([]lb.Endpoint{{URL: "ftp://x"}}); err == nil {
		t.Error("a target of an unknown scheme was accepted")
	}
	equal(t, "after an error", s.set(), "a healthy, e healthy, g healthy")
	s.reload("a", nil).Close()
	equal(t, "and after a reload", s.set(), "a healthy, g healthy")

	// A closed generation stays empty.
	s.Close()
	equal(t, "closed", s.set(), "")
	s.find("h")
	equal(t, "found too late", s.set(), "")
}

// Other settings of connections make another target, also of one that was found. What the operator wants of it counts on.
func TestFoundTargetWithOtherSettings(t *testing.T) {
	s := newStand(t, "a", nil)
	s.find("b")
	b := s.Target("b")
	s.SetDrain(b, true)
	old := s.reload("a", func(c *config.Upstream) { c.Timeouts.Connect = 1 })
	equal(t, "another target", s.Target("b").Same(b), false)
	equal(t, "state", s.Target("b").State(), lb.Draining)
	equal(t, "state in the old generation", b.State(), lb.Draining)
	s.find("b c") // each generation keeps its own
	equal(t, "the old generation's", old.Targets()[1].Same(b), true)
	equal(t, "the new generation's", s.Target("b").Same(b), false)
	equal(t, "c", s.Target("c").Same(old.Targets()[2]), false)
	old.Close()
	equal(t, "the old one is gone", b.Transport().(*lbtest.Conns).Retired(), 1)
	equal(t, "the new one is not", s.Target("b").Transport().(*lbtest.Conns).Retired(), 0)
}

// attachment counts for a target, as the owner's figures do.
type attachment struct {
	name    string
	retired atomic.Int32
	living  *atomic.Int32
}

func (a *attachment) Retire() {
	a.retired.Add(1)
	a.living.Add(-1)
}

// An attachment lives as long as its target.
func TestAttachment(t *testing.T) {
	var living atomic.Int32
	s := &stand{lbtest.New(t, "", nil)}
	s.Options.NewAttachment = func(upstream, target string) lb.Attachment {
		living.Add(1)
		return &attachment{name: upstream + " " + target, living: &living}
	}
	s.Upstream = s.Build("a", nil, nil)
	if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://user:secret@b"}}); err != nil {
		t.Fatal(err)
	}
	b := s.Targets()[1]
	first := b.Attachment().(*attachment)
	equal(t, "name", first.name, "test http://b")
	s.reload("a", nil).Close()
	equal(t, "after a reload", s.Targets()[1].Attachment(), lb.Attachment(first))

	// It is gone with the last exchange, not before; one that comes back is new.
	s.find("c")
	equal(t, "without exchanges", first.retired.Load(), 1)
	c := s.acquire("c")
	second := c.Attachment().(*attachment)
	s.find("")
	equal(t, "while an exchange runs", second.retired.Load(), 0)
	s.find("c")
	if s.Target("c").Same(c) || s.Target("c").Attachment() == c.Attachment() {
		t.Error("c came back, but nothing began afresh")
	}
	s.Release(c, ok)
	equal(t, "after it", second.retired.Load(), 1)

	for i := range 10_000 {
		s.find(fmt.Sprint("x", i))
		s.Release(s.acquire(fmt.Sprint("x", i)), ok)
	}
	s.find("")
	equal(t, "attachments of 10,000 that were there", living.Load(), 1)
	s.Close()
	equal(t, "of none", living.Load(), 0)
}

// 1. A pick loads the set. 2. The targets of the set go away. 3. The pick takes one.
// It must get one of those that are there, and never one that is retired.
func TestTargetsGoWhileTheyArePicked(t *testing.T) {
	s := newStand(t, "", nil)
	s.find("a b")
	var stop atomic.Bool
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for !stop.Load() {
				target, err := s.Acquire(new(lb.Pick))
				if err != nil {
					t.Errorf("there is always a target: %v", err)
					return
				}
				if n := target.Transport().(*lbtest.Conns).Retired(); n != 0 {
					t.Errorf("%s was retired while an exchange runs on it", lbtest.Name(target))
				}
				s.Release(target, ok)
			}
		})
	}
	var gone []*lb.Target
	for i := range 500 {
		gone = append(gone, s.Targets()...)
		s.find(fmt.Sprintf("a%d b%d", i, i))
	}
	stop.Store(true)
	running.Wait()
	for _, target := range gone {
		equal(t, lbtest.Name(target)+" retired", target.Transport().(*lbtest.Conns).Retired(), 1)
		equal(t, lbtest.Name(target)+" in flight", target.InFlight(), 0)
	}
}

// Reloads while endpoints are found and exchanges run: what was found last is there in
// the end, and each target was retired once, unless it is still there.
func TestReloadWhileEndpointsAreFound(t *testing.T) {
	s := newStand(t, "s", func(c *config.Upstream) { c.SlowStart = config.Duration(time.Second) })
	var current atomic.Pointer[lb.Upstream]
	current.Store(s.Upstream)
	var stop atomic.Bool
	var exchanges, changes sync.WaitGroup
	for range 2 {
		exchanges.Go(func() {
			for !stop.Load() {
				u := current.Load()
				target, err := u.Acquire(new(lb.Pick))
				if err != nil {
					continue // u was closed meanwhile
				}
				if target.Transport().(*lbtest.Conns).Retired() != 0 {
					t.Errorf("%s was retired while an exchange runs on it", lbtest.Name(target))
				}
				u.Release(target, ok)
			}
		})
	}
	changes.Go(func() {
		for i := range 50 {
			if err := current.Load().SetEndpoints(endpoints(fmt.Sprintf("a x%d y%d", i/2, i))); err != nil {
				t.Error(err)
			}
		}
	})
	changes.Go(func() {
		for i := range 50 {
			old := current.Load()
			current.Store(s.Build("s", func(c *config.Upstream) { c.Timeouts.Connect = config.Duration(i / 10) }, old))
			s.Pass(20 * time.Millisecond)
			old.Close()
		}
	})
	changes.Wait()
	stop.Store(true)
	exchanges.Wait()
	s.Upstream = current.Load()
	var names []string
	for _, target := range s.Targets() {
		names = append(names, lbtest.Name(target))
		equal(t, lbtest.Name(target)+" retired", target.Transport().(*lbtest.Conns).Retired(), 0)
	}
	equal(t, "targets", strings.Join(names, " "), "s a x24 y49")
	equal(t, "in flight", s.InFlight(), 0)
	s.Close()
	for _, c := range s.Made() {
		equal(t, "retired", c.Retired(), 1)
	}
}
