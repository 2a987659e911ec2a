package lb_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/lb"
	"weir/lb/lbtest"
)

func TestLimits(t *testing.T) {
	s := newStand(t, "a b", func(c *config.Upstream) { c.Limits.TargetInFlight = 2 })
	var open []*lb.Target
	for range 4 {
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, target)
	}
	equal(t, "beyond the targets' limits", s.Picks(1, ok), "(too many running exchanges)")
	s.Release(open[1], ok)
	equal(t, "a place on b", s.Picks(3, ok), "b b b")
	equal(t, "in flight", s.InFlight(), 3)
	// Spare targets are for when the others are out, not busy.
	s = newStand(t, "a spare@1", func(c *config.Upstream) { c.Limits.TargetInFlight = 1 })
	if _, err := s.Acquire(new(lb.Pick)); err != nil {
		t.Fatal(err)
	}
	equal(t, "a busy", s.Picks(1, ok), "(too many running exchanges)")

	s = newStand(t, "a b", func(c *config.Upstream) { c.Limits.InFlight = 3 })
	for range 3 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "beyond the upstream's limit", s.Picks(1, ok), "(too many running exchanges)")
	equal(t, "Retry-After", s.RetryAfter(), 1)
}

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, "a", func(c *config.Upstream) {
			c.Limits = config.UpstreamLimits{TargetInFlight: 1, Queue: 2,
				QueueTimeout: config.Duration(10 * time.Second), Adaptive: "off"}
		})
		running, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		o := newOrder(t, s)
		wait := func(who string, p *lb.Pick) {
			o.acquire(who, p, func(target *lb.Target) {
				time.Sleep(time.Second)
				s.Release(target, ok)
			})
		}
		// Two wait, the third is too many, and they are served in order.
		wait("first", new(lb.Pick))
		wait("second", new(lb.Pick))
		wait("third", new(lb.Pick))
		equal(t, "queued", s.Queued(), 2)
		o.check("queue full", "third: too many running exchanges, and the queue is full (limits.queue)")
		s.Release(running, ok)
		time.Sleep(5 * time.Second)
		o.check("served", "first a, second a")
		equal(t, "queued", s.Queued(), 0)
		equal(t, "in flight", s.InFlight(), 0)

		// The wait is bounded, and ends when the client goes.
		running, _ = s.Acquire(new(lb.Pick))
		gone := make(chan struct{})
		wait("gone", &lb.Pick{Cancel: gone})
		wait("patient", new(lb.Pick))
		close(gone)
		o.check("client gone", "gone: canceled while waiting for a target")
		time.Sleep(9 * time.Second)
		o.check("still waiting", "")
		time.Sleep(2 * time.Second)
		o.check("waited too long", "patient: too many running exchanges, and no place became free in time (limits.queue_timeout)")
		// The exchanges that waited in vain have left no trace.
		s.Release(running, ok)
		equal(t, "in flight", s.InFlight(), 0)
		equal(t, "queued", s.Queued(), 0)
	})
}

// order notes in which order exchanges get a target of s.
type order struct {
	t *testing.T
	s *stand

	mu  sync.Mutex
	got []string
}

func newOrder(t *testing.T, s *stand) *order { return &order{t: t, s: s} }

// acquire begins an exchange, and calls then, unless it is nil, when the exchange has a target.
func (o *order) acquire(who string, p *lb.Pick, then func(*lb.Target)) {
	go func() {
		target, err := o.s.Acquire(p)
		if err != nil {
			o.note(who + ": " + err.Error())
			return
		}
		o.note(who + " " + lbtest.Name(target))
		if then != nil {
			then(target)
		}
	}()
	synctest.Wait()
}

func (o *order) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, what)
}

// check checks what has come since the last check.
func (o *order) check(what, want string) {
	o.t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	equal(o.t, what, strings.Join(o.got, ", "), want)
	o.got = nil
}

// queueing sets limits with a queue in which an exchange waits for up to a minute.
func queueing(c *config.Upstream) {
	c.Limits.Queue, c.Limits.QueueTimeout = 2, config.Duration(time.Minute)
}

// An exchange keeps its place among the running ones between two attempts, whatever the limit is
// then, and gives it back if there is no other attempt.
func TestPlaceBetweenAttempts(t *testing.T) {
	check := func(name string, reloaded int, again bool) {
		synctest.Test(t, func(t *testing.T) {
			limits := func(n int) func(c *config.Upstream) {
				return func(c *config.Upstream) { queueing(c); c.Limits.InFlight = n }
			}
			s := newStand(t, "a b", limits(2))
			var p lb.Pick
			first, err := s.Acquire(&p)
			if err != nil {
				t.Fatal(err)
			}
			other, err := s.Acquire(new(lb.Pick))
			if err != nil {
				t.Fatal(err)
			}
			var served atomic.Int32
			waits := func(u *lb.Upstream) {
				go func() {
					if target, err := u.Acquire(new(lb.Pick)); err == nil {
						served.Add(1)
						u.Release(target, ok)
					}
				}()
				synctest.Wait()
			}
			waits(s.Upstream)
			if reloaded > 0 {
				waits(s.Build("a b", limits(reloaded), s.Upstream))
			}
			waiting := s.Queued()
			s.ReleaseBetween(first, &p, refused)
			synctest.Wait()
			equal(t, name+": served before the retry", served.Load(), 0)
			equal(t, name+": running", s.InFlight(), 2)
			if again {
				second, err := s.Acquire(&p)
				equal(t, name+": the retry", err, nil)
				equal(t, name+": its target", second.Same(first), false)
				equal(t, name+": running", s.InFlight(), 2)
				s.Release(second, ok)
			}
			s.Leave(&p)
			s.Leave(&p)
			s.Release(other, ok)
			synctest.Wait()
			equal(t, name+": served", int(served.Load()), waiting)
			equal(t, name+": running at the end", s.InFlight(), 0)
			equal(t, name+": waiting at the end", s.Queued(), 0)
		})
	}
	check("a retry", 0, true)
	check("no retry", 0, false)
	check("a lower limit", 1, true)
	check("a higher limit", 3, true)
}

// An algorithm that panics costs no place.
func TestPlaceAfterPanic(t *testing.T) {
	s := newStand(t, "a", nil)
	s.Options.Algorithms = append(s.Options.Algorithms, lb.Algorithm{
		Name: "panics", New: func(lb.Input) (lb.Picker, error) { return panicking{}, nil },
	})
	u := s.Build("a", func(c *config.Upstream) { c.Balance = "panics" }, nil)
	var p lb.Pick
	func() {
		defer func() { recover() }()
		u.Acquire(&p)
	}()
	equal(t, "running after the panic", u.InFlight(), 1)
	u.Leave(&p)
	equal(t, "running at the end", u.InFlight(), 0)
}

type panicking struct{}

func (panicking) Pick(*lb.Pick) *lb.Target { panic("an algorithm") }

// A retry that finds all targets at their limits waits before all first attempts, and holds up none
// that can have what it cannot. What must not wait does not.
func TestRetriesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, "a b", func(c *config.Upstream) { queueing(c); c.Limits.TargetInFlight = 1 })
		o := newOrder(t, s)
		acquire := func(who string, p *lb.Pick) { o.acquire(who, p, nil) }
		retries := []*lb.Pick{{}, {}}
		a, err := s.Acquire(retries[0])
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		acquire("new 1", new(lb.Pick))
		acquire("new 2", retries[1])
		acquire("new 3", new(lb.Pick))
		o.check("the queue is full", "new 3: too many running exchanges, and the queue is full (limits.queue)")
		// The place at a is the first one's in the queue, the retry gets that at b.
		s.ReleaseBetween(a, retries[0], timedOut)
		o.check("a is free", "new 1 a")
		hedge := *retries[0]
		hedge.NoWait = true
		_, err = s.Acquire(&hedge)
		equal(t, "without a wait", err, lb.ErrBusy)
		acquire("new 4", new(lb.Pick))
		acquire("retry 1", retries[0])
		equal(t, "waiting, one more than the queue takes", s.Queued(), 3)
		s.Release(a, ok) // of new 1
		o.check("a is free again", "new 2 a")
		s.ReleaseBetween(a, retries[1], timedOut)
		o.check("a is free once more", "new 4 a")
		acquire("new 5", new(lb.Pick))
		acquire("retry 2", retries[1])
		s.Release(b, ok)
		o.check("b is free", "retry 1 b")
		s.Release(b, ok)
		o.check("b is free again", "retry 2 b")
		s.Release(b, ok)
		o.check("b is free once more", "new 5 b")
		equal(t, "waiting", s.Queued(), 0)

		// A wait is over when the exchange's time is.
		acquire("late", &lb.Pick{Within: time.Second})
		time.Sleep(time.Second - time.Nanosecond)
		o.check("not late yet", "")
		time.Sleep(time.Nanosecond)
		o.check("late", "late: too many running exchanges, and no place became free in time (limits.queue_timeout)")
		s.Release(a, ok)
		s.Release(b, ok)
		equal(t, "running", s.InFlight(), 0)
	})
}

// No place is lost, and none is counted twice, where exchanges try again while others wait.
func TestRetriesUnderLoad(t *testing.T) {
	s := newStand(t, "a b c", func(c *config.Upstream) {
		c.Limits = config.UpstreamLimits{InFlight: 4, TargetInFlight: 2, Queue: 100, QueueTimeout: config.Duration(time.Minute), Adaptive: "off"}
		c.Health.Passive.Failures = 0
	})
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			for i := range testkit.Rounds(1000, 4000) {
				var p lb.Pick
				for attempt := range 3 {
					target, err := s.Acquire(&p)
					if err != nil {
						t.Errorf("attempt %d of client %d: a place was lost: %v", attempt, client, err)
						return
					}
					runtime.Gosched()
					if attempt == (client+i)%3 {
						s.Release(target, ok)
						break
					}
					s.ReleaseBetween(target, &p, cancelled)
					if (client+i)%7 == 0 {
						break // no other attempt
					}
				}
				s.Leave(&p)
			}
		})
	}
	clients.Wait()
	equal(t, "running", s.InFlight(), 0)
	equal(t, "waiting", s.Queued(), 0)
	for _, target := range s.Targets() {
		equal(t, "running on "+lbtest.Name(target), target.InFlight(), 0)
	}
}

// A place that becomes free is never lost, and those that wait get it before newcomers.
func TestQueueUnderLoad(t *testing.T) {
	s := newStand(t, "a", func(c *config.Upstream) {
		c.Limits = config.UpstreamLimits{TargetInFlight: 2, Queue: 100, QueueTimeout: config.Duration(5 * time.Second), Adaptive: "off"}
	})
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for range testkit.Rounds(1000, 4000) {
				target, err := s.Acquire(new(lb.Pick))
				if err != nil {
					t.Errorf("a place was lost: %v", err)
					return
				}
				runtime.Gosched()
				s.Release(target, ok)
			}
		})
	}
	clients.Wait()
	equal(t, "running", s.InFlight(), 0)
	equal(t, "waiting", s.Queued(), 0)
}

// Newcomers are served after those that wait, also for a place that is free at this moment.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, "a", func(c *config.Upstream) {
			c.Limits = config.UpstreamLimits{TargetInFlight: 1, Queue: 100, QueueTimeout: config.Duration(time.Minute), Adaptive: "off"}
		})
		var longest time.Duration
		var mu sync.Mutex
		const clients, each = 20, 10
		for range clients {
			go func() {
				for range each {
					began := time.Now()
					target, err := s.Acquire(new(lb.Pick))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					longest = max(longest, time.Since(began))
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
					s.Release(target, ok) // and asks again at once
				}
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if fair := (clients + 1) * 10 * time.Millisecond; longest > fair {
			t.Errorf("one waited for %v, where a turn comes each %v", longest, fair)
		}
	})
}

// Several places that become free at once are all used.
func TestQueueGetsSeveralPlaces(t *testing.T) {
	check := func(name, targets string, more func(s *stand)) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, targets, func(c *config.Upstream) {
				c.Limits = config.UpstreamLimits{TargetInFlight: 2, Queue: 10, QueueTimeout: config.Duration(time.Minute), Adaptive: "off"}
			})
			if strings.Contains(targets, "b") {
				s.SetDown(s.Target("b"), "test")
			}
			for range 2 {
				if _, err := s.Acquire(new(lb.Pick)); err != nil {
					t.Fatal(err)
				}
			}
			var served atomic.Int32
			for range 5 {
				go func() {
					if _, err := s.Acquire(new(lb.Pick)); err == nil {
						served.Add(1)
					}
				}()
			}
			synctest.Wait()
			more(s)
			synctest.Wait()
			equal(t, name+": served", served.Load(), 2)
			equal(t, name+": waiting", s.Queued(), 3)
			time.Sleep(2 * time.Minute)
		})
	}
	check("a target comes up", "a b", func(s *stand) { s.SetUp(s.Target("b")) })
	check("a target is found", "a", func(s *stand) {
		if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://new"}}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBreaker(t *testing.T) {
	s := newStand(t, "a b", func(c *config.Upstream) {
		c.Breaker = config.Breaker{Failures: 0.5, Requests: 10, HalfOpen: 2,
			Window: config.Duration(10 * time.Second), Open: config.Duration(5 * time.Second)}
	})
	const open = "(circuit breaker open)"
	check := func(what, got, want string, state lb.BreakerState) {
		t.Helper()
		equal(t, what, got, want)
		equal(t, what, s.Breaker(), state)
	}
	check("too few to say", s.Picks(4, internal), "a b a b", lb.BreakerClosed)
	s.Picks(4, ok)
	s.Pass(11 * time.Second) // forgotten
	check("not half", s.Picks(10, ok)+" "+s.Picks(9, internal), strings.TrimSpace(strings.Repeat("a b ", 9)+"a"), lb.BreakerClosed)
	s.Picks(1, internal)
	check("half", s.Picks(3, ok), open+" "+open+" "+open, lb.BreakerOpen)
	s.Pass(4 * time.Second)
	check("still open", s.Picks(1, ok), open, lb.BreakerOpen)

	// Half open, as many may try as configured.
	s.Pass(time.Second)
	equal(t, "half open", s.Breaker(), lb.BreakerHalfOpen)
	first, err1 := s.Acquire(new(lb.Pick))
	second, err2 := s.Acquire(new(lb.Pick))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	s.Pass(10 * time.Millisecond)
	check("half open, more", s.Picks(1, ok), open, lb.BreakerHalfOpen)
	// One that was canceled says nothing: another may try.
	s.Release(first, cancelled)
	first, err1 = s.Acquire(new(lb.Pick))
	if err1 != nil {
		t.Fatal(err1)
	}
	// A failure opens it again, for twice as long.
	s.Release(first, internal)
	check("open again", s.Picks(1, ok), open, lb.BreakerOpen)
	s.Release(second, ok) // too late
	s.Pass(9980 * time.Millisecond)
	check("open again, for longer", s.Picks(1, ok), open, lb.BreakerOpen)
	s.Pass(time.Second)
	// All succeed: closed, with a clean slate.
	s.Pass(10 * time.Millisecond)
	if got := s.Picks(2, ok); strings.Contains(got, open) {
		t.Errorf("half open: got %s", got)
	}
	if got := s.Picks(9, internal); strings.Contains(got, open) {
		t.Errorf("closed: got %s", got)
	}
	equal(t, "closed", s.Breaker(), lb.BreakerClosed)
	old := make([]*lb.Target, 12)
	for i := range old {
		if old[i], err1 = s.Acquire(new(lb.Pick)); err1 != nil {
			t.Fatal(err1)
		}
	}
	s.Picks(1, internal)
	equal(t, "open once more", s.Breaker(), lb.BreakerOpen)

	// Exchanges from before it opened do not decide, whenever their responses began, and
	// make no room for more trials.
	s.Pass(6 * time.Second)
	for i, o := range []lb.Outcome{{Kind: lb.Timeout, Latency: time.Minute}, {Kind: lb.Reset}, ok, ok, ok, cancelled, cancelled, cancelled} {
		s.Release(old[i], o)
		equal(t, "an old exchange ended", s.Breaker(), lb.BreakerHalfOpen)
	}
	let := 0
	for range 10 {
		if _, err := s.Acquire(new(lb.Pick)); err == nil {
			let++
		}
	}
	equal(t, "trials", let, 2)
	s.Pass(10 * time.Second)

	// Permits that are never given back come anew.
	s.Picks(1, cancelled)
	for range 2 {
		s.Acquire(new(lb.Pick))
	}
	s.Pass(10 * time.Second)
	s.on("a", cancelled) // the first to ask gets them made
	s.Pass(10 * time.Millisecond)
	if got := s.Picks(2, ok); strings.Contains(got, open) {
		t.Errorf("after lost permits: got %s", got)
	}
	equal(t, "closed at last", s.Breaker(), lb.BreakerClosed)
}

// Where exchanges are so rare that permits come anew between them, successes add up.
func TestBreakerOfRareExchanges(t *testing.T) {
	s := newStand(t, "a", func(c *config.Upstream) {
		c.Breaker = config.Breaker{Failures: 0.5, Requests: 2, HalfOpen: 3,
			Window: config.Duration(10 * time.Second), Open: config.Duration(5 * time.Second)}
	})
	s.Picks(2, internal)
	equal(t, "after failures", s.Breaker(), lb.BreakerOpen)
	s.Pass(5 * time.Second)
	for range 3 {
		equal(t, "before", s.Breaker(), lb.BreakerHalfOpen)
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		s.Pass(time.Second)
		s.Release(target, ok)
		s.Pass(5 * time.Second)
	}
	equal(t, "after three successes", s.Breaker(), lb.BreakerClosed)
}

func TestAdaptiveLimit(t *testing.T) {
	s := newStand(t, "a", func(c *config.Upstream) {
		c.Limits.TargetInFlight = 200
		c.Limits.Adaptive = "gradient"
	})
	a := s.Target("a")
	// A target that works on 40 exchanges at once, 10 ms each; more than that wait in it.
	const capacity = 40
	run := func(rounds int, latency func(running int) time.Duration) {
		for range rounds {
			var open []*lb.Target
			for {
				target, err := s.Acquire(new(lb.Pick))
				if err != nil {
					break
				}
				open = append(open, target)
			}
			took := latency(len(open))
			s.Pass(took)
			for _, target := range open {
				s.Release(target, lb.Outcome{Kind: lb.Success, Status: 200, Latency: took})
			}
		}
	}
	queueing := func(running int) time.Duration {
		return 10 * time.Millisecond * time.Duration(max(capacity, running)) / capacity
	}
	equal(t, "at first", s.Limit(a), 20)
	run(400, queueing)
	if got := s.Limit(a); got < capacity || got > 2*capacity+10 {
		t.Errorf("limit is %d, want %d to %d", got, capacity, 2*capacity+10)
	}
	// It answers ever slower: the limit falls, but never to nothing.
	run(400, func(running int) time.Duration { return queueing(running) * 10 })
	if got := s.Limit(a); got < 1 || got > capacity {
		t.Errorf("limit of a slow target is %d, want 1 to %d", got, capacity)
	}
	// And rises again, up to its bound.
	run(2000, func(int) time.Duration { return 10 * time.Millisecond })
	equal(t, "limit of a fast target", s.Limit(a), 200)

	equal(t, "off", newStand(t, "a", nil).Limit(a), 0)
}
