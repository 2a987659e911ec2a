package proxy

import (
	"strings"
	"testing"
	"time"
)

const cachedRoute = "[[routes]]\nupstream = \"o\"\ncache = { enabled = true, status = true }\n[upstreams.o]\ntargets = [\"http://a\"]\n"

// How a response goes into the cache and out of it.
func TestCached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		a := s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"))
		check := func(request, want, status, text string, streams int) {
			t.Helper()
			c := s.request(request)
			equal(t, request, c.serve(), want)
			contains(t, request+": the head", c.front.head, "Cache-Status: weir; "+status)
			equal(t, request+": the body", c.front.sent(), text)
			equal(t, request+": streams", a.count(), streams)
		}
		check("GET /x", "200 ok", "fwd=uri-miss; fwd-status=200; stored", "hello", 1)
		check("GET /x", "200 cached", "hit", "hello", 1)
		check("HEAD /x", "200 cached", "hit", "", 1)
		check("GET /x\nRange: bytes=1-3", "206 cached", "hit", "ell", 1)
		check("GET /x\nIf-None-Match: \"1\"", "304 cached", "hit", "", 1)
		time.Sleep(61 * time.Second)
		// The store asks whether its entry is good still.
		a.scripts = []script{answer("304\nCache-Control: max-age=60\nETag: \"1\"")}
		check("GET /x", "200 cached", "fwd=stale; fwd-status=304; stored", "hello", 2)
		contains(t, "the request", a.stream(1).head, "If-None-Match: \"1\"\r\n")
		check("GET /x", "200 cached", "hit", "hello", 2)
		a.scripts = []script{answer("204")}
		check("DELETE /x", "204 ok", "fwd=method; fwd-status=204", "", 3)
		a.scripts = []script{answer("200\nCache-Control: no-store", "new")}
		check("GET /x", "200 ok", "fwd=uri-miss; fwd-status=200", "new", 4)
		check("GET /only\nCache-Control: only-if-cached", "504 not_cached", "detail=only-if-cached", "", 4)
	})
}

// What Cache-Status says of time holds when the answer is sent, also in weir's own.
func TestCacheStatusOfTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		a := s.on("a")
		check := func(path, cause, want string) {
			t.Helper()
			c := s.request("GET " + path)
			equal(t, path+": the end", c.serve(), cause)
			contains(t, path+": the head", c.front.head, "Cache-Status: weir; "+want+"\r\n")
		}
		slow := func(control string) {
			a.scripts = []script{after(1100*time.Millisecond, answer("200\nCache-Control: "+control, "hello"))}
		}
		slow("max-age=10")
		check("/what-is-left", "200 ok", "fwd=uri-miss; fwd-status=200; stored; ttl=9")
		check("/what-is-left", "200 cached", "hit; ttl=9")
		time.Sleep(time.Second)
		check("/what-is-left", "200 cached", "hit; ttl=8")
		slow("max-age=1")
		check("/stale-on-arrival", "200 ok", "fwd=uri-miss; fwd-status=200; stored; ttl=-1; detail=old-on-arrival")
		a.scripts = []script{answer("200\nCache-Control: s-maxage=1,stale-if-error=60", "hello")}
		check("/fails", "200 ok", "fwd=uri-miss; fwd-status=200; stored; ttl=1")
		time.Sleep(1100 * time.Millisecond)
		a.scripts = []script{resets}
		check("/fails", "502 reset", "fwd=stale; detail=s-maxage")
		check("/fails-at-once", "502 reset", "fwd=uri-miss")

		// A stale window that is forbidden is worth more than why the failure is not stored.
		for control, why := range map[string]string{
			"s-maxage=1, stale-if-error=60":                         "s-maxage",
			"max-age=1, must-revalidate, stale-while-revalidate=60": "must-revalidate",
			"no-cache":  "no-cache",
			"max-age=1": "no-freshness",
		} {
			path := "/fails/" + why
			a.scripts = []script{answer("200\nETag: \"1\"\nCache-Control: "+control, "hello")}
			s.request("GET " + path).serve()
			time.Sleep(1100 * time.Millisecond)
			a.scripts = []script{answer("500")}
			check(path, "500 ok", "fwd=stale; fwd-status=500; detail="+why)
		}
	})
}

// A lifetime that the route gives counts from when the response came, however slow the origin is.
func TestLifetimeOfRoute(t *testing.T) {
	for given, response := range map[string]string{
		`forced_ttl = "1s"`: "200\nCache-Control: max-age=1", `default_ttl = "1s"`: "200", `negative_ttl = "1s"`: "404",
	} {
		bubble(t, func(t *testing.T) {
			s := newStand(t, strings.Replace(cachedRoute, "status = true", given, 1))
			a := s.on("a", after(1500*time.Millisecond, answer(response, "hello")))
			for i, want := range []int{1, 1, 2} {
				s.request("GET /x").serve()
				equal(t, given+": streams", a.count(), want)
				time.Sleep(time.Duration(i+1) * 800 * time.Millisecond)
			}
		})
	}
}

// Those that ask for the same at once share one fetch. A body of known length is shared while
// it arrives, another one once it is whole.
func TestCollapse(t *testing.T) {
	check := func(framing, meanwhile, trailer string) {
		s := newStand(t, cachedRoute)
		more := make(chan struct{})
		a := s.on("a", func(s *fakeStream) {
			<-more
			s.respond("200\nCache-Control: max-age=60\n" + framing)
			s.body.send("hel")
			<-more
			if s.body.send("lo"); trailer != "" {
				s.body.end(trailer)
			}
		})
		var all []*client
		for range 5 {
			all = append(all, s.request("GET /x").start())
		}
		more <- struct{}{}
		settle()
		for i, c := range all {
			if i > 0 {
				equal(t, "the body so far", c.front.sent(), meanwhile)
				continue
			}
			equal(t, "the leader's body so far", c.front.sent(), "hel")
			equal(t, "calls", c.front.trace(), "start flush write flush")
		}
		more <- struct{}{}
		settle()
		for _, c := range all {
			c.ended()
			equal(t, "the body", c.front.sent(), "hello")
		}
		equal(t, "the trailer section of the leader", strings.TrimSpace(all[0].front.trailer), trailer)
		equal(t, "collapsed", all[4].Result.Cache.Collapsed, true)
		equal(t, "streams", a.count(), 1)
	}
	bubble(t, func(t *testing.T) { check("Content-Length: 5", "hel", "") })
	bubble(t, func(t *testing.T) { check("Transfer-Encoding: chunked", "", "X-Sum: 1") })
}

// A fetch whose clients all left ends if much is missing; one that another client waits for
// goes on.
func TestFetchAbandoned(t *testing.T) {
	impatient := strings.Replace(cachedRoute, "status = true", `status = true, finish = "5"`, 1)
	starts := func(s *fakeStream) {
		s.respond("200\nCache-Control: max-age=60\nContent-Length: 9")
		s.body.send("hel")
		select {
		case <-s.gone:
		case <-time.After(time.Second):
			s.body.send("lo you")
		}
	}
	bubble(t, func(t *testing.T) {
		s := newStand(t, impatient)
		a := s.on("a", starts)
		c := s.request("GET /x").start()
		c.gone.Cancel()
		settle()
		equal(t, "the end", c.ended(), "200 client_gone")
		equal(t, "whether the stream is reusable", a.stream(0).reusable, false)
		equal(t, "the next one", s.request("GET /x").serve(), "200 ok")
		equal(t, "streams", a.count(), 2)
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, impatient)
		a := s.on("a", starts)
		first := s.request("GET /x").start()
		second := s.request("GET /x").start()
		first.gone.Cancel()
		time.Sleep(2 * time.Second)
		settle()
		equal(t, "the first", first.ended(), "200 client_gone")
		equal(t, "the second", second.ended(), "200 cached")
		equal(t, "the body", second.front.sent(), "hello you")
		equal(t, "whether the stream is reusable", a.stream(0).reusable, true)
	})
	// The server's end cuts what goes on without a client.
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		s.on("a", starts)
		c := s.request("GET /x").start()
		equal(t, "fetches", s.fetches.Cut(), 1)
		settle()
		equal(t, "the end", c.ended(), "200 truncated")
		equal(t, "fetches", s.fetches.Cut(), 0)
	})
}

// Those that wait for a fetch that fails ask for themselves.
func TestFetchFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		fail := make(chan struct{})
		a := s.on("a", func(s *fakeStream) { <-fail; resets(s) }, answer("200\nCache-Control: max-age=60", "hello"))
		first := s.request("GET /x").start()
		second := s.request("GET /x").start()
		close(fail)
		settle()
		equal(t, "the first", first.ended(), "502 reset")
		equal(t, "the second", second.ended(), "200 ok")
		equal(t, "streams", a.count(), 2)
	})
}

// A body that breaks off is neither stored nor taken for whole.
func TestFetchBroken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		a := s.on("a", func(s *fakeStream) {
			s.respond("200\nCache-Control: max-age=60\nContent-Length: 9")
			s.body.send("hel")
		})
		c := s.request("GET /x")
		equal(t, "the end", c.serve(), "200 truncated")
		equal(t, "whether the answer was cut", c.front.did("abort"), true)
		equal(t, "the next one", s.request("GET /x").serve(), "200 truncated")
		equal(t, "streams", a.count(), 2)
	})
}

// A stale answer is sent at once, and validated without a client, once at a time.
func TestRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, strings.Replace(cachedRoute, "enabled", "stale_while_revalidate = \"60s\", enabled", 1))
		a := s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"), silent)
		equal(t, "the first", s.request("GET /x?y").serve(), "200 ok")
		time.Sleep(61 * time.Second)
		var all []*client
		for range 3 {
			all = append(all, s.request("GET /x?y\nRange: bytes=0-1").start())
		}
		equal(t, "streams", a.count(), 2)
		contains(t, "the request", a.stream(1).head, "GET /x?y HTTP/1.1\r\nHost: weir.test\r\n")
		contains(t, "the request", a.stream(1).head, "If-None-Match: \"1\"\r\n")
		lacks(t, "the request", a.stream(1).head, "Range")
		for _, c := range all {
			equal(t, "the phase", c.phase, phaseSettled)
			equal(t, "the body", c.front.sent(), "he")
			c.Reset() // the fetch uses nothing of the exchange
		}
		a.stream(1).answer("200\nCache-Control: max-age=60", "new")
		settle()
		c := s.request("GET /x?y").start()
		equal(t, "the body", c.front.sent(), "new")
		equal(t, "streams", a.count(), 2)
		s.settled()
	})
	// One that fails or panics leaves the entry, and nothing else.
	for _, hook := range []func(x *Exchange){func(*Exchange) {}, func(*Exchange) { panic("in the hook") }} {
		bubble(t, func(t *testing.T) {
			refreshing, replies := false, 0
			s := newStand(t, strings.Replace(cachedRoute, "enabled", "stale_while_revalidate = \"60s\", enabled", 1), Hooks{
				OnUpstream: func(x *Exchange) {
					if refreshing {
						hook(x)
					}
				},
				OnReply: func(*Exchange) { replies++ },
			})
			a := s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"))
			equal(t, "the first", s.request("GET /x").serve(), "200 ok")
			time.Sleep(61 * time.Second)
			a.open, refreshing = refuses, true
			c := s.request("GET /x").start()
			s.background.Wait()
			s.panics = int(s.metrics.panics.Get())
			equal(t, "the end", c.ended(), "200 cached")
			equal(t, "replies to clients", replies, 2)
		})
	}
}

// An entry that may be used when the target fails answers instead of an error.
func TestStaleIfError(t *testing.T) {
	check := func(name string, fails script, open func(*fakeStream) error) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, strings.Replace(cachedRoute, "enabled", "stale_if_error = \"1h\", stale_on_disconnect = \"1h\", enabled", 1))
			a := s.on("a", answer("200\nCache-Control: max-age=60", "hello"), fails)
			equal(t, name, s.request("GET /x").serve(), "200 ok")
			time.Sleep(61 * time.Second)
			a.open = open
			c := s.request("GET /x")
			equal(t, name, c.serve(), "200 cached")
			equal(t, name+": the body", c.front.sent(), "hello")
		})
	}
	check("refused", silent, refuses)
	check("reset", resets, nil)
	check("an error", answer("503", "busy"), nil)
}
