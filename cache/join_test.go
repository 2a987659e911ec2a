package cache_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
	"weir/internal/testkit"
)

// crowd is what many exchanges for one key came to.
type crowd struct {
	d       *driver
	fetches atomic.Int64
	bodies  sync.Map // body -> *atomic.Int64
	errors  atomic.Int64
	retries atomic.Int64
	reasons sync.Map
}

// one is an exchange of its own driver on the shared store. fetch leads.
func (c *crowd) one(t *testing.T, url string, fields string, fetch func(f *cache.Fetch, q *cache.Request) (string, error)) {
	d := &driver{store: c.d.store, policy: c.d.policy, now: time.Now()}
	q := d.request(t, "GET "+url, rule.Fields(fields), "")
	found := c.d.store.Lookup(q)
	alone := false
	for range 4 {
		if found.Outcome == rule.Fresh || found.Outcome == rule.Stale {
			var r result
			d.reply(t, &r, q, &found)
			if r.err != nil {
				c.errors.Add(1)
			}
			c.count(r.body)
			return
		}
		f, role := c.d.store.Join(q, &found, alone)
		switch role {
		case cache.Ready:
			continue
		case cache.Follow:
			role, reason, err := f.Wait(q, &found, nil)
			c.reasons.Store(reason.String(), true)
			switch {
			case err != nil && !errors.Is(err, cache.ErrAborted):
				c.errors.Add(1)
				c.count("")
				return
			case role == cache.Alone:
				alone = true
			case role == cache.Retry:
				c.retries.Add(1)
			}
			continue
		}
		c.fetches.Add(1)
		func() {
			defer f.Abort(cache.ErrAborted)
			defer func() { _ = recover() }()
			body, err := fetch(f, q)
			if err != nil {
				c.errors.Add(1)
			}
			c.count(body)
		}()
		return
	}
	t.Error("no end")
}

func (c *crowd) count(body string) {
	n, _ := c.bodies.LoadOrStore(body, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

func (c *crowd) got(body string) int64 {
	if n, ok := c.bodies.Load(body); ok {
		return n.(*atomic.Int64).Load()
	}
	return 0
}

func response(status int, fields string) *rule.Response {
	return &rule.Response{Status: status, Fields: rule.Fields(fields), Length: -1, Requested: time.Now(), Received: time.Now()}
}

// sized is a response whose head tells the length of its body.
func sized(length int, fields string) *rule.Response {
	r := response(200, fields)
	r.Length = int64(length)
	return r
}

func newCrowd(t *testing.T, change func(c *config.RouteCache)) *crowd {
	return &crowd{d: newDriver(t, 64<<20, change)}
}

// TestCollapse: what a thousand exchanges for one cold key do.
func TestCollapse(t *testing.T) {
	n := int64(testkit.Rounds(200, 1000))
	run := func(c *crowd, url func(i int) (string, string), fetch func(f *cache.Fetch, q *cache.Request) (string, error)) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for i := range int(n) {
			wg.Go(func() {
				u, fields := url(i)
				c.one(t, u, fields, fetch)
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	same := func(int) (string, string) { return "http://h/x", "" }
	body := strings.Repeat("x", 100<<10)

	synctest.Test(t, func(t *testing.T) {
		// One fetch; everybody gets all of it, while it arrives.
		c := newCrowd(t, nil)
		took := run(c, same, func(f *cache.Fetch, q *cache.Request) (string, error) {
			time.Sleep(time.Second)
			f.Respond(q, sized(len(body), "Cache-Control: max-age=60\r\n"))
			for i := range 10 {
				time.Sleep(time.Second)
				f.Write([]byte(body[i*10<<10 : (i+1)*10<<10]))
			}
			if reason := f.Commit(); reason != rule.ReasonNone {
				t.Errorf("not stored: %v", reason)
			}
			return body, nil
		})
		if c.fetches.Load() != 1 || c.got(body) != n || took != 11*time.Second {
			t.Errorf("%d fetches, %d whole answers in %v", c.fetches.Load(), c.got(body), took)
		}
	})

	synctest.Test(t, func(t *testing.T) {
		// An answer that may not be stored: the first round waits for one head,
		// then no request waits for another.
		c := newCrowd(t, nil)
		fetch := func(f *cache.Fetch, q *cache.Request) (string, error) {
			time.Sleep(time.Second)
			f.Respond(q, response(200, "Cache-Control: no-store\r\n"))
			return "own", nil
		}
		if took := run(c, same, fetch); c.fetches.Load() != n || took != 2*time.Second {
			t.Errorf("%d fetches in %v", c.fetches.Load(), took)
		}
		// Known by now to be uncacheable: no round of waiting.
		if took := run(c, same, fetch); c.fetches.Load() != 2*n || took != time.Second {
			t.Errorf("%d fetches in %v", c.fetches.Load(), took)
		}
		// These answers began the time anew: it is two minutes from them.
		time.Sleep(2*time.Minute - 2*time.Second)
		if took := run(c, same, fetch); took != time.Second {
			t.Errorf("took %v", took)
		}
		// Forgotten after a while.
		time.Sleep(2 * time.Minute)
		if took := run(c, same, fetch); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})

	synctest.Test(t, func(t *testing.T) {
		// A fetch that panics releases everybody.
		c := newCrowd(t, nil)
		var first atomic.Bool
		took := run(c, same, func(f *cache.Fetch, q *cache.Request) (string, error) {
			time.Sleep(time.Second)
			if first.CompareAndSwap(false, true) {
				panic("bug")
			}
			f.Respond(q, response(200, "Cache-Control: max-age=60\r\n"))
			f.Commit()
			return "", nil
		})
		if took != 2*time.Second || c.errors.Load() != 0 {
			t.Errorf("took %v, %d errors", took, c.errors.Load())
		}
	})

	synctest.Test(t, func(t *testing.T) {
		// A truncated body: those who read it learn it, nothing is stored.
		c := newCrowd(t, nil)
		run(c, same, func(f *cache.Fetch, q *cache.Request) (string, error) {
			time.Sleep(time.Second)
			f.Respond(q, sized(8, "Cache-Control: max-age=60\r\n"))
			f.Write([]byte("half"))
			time.Sleep(time.Second)
			f.Abort(io.ErrUnexpectedEOF)
			return "half", io.ErrUnexpectedEOF
		})
		if c.errors.Load() != n || c.fetches.Load() != 1 {
			t.Errorf("%d errors, %d fetches", c.errors.Load(), c.fetches.Load())
		}
		if s := c.d.store.Stats(); s.Entries != 0 || s.Filling != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})

	synctest.Test(t, func(t *testing.T) {
		// Waiting has a limit.
		c := newCrowd(t, nil)
		var first atomic.Bool
		took := run(c, same, func(f *cache.Fetch, q *cache.Request) (string, error) {
			if first.CompareAndSwap(false, true) {
				time.Sleep(time.Hour)
			}
			f.Respond(q, response(200, "Cache-Control: no-store\r\n"))
			return "own", nil
		})
		if took != time.Hour || c.got("own") != n {
			t.Errorf("took %v, %d answers", took, c.got("own"))
		}
		if _, ok := c.reasons.Load("wait"); !ok {
			t.Error("no request stopped waiting")
		}
	})

	synctest.Test(t, func(t *testing.T) {
		// Variants: the first round learns what selects, then one fetch each.
		c := newCrowd(t, nil)
		run(c, func(i int) (string, string) {
			return "http://h/x", fmt.Sprintf("Foo: %d\r\n", i%2)
		}, func(f *cache.Fetch, q *cache.Request) (string, error) {
			time.Sleep(time.Second)
			f.Respond(q, response(200, "Cache-Control: max-age=60\r\nVary: Foo\r\n"))
			b := "foo " + string(q.Head.Get(head.NewName("Foo")))
			f.Write([]byte(b))
			f.Commit()
			return b, nil
		})
		if c.fetches.Load() != 2 || c.got("foo 0") != n/2 || c.got("foo 1") != n/2 {
			t.Errorf("%d fetches, %d and %d answers", c.fetches.Load(), c.got("foo 0"), c.got("foo 1"))
		}
	})

	synctest.Test(t, func(t *testing.T) {
		// A body too large to be stored still reaches all who began to read it.
		c := newCrowd(t, nil)
		big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB, ten times
		var got atomic.Int64
		f := newFill(t, c, "http://h/x")
		f.Respond(nil, response(200, "Cache-Control: max-age=60\r\n"))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r := f.Reader()
				defer r.Close()
				for {
					p, err := r.Next(nil)
					got.Add(int64(len(p)))
					if err == io.EOF {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		synctest.Wait()
		for range 10 {
			if !f.Write([]byte(big)) {
				t.Fatal("not wanted")
			}
			if held := c.d.store.Stats().Filling; held > 24<<20 {
				t.Errorf("%d bytes held", held)
			}
		}
		if reason := f.Commit(); reason != rule.ReasonTooLarge {
			t.Errorf("reason %v", reason)
		}
		wg.Wait()
		if got.Load() != 3*10<<20 {
			t.Errorf("%d bytes read", got.Load())
		}
		if s := c.d.store.Stats(); s.Filling != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

func newFill(t *testing.T, c *crowd, url string) *cache.Fetch {
	d := &driver{store: c.d.store, policy: c.d.policy, now: time.Now()}
	q := d.request(t, "GET "+url, nil, "")
	found := c.d.store.Lookup(q)
	f, role := c.d.store.Join(q, &found, false)
	if role != cache.Lead {
		t.Fatalf("role %v", role)
	}
	return f
}

// TestPurgeWhileFetching: what is purged while it is fetched is not stored.
func TestPurgeWhileFetching(t *testing.T) {
	check := func(name string, p cache.Purge, fields string, doomed bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, nil)
			f := newFill(t, c, "http://h/dir/x")
			f.Respond(nil, response(200, "Cache-Control: max-age=60\r\n"+fields))
			c.d.store.Purge(p, time.Now().UnixNano())
			if got := f.Commit() == rule.ReasonDoomed; got != doomed {
				t.Errorf("%s: doomed %v", name, got)
			}
		})
	}
	check("url", cache.Purge{URL: "http://h/dir/x"}, "", true)
	check("another url", cache.Purge{URL: "http://h/dir/y"}, "", false)
	check("host", cache.Purge{Host: "H"}, "", true)
	check("prefix", cache.Purge{Prefix: "http://h/dir/"}, "", true)
	check("another prefix", cache.Purge{Prefix: "http://h/d/"}, "", false)
	check("group", cache.Purge{Group: "a"}, "Surrogate-Key: b a\r\n", true)
	check("another group", cache.Purge{Group: "c"}, "Surrogate-Key: b a\r\n", false)
	check("all", cache.Purge{All: true}, "", true)
}

// TestAnswerIsGone: a fetch that fails before a reader has begun is a miss for that one.
func TestAnswerIsGone(t *testing.T) {
	c := newCrowd(t, nil)
	f := newFill(t, c, "http://h/a")
	f.Respond(nil, sized(100, "Cache-Control: max-age=60\r\n"))
	d := &driver{store: c.d.store, policy: c.d.policy, now: time.Now()}
	q := d.request(t, "GET http://h/a", nil, "")
	found := c.d.store.Lookup(q)
	other, role := c.d.store.Join(q, &found, false)
	if role != cache.Follow {
		t.Fatalf("role %v", role)
	}
	if role, reason, err := other.Wait(q, &found, nil); role != cache.Ready || err != nil {
		t.Fatalf("role %v, %v, %v", role, reason, err)
	}
	f.Abort(cache.ErrAborted)
	if _, ok := c.d.store.Answer(q, &found); ok || found.Outcome != rule.Miss || found.Reason != rule.ReasonFailed {
		t.Errorf("answered %v, %v, %v", ok, found.Outcome, found.Reason)
	}
}

// TestPurgeMeetsEnd: of a purge and the end of a fetch that began before it, neither order
// leaves what was purged.
func TestPurgeMeetsEnd(t *testing.T) {
	check := func(name string, fields string, begin func(d *driver), end func(f *cache.Fetch)) {
		t.Helper()
		d := newDriver(t, 1<<20, nil)
		for i := range testkit.Rounds(500, 3000) {
			d.store.Purge(cache.Purge{All: true}, d.now.UnixNano())
			begin(d)
			q := d.request(t, "GET http://h/x", rule.Fields(fields), "")
			found := d.store.Lookup(q)
			f, role := d.store.Join(q, &found, false)
			if role != cache.Lead && role != cache.Alone {
				t.Fatalf("%s: role %v", name, role)
			}
			var wg sync.WaitGroup
			wg.Go(func() { end(f) })
			wg.Go(func() { d.store.Purge(cache.Purge{URL: "http://h/x"}, d.now.UnixNano()) })
			wg.Wait()
			if found := d.store.Lookup(q); found.Entry != nil {
				t.Fatalf("%s: in round %d %v is there after the purge", name, i, found.Outcome)
			}
		}
	}
	at := func(d *driver, fields string) *rule.Response {
		r := response(200, fields)
		r.Requested, r.Received = d.now, d.now
		return r
	}
	var d *driver
	remember := func(now *driver) { d = now }
	check("a 200", "", remember, func(f *cache.Fetch) {
		f.Respond(nil, at(d, "Cache-Control: max-age=60\r\n"))
		f.Commit()
	})
	check("a 304", "", func(now *driver) {
		d = now
		d.do(t, "GET http://h/x", nil, "", func(*head.Head) message { return answer(200, "Cache-Control: max-age=60, no-cache", `ETag: "a"`) })
	}, func(f *cache.Fetch) {
		r := at(d, "Cache-Control: max-age=60\r\nETag: \"a\"\r\n")
		r.Status = 304
		f.Respond(nil, r)
		f.Abort(cache.ErrAborted)
	})
	check("a note", "", remember, func(f *cache.Fetch) {
		f.Respond(nil, at(d, "Cache-Control: no-store\r\n"))
		f.Abort(cache.ErrAborted)
	})
}

// TestWaitersShare: requests that wait for an answer get it, although it is stale by the
// time it comes, if others than the one it was made for may have it at all.
func TestWaitersShare(t *testing.T) {
	const n = 40
	check := func(name string, fetches int64, took time.Duration, request string, answer *rule.Response) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, nil)
			var wg sync.WaitGroup
			start := time.Now()
			for range n {
				wg.Go(func() {
					c.one(t, "http://h/x", request, func(f *cache.Fetch, q *cache.Request) (string, error) {
						r := *answer
						r.Requested = time.Now()
						time.Sleep(1500 * time.Millisecond)
						r.Received = time.Now()
						if f.Respond(q, &r).Action == cache.Keep {
							f.Commit()
						}
						return "", nil
					})
				})
			}
			wg.Wait()
			if got := time.Since(start); c.fetches.Load() != fetches || got != took {
				t.Errorf("%s: %d fetches in %v, want %d in %v", name, c.fetches.Load(), got, fetches, took)
			}
		})
	}
	once, twice := 1500*time.Millisecond, 3*time.Second
	check("shorter than the origin's time", 1, once, "", response(200, "Cache-Control: max-age=1\r\n"))
	check("s-maxage", 1, once, "", response(200, "Cache-Control: s-maxage=1\r\n"))
	check("must-revalidate with a lifetime", 1, once, "", response(200, "Cache-Control: max-age=1, must-revalidate\r\n"))
	check("an Age that leaves a rest", 1, once, "", response(200, "Cache-Control: max-age=3\r\nAge: 2\r\n"))
	check("an Age that leaves none", n, twice, "", response(200, "Cache-Control: max-age=3\r\nAge: 3\r\n"))
	check("no lifetime", n, twice, "", response(200, "Cache-Control: max-age=0\r\nETag: \"a\"\r\n"))
	check("no lifetime, must-revalidate", n, twice, "", response(200, "Cache-Control: max-age=0, must-revalidate\r\nETag: \"a\"\r\n"))
	check("no-cache", n, twice, "", response(200, "Cache-Control: max-age=1, no-cache\r\nETag: \"a\"\r\n"))
	check("private", n, twice, "", response(200, "Cache-Control: max-age=1, private\r\n"))
	check("a cookie", n, twice, "", response(200, "Cache-Control: max-age=1\r\nSet-Cookie: a=b\r\n"))
	check("Authorization", n, twice, "Authorization: x\r\n", response(200, "Cache-Control: max-age=1\r\n"))
	// These have no use for what another fetches: they do not wait for it.
	check("clients that insist", n, once, "Cache-Control: no-cache\r\n", response(200, "Cache-Control: max-age=60\r\n"))
	check("clients that reload", n, once, "Cache-Control: max-age=0\r\n", response(200, "Cache-Control: max-age=60\r\n"))
	check("clients with conditions", 1, once, "If-None-Match: \"a\"\r\n", response(200, "Cache-Control: max-age=60\r\nETag: \"a\"\r\n"))
	check("clients with open ranges", 1, once, "Range: bytes=0-\r\n", response(200, "Cache-Control: max-age=60\r\nETag: \"a\"\r\n"))
}

// TestNewcomersDoNotWaitForTheStale: who comes while the body of an answer arrives that is
// stale already has a fetch of its own, and others share that.
func TestNewcomersDoNotWaitForTheStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, nil)
		fetch := func(f *cache.Fetch, q *cache.Request) (string, error) {
			r := response(200, "Cache-Control: max-age=1\r\n")
			time.Sleep(1500 * time.Millisecond)
			r.Received = time.Now()
			f.Respond(q, r)
			time.Sleep(time.Second)
			f.Commit()
			return "", nil
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(i/5) * 2 * time.Second)
				c.one(t, "http://h/x", "", fetch)
			})
		}
		wg.Wait()
		if c.fetches.Load() != 2 {
			t.Errorf("%d fetches", c.fetches.Load())
		}
	})
}

// TestWaitsOnce: keys whose answers cannot be shared make requests wait once and then not
// again as long as such answers come.
func TestWaitsOnce(t *testing.T) {
	check := func(name string, origin time.Duration, fields string, pauses ...time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, nil)
			for i, pause := range append([]time.Duration{0}, pauses...) {
				time.Sleep(pause)
				longest := int64(0)
				var wg sync.WaitGroup
				var mu sync.Mutex
				for j := range 3 {
					wg.Go(func() {
						time.Sleep(time.Duration(j) * time.Second)
						start := time.Now()
						c.one(t, "http://h/x", "", func(f *cache.Fetch, q *cache.Request) (string, error) {
							time.Sleep(origin)
							if f.Respond(q, response(200, fields)).Action == cache.Keep {
								f.Commit()
							}
							return "", nil
						})
						mu.Lock()
						defer mu.Unlock()
						longest = max(longest, int64(time.Since(start)))
					})
				}
				wg.Wait()
				if waited := time.Duration(longest) > origin; waited != (i == 0) {
					t.Errorf("%s: round %d took %v with an origin of %v", name, i, time.Duration(longest), origin)
				}
			}
		})
	}
	minute := time.Minute
	check("private", 3*time.Second, "Cache-Control: private\r\n", 0, minute, 110*time.Second, 110*time.Second, 110*time.Second)
	check("a long poll", 12*time.Second, "Cache-Control: no-store\r\n", 0, 90*time.Second, 90*time.Second)
	check("no-cache", 3*time.Second, "Cache-Control: no-cache\r\nETag: \"a\"\r\n", 0, minute, 5*minute)
	check("no lifetime", 3*time.Second, "Cache-Control: max-age=0\r\nETag: \"a\"\r\n", 0, minute, 5*minute)
	check("nothing said", 3*time.Second, "", 0)
}
