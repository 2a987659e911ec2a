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

func newCrowd(t *testing.T, change func(c *config.RouteCache)) *crowd {
	return &crowd{d: newDriver(t, 64<<20, change)}
}

// TestCollapse: what a thousand exchanges for one cold key do.
func TestCollapse(t *testing.T) {
	const n = 1000
	run := func(c *crowd, url func(i int) (string, string), fetch func(f *cache.Fetch, q *cache.Request) (string, error)) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for i := range n {
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
			f.Respond(q, response(200, "Cache-Control: max-age=60\r\n"))
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
		// then nobody waits for anybody.
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
			f.Respond(q, response(200, "Cache-Control: max-age=60\r\n"))
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
			t.Error("nobody stopped waiting")
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

// TestAnswerIsGone: a body that turns out too large before a reader has begun is
// a miss for that one.
func TestAnswerIsGone(t *testing.T) {
	c := newCrowd(t, nil)
	f := newFill(t, c, "http://h/a")
	f.Respond(nil, response(200, "Cache-Control: max-age=60\r\n"))
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
	for piece := make([]byte, 1<<20); f.Write(piece); {
	}
	if _, ok := c.d.store.Answer(q, &found); ok || found.Outcome != rule.Miss || found.Reason != rule.ReasonTooLarge {
		t.Errorf("answered %v, %v, %v", ok, found.Outcome, found.Reason)
	}
}

// TestPurgeMeetsEnd: of a purge and the end of a fetch that began before it, neither order
// leaves what was purged.
func TestPurgeMeetsEnd(t *testing.T) {
	check := func(name string, fields string, begin func(d *driver), end func(f *cache.Fetch)) {
		t.Helper()
		d := newDriver(t, 1<<20, nil)
		for i := range 3000 {
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
