package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/figures"
	"weir/internal/transport"
	"weir/lb"
)

// Each variable that templates may use.
func TestVariables(t *testing.T) {
	check := func(variable, want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, "[forwarding]\nrequest_id = \"X-Id\"\n[[routes]]\nname = \"r\"\npath = [\"/p/{c}\"]\nupstream = \"o\"\n"+
				"response_headers = { set = { X-V = \""+variable+"\" } }\n[upstreams.o]\ntargets = [\"http://a\"]\n")
			c := s.request("PUT /p/x%20y?q=1\nX-Id: i-1")
			equal(t, variable, c.serve(), "200 ok")
			contains(t, variable, c.front.head, "X-V: "+want+"\r\n")
		})
	}
	check("{client_addr}", "192.0.2.7")
	check("{client_port}", "4000")
	check("{host}", "weir.test")
	check("{path}", "/p/x%20y")
	check("{query}", "q=1")
	check("{method}", "PUT")
	check("{scheme}", "http")
	check("{route}", "r")
	check("{upstream}", "o")
	check("{target}", "http://a")
	check("{c}", "x%20y")
}

// What a route makes of a request's target.
func TestRewrite(t *testing.T) {
	check := func(rules, request, want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, "[[routes]]\npath = [\"/p/{c}/{rest...}\", \"/p/{c}\"]\nupstream = \"o\"\n"+rules+"\n[upstreams.o]\ntargets = [\"http://a\"]\n")
			equal(t, rules, s.request("GET "+request).serve(), "200 ok")
			got, _, _ := strings.Cut(s.targets["a"].stream(0).head, " HTTP/1.1")
			equal(t, rules+" of "+request, got, "GET "+want)
		})
	}
	check("", "/p/./x/%7ey?q#f", "/p/./x/%7ey?q#f")
	check("strip_prefix = true", "/p/./x/%7ey?q", "/%7ey?q")
	check("add_prefix = \"/a\"", "/p/x/y?q", "/a/p/x/y?q")
	check("strip_prefix = true\nadd_prefix = \"/a\"", "/p/x/y", "/a/y")
	check("rewrite = \"/r/{c}\"", "/p/x%20z/y?q", "/r/x%20z?q")
	check("rewrite = \"/r?of={c}\"", "/p/x/y?q", "/r?of=x")
}

// What the balancer goes by: exchanges with the same key go to the same target.
func TestHashKeys(t *testing.T) {
	const many = "[[routes]]\nupstream = \"o\"\n[upstreams.o]\nbalance = \"hash\"\ntargets = [\"http://a\", \"http://b\", \"http://c\", \"http://d\"]\nhash = { by = \"%s\" }\n"
	check := func(by, same string, differs func(i int) string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, fmt.Sprintf(many, by))
			first := s.request(same)
			first.serve()
			for range 8 {
				c := s.request(same)
				c.serve()
				equal(t, by, c.Result.Target.URL(), first.Result.Target.URL())
			}
			seen := map[string]bool{}
			for i := range 40 {
				c := s.request(differs(i))
				c.serve()
				seen[c.Result.Target.URL()] = true
			}
			if len(seen) < 2 {
				t.Errorf("%s: all went to %v", by, seen)
			}
		})
	}
	numbered := func(format string) func(i int) string {
		return func(i int) string { return fmt.Sprintf(format, i) }
	}
	check("path", "GET /x?1", numbered("GET /%d"))
	check("header:X-K", "GET /\nX-K: v", numbered("GET /\nX-K: %d"))
	check("cookie:k", "GET /\nCookie: a=b; k=v", numbered("GET /\nCookie: a=b; k=%d"))
	check("query:k", "GET /?a=b&k=v", numbered("GET /?a=b&k=%d"))
	bubble(t, func(t *testing.T) {
		s := newStand(t, fmt.Sprintf(many, "client_address"))
		first := s.request("GET /1")
		first.serve()
		for i := range 8 {
			c := s.request(fmt.Sprintf("GET /%d", i))
			c.serve()
			equal(t, "client_address", c.Result.Target.URL(), first.Result.Target.URL())
		}
	})
}

// A client comes back to the target that answered it.
func TestSticky(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets+"sticky = { cookie = \"where\" }\n")
		c := s.request("GET /")
		c.serve()
		_, cookie, ok := strings.Cut(c.front.head, "Set-Cookie: ")
		if !ok {
			t.Fatalf("no cookie: %q", c.front.head)
		}
		cookie, _, _ = strings.Cut(cookie, ";")
		first := c.Result.Target.URL()
		for range 4 {
			c = s.request("GET /\nCookie: a=b\nCookie: " + cookie)
			c.serve()
			equal(t, "the target", c.Result.Target.URL(), first)
			lacks(t, "the head", c.front.head, "Set-Cookie")
		}
	})
}

// A shared connection that was given up before the answer came costs no attempt.
func TestShared(t *testing.T) {
	const text = oneTarget + "connections = { pipeline = 4 }\ntimeouts = { total = \"5s\" }\n"
	alone := func(wait time.Duration) script {
		return func(s *fakeStream) {
			time.Sleep(wait)
			s.heads <- transport.ErrAlone
		}
	}
	check := func(name, request string, wait time.Duration, want string, streams int, shared bool) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			a := s.on("a", alone(wait), answer("200", "hello"))
			if !shared {
				a.scripts = a.scripts[1:]
			}
			a.shares = true
			c := s.request(request)
			equal(t, name, c.serve(), want)
			equal(t, name+": streams", a.count(), streams)
			equal(t, name+": whether the first was shared", a.stream(0).shared, shared)
			equal(t, name+": attempts", c.Result.Attempts, 1)
			if streams > 1 {
				equal(t, name+": whether the second was shared", a.stream(1).shared, false)
			}
		})
	}
	check("given up", "GET /", time.Second, "200 ok", 2, true)
	check("given up too late", "GET /", 6*time.Second, "504 total_timeout", 1, true)
	check("not safe", "POST /", 0, "200 ok", 1, false)
	check("a HEAD", "HEAD /", 0, "200 ok", 1, false)
	check("an upgrade", "GET /\nConnection: upgrade\nUpgrade: x", 0, "200 ok", 1, false)
	check("an expectation", "GET /\nExpect: 100-continue", 0, "200 ok", 1, false)
}

// An upstream that mostly fails is left alone for a while.
func TestBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget+"breaker = { failures = 0.5, requests = 3, open = \"10s\" }\nhealth = { passive = { failures = 0 } }\n")
		s.on("a", answer("500"), answer("500"), answer("500"), answer("200"))
		for range 3 {
			equal(t, "a failure", s.request("GET /").serve(), "500 ok")
		}
		equal(t, "open", s.request("GET /").serve(), "503 breaker_open")
		time.Sleep(11 * time.Second)
		equal(t, "half open", s.request("GET /").serve(), "200 ok")
	})
}

// A request for a part is fetched alone or as a whole, and the client gets its part.
func TestCachedParts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		more := make(chan struct{})
		a := s.on("a", func(s *fakeStream) {
			s.respond("200\nCache-Control: max-age=60\nContent-Length: 10\nETag: \"1\"\nAccept-Ranges: bytes")
			s.body.send("01234")
			<-more
			s.body.send("56789")
		})
		c := s.request("GET /x\nRange: bytes=2-6").start()
		close(more)
		settle()
		c.ended()
		got := c.front.sent()
		if got != "23456" && got != "0123456789" {
			t.Errorf("the part is %q", got)
		}
		d := s.request("GET /x\nRange: bytes=7-8")
		d.serve()
		contains(t, "another part", d.front.sent(), "78")
		if a.count() > 2 {
			t.Errorf("%d streams", a.count())
		}
	})
}

// A 304 that fits no entry is no answer to a client that asked for the whole.
func TestCachedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		a := s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"), answer("304\nETag: \"2\""),
			answer("200\nCache-Control: max-age=60\nETag: \"2\"", "new"))
		equal(t, "the first", s.request("GET /x").serve(), "200 ok")
		time.Sleep(61 * time.Second)
		c := s.request("GET /x")
		equal(t, "the end", c.serve(), "200 ok")
		equal(t, "the body", c.front.sent(), "new")
		equal(t, "streams", a.count(), 3)
		lacks(t, "the last request", a.stream(2).head, "If-None-Match")
	})
}

// An exchange that asks once more does so before those that wait.
func TestCachedAgainKeepsItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute+"limits = { in_flight = 1, queue = 1, queue_timeout = \"1h\" }\n")
		s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"), after(time.Second, answer("304\nETag: \"2\"")),
			answer("200\nCache-Control: max-age=60\nETag: \"2\"", "new"), after(time.Second, answer("200", "other")))
		equal(t, "the first", s.request("GET /x").serve(), "200 ok")
		time.Sleep(61 * time.Second)
		c, waits := s.request("GET /x").start(), s.request("POST /y").start()
		equal(t, "waiting", s.sets["o"].Queued(), 1)
		time.Sleep(time.Minute)
		equal(t, "the end", c.ended(), "200 ok")
		equal(t, "the body", c.front.sent(), "new")
		equal(t, "the one that waited", waits.ended(), "200 ok")
		equal(t, "its body", waits.front.sent(), "other")
	})
}

// The figures name what they are about, and go when that goes.
func TestWriteMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		equal(t, "an exchange", s.request("GET /x").serve(), "200 ok")
		var b bytes.Buffer
		s.WriteMetrics(&b)
		s.metrics.WriteMetrics(&b, figures.LE)
		s.lis.WriteMetrics(&b)
		s.set.WritePrometheus(&b)
		text := b.String()
		for _, series := range []string{
			`weir_upstream_in_flight{upstream="o",target="http://a"} 0`,
			`weir_cache_entries 0`, `weir_listener_requests_in_flight{listener="main"} 0`,
			`weir_request_duration_seconds_count{route="route-1"} 1`, `weir_upstream_first_byte_seconds_count{upstream="o",target="http://a"} 1`,
			`weir_causes_total{route="route-1",cause="ok"} 1`,
		} {
			if !strings.Contains(text, series) {
				t.Errorf("no %s in %s", series, text)
			}
		}
	})
}

// What the cache did has one name.
// Generations share the series of a route, and their names are kept once.
func TestSeriesOfAllGenerations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		names := func() (sum int) {
			for _, series := range s.figures.series {
				sum += len(series.names)
			}
			return sum
		}
		s.request("POST /x").serve()
		before := names()
		for range 3 {
			s.reload()
			s.request("POST /x").serve()
		}
		equal(t, "names", names(), before)
	})
}

func TestCacheResultString(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		s.on("a", answer("200\nCache-Control: max-age=60", "hello"))
		var names []string
		for range 2 {
			c := s.request("GET /x")
			c.serve()
			names = append(names, c.Result.Cache.String())
		}
		equal(t, "a hit", names[1], "hit")
		equal(t, "no cache", CacheResult{}.String(), "")
	})
}

// An attempt is ended once, however often end is called.
func TestAttemptEndsOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.on("a", answer("200", "hello"))
		c := s.request("GET /")
		equal(t, "the end", c.serve(), "200 ok")
		for range 2 {
			c.attempt.end(ending{kind: lb.Reset})
			c.attempt.giveUp(ending{kind: lb.Reset})
			c.abandon()
		}
		s.settled()
		good, bad, _ := s.sets["origin"].Targets()[0].Counts()
		equal(t, "exchanges that went well", good, 1)
		equal(t, "exchanges that failed", bad, 0)
	})
}
