package proxy

import (
	"testing"
	"time"
)

// counted counts its interruptions.
type counted int

func (c *counted) Interrupt() { *c++ }

// A Cancel stays canceled, whether the exchange waits at that moment or not.
func TestCancel(t *testing.T) {
	now := time.Now()
	var w counted
	check := func(what string, canceled, got bool, interrupts counted) {
		t.Helper()
		equal(t, what+": canceled", got, canceled)
		equal(t, what+": interruptions", w, interrupts)
	}
	var c Cancel
	c.arm(&w, now)
	check("nothing happened", false, c.disarm(), 0)
	c.arm(&w, now)
	c.Cancel()
	check("during a wait", true, c.Canceled(), 1)
	check("at its end", true, c.disarm(), 1)
	c.arm(&w, now)
	check("at the next wait", true, c.disarm(), 2)
	c.Cancel()
	check("while nothing waits", true, c.Canceled(), 2)

	c.Reset()
	check("another exchange", false, c.Canceled(), 2)
	c.Cancel()
	c.arm(&w, now)
	check("before the first wait", true, c.disarm(), 3)

	c.Reset()
	gone := c.channel(now)
	equal(t, "closed", closed(gone), false)
	c.Cancel()
	c.Cancel()
	equal(t, "closed", closed(gone), true)
}

// Check asks only about exchanges that have waited for a while.
func TestCancelCheck(t *testing.T) {
	now := time.Now()
	asked := 0
	var w counted
	var c Cancel
	left := false
	c.Gone = func(bool) bool { asked++; return left }
	check := func(what string, waited time.Duration, gone bool, asks int, interrupts counted) {
		t.Helper()
		left = gone
		c.Check(now.Add(waited))
		equal(t, what+": questions", asked, asks)
		equal(t, what+": interruptions", w, interrupts)
	}
	check("no wait", 2*time.Second, true, 0, 0)
	c.arm(&w, now)
	check("a new wait", 0, true, 0, 0)
	check("the client is there", 2*time.Second, false, 1, 0)
	check("the client is gone", 2*time.Second, true, 2, 1)
	check("an interruption that was lost", 2*time.Second, false, 2, 2)
	c.disarm()
	check("no wait any more", 2*time.Second, true, 2, 2)
	equal(t, "canceled", c.Canceled(), true)
}

// A client that goes away at any moment ends the exchange at once, also between two waits.
func TestCancelAnywhere(t *testing.T) {
	const limits = "timeouts = { first_byte = \"30s\", idle = \"30s\", write = \"30s\" }\n"
	stalls := func(s *fakeStream) {
		s.respond("103")
		s.respond("200")
		s.body.send("hello")
		<-s.gone
	}
	// at cancels at a point, once.
	check := func(name, text string, play script, prepare func(s *stand, c *client, cancel func())) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			var c *client
			cancel := func() { c.gone.Cancel() }
			points := map[string]func(){}
			at := func(point string) func(*Exchange) {
				return func(*Exchange) {
					if f := points[point]; f != nil {
						f()
					}
				}
			}
			s := newStand(t, text, Hooks{OnRequest: at("request"), OnUpstream: at("upstream"), OnResponse: at("response"), OnReply: at("reply")})
			s.on("a", play)
			c = s.request("GET /")
			if prepare != nil {
				prepare(s, c, cancel)
			} else {
				points[name] = cancel
			}
			c.serve()
			equal(t, name, c.Result.Cause, CauseClientGone)
			if d := c.Result.End.Sub(c.Start); d != 0 {
				t.Errorf("%s: it took %v", name, d)
			}
		})
	}
	onCall := func(call string) func(s *stand, c *client, cancel func()) {
		return func(_ *stand, c *client, cancel func()) { c.front.on[call] = func() error { cancel(); return nil } }
	}
	for _, target := range []string{oneTarget + limits, twoTargets + limits} {
		check("request", target, silent, nil)
		check("upstream", target, silent, nil)
		check("response", target, stalls, nil)
		check("reply", target, stalls, nil)
		check("before all", target, silent, func(_ *stand, _ *client, cancel func()) { cancel() })
		check("inform", target, stalls, onCall("inform"))
		check("start", target, stalls, onCall("start"))
		check("flush", target, stalls, onCall("flush"))
		check("write", target, stalls, onCall("write"))
		check("open", target, silent, func(s *stand, _ *client, cancel func()) {
			s.targets["a"].open = func(*fakeStream) error { cancel(); return nil }
		})
	}
	uploads := func(point string, call func() error) func(s *stand, c *client, cancel func()) {
		return func(s *stand, c *client, cancel func()) {
			c.with(-1, "one ")
			s.targets["a"].open = func(*fakeStream) error {
				if point == "open" {
					cancel()
				}
				return nil
			}
			if point == "end" {
				c.front.body.end()
				c.Tap(ToTarget, 100, func(_ []byte, end bool) {
					if end {
						cancel()
					}
				})
			}
		}
	}
	check("an upload begins", oneTarget+limits, silent, uploads("open", nil))
	check("an upload ends", oneTarget+limits, silent, uploads("end", nil))
	check("a pause", twoTargets+limits+"retry = { on = [\"503\"], retry_after = \"9s\" }\n", answer("503\nRetry-After: 5"),
		func(s *stand, c *client, cancel func()) {
			s.targets["a"].scripts = []script{func(s *fakeStream) { s.answer("503\nRetry-After: 5"); <-s.gone; cancel() }}
		})
	check("a shared connection", oneTarget+limits+"connections = { pipeline = 4 }\n", silent, func(s *stand, _ *client, cancel func()) {
		s.targets["a"].shares = true
		s.targets["a"].open = func(*fakeStream) error { cancel(); return nil }
	})
}

// The same for an exchange that is stored while it is sent, and for one that waits for the
// fetch of another.
func TestCancelCached(t *testing.T) {
	const text = "[[routes]]\nupstream = \"o\"\ncache = { enabled = true }\n[upstreams.o]\ntargets = [\"http://a\"]\n"
	stalls := func(s *fakeStream) {
		s.respond("200\nCache-Control: max-age=60\nContent-Length: 100")
		s.body.send("hello")
		<-s.gone
	}
	for _, point := range []string{"start", "flush", "write"} {
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			s.on("a", stalls)
			c := s.request("GET /")
			c.front.on[point] = func() error { c.gone.Cancel(); return nil }
			equal(t, point, c.serve(), "200 client_gone")
		})
	}
	bubble(t, func(t *testing.T) {
		s := newStand(t, text)
		free := make(chan struct{})
		s.on("a", func(s *fakeStream) { <-free; s.answer("200\nCache-Control: max-age=60", "hello") })
		first := s.request("GET /").start()
		second := s.request("GET /").start()
		third := s.request("GET /")
		third.gone.Cancel()
		third.start()
		equal(t, "the one that was gone", third.Result.Cause, CauseClientGone)
		second.gone.Cancel()
		settle()
		equal(t, "the one that left", second.Result.Cause, CauseClientGone)
		equal(t, "its calls", second.front.trace(), "abort")
		close(free)
		settle()
		equal(t, "the first", first.ended(), "200 ok")
	})
}

// A client that left unnoticed, while its exchange waited, makes nobody work for it: it is looked
// for at the end of each wait.
func TestLeftUnnoticed(t *testing.T) {
	const (
		limited = "timeouts = { first_byte = \"30s\" }\nlimits = { in_flight = 1, queue = 9, queue_timeout = \"9s\" }\n"
		retries = "retry = { on = [\"503\"], retry_after = \"9s\" }\n"
	)
	// asks serves a client, and others that wait for what it gets and leave meanwhile.
	asks := func(name, text, response string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			a := s.on("a", after(500*time.Millisecond, answer(response, "hello")))
			first := s.request("GET /").start()
			var left []*client
			for range 5 {
				c := s.request("GET /")
				c.gone.Gone = func(half bool) bool { return !half }
				left = append(left, c.start())
			}
			time.Sleep(time.Second)
			settle()
			equal(t, name+": the first", first.ended(), "200 ok")
			for _, c := range left {
				c.ended()
				equal(t, name+": one that left", c.Result.Cause, CauseClientGone)
			}
			equal(t, name+": streams", a.count(), 1)
			equal(t, name+": the next one", s.request("GET /").serve(), "200 ok") // no place is lost
		})
	}
	asks("an answer for one", cachedRoute, "200\nCache-Control: private")
	asks("the queue", oneTarget+limited, "200")
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets+retries)
		a := s.on("a", answer("503\nRetry-After: 5"))
		b := s.on("b", answer("503\nRetry-After: 5"))
		c := s.request("GET /")
		c.gone.Gone = func(half bool) bool { return half } // it waits for longer than a second
		c.serve()
		equal(t, "a pause", c.Result.Cause, CauseClientGone)
		equal(t, "a pause: streams", a.count()+b.count(), 1)
	})
}
