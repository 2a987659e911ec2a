package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// hooked starts weir with hooks, in the order of their calls.
func hooked(t *testing.T, text string, hooks ...hook.Hooks) *weir {
	t.Helper()
	var options []server.Option
	for _, h := range hooks {
		options = append(options, server.WithHooks(h))
	}
	return launch(t, text, options...)
}

// notes are what hooks have noted, in order.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, fmt.Sprintf(format, args...))
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.list, " ")
}

// reflecting answers each request with its head.
func reflecting(t *testing.T) *testkit.Origin {
	return testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.Head), m.Head))
		}
	})
}

// count is how many lines of a head, which a body is, have this name.
func count(head, name string) int {
	return strings.Count(strings.ToLower(head), "\n"+strings.ToLower(name)+":")
}

// A hook that changes what a response is does not make the connection lose step.
func TestHookChangesStatus(t *testing.T) {
	t.Parallel()
	check := func(answer string, status int) {
		t.Helper()
		origin := testkit.Listen(t, testkit.Answer(answer))
		c := hooked(t, toOrigin(origin.URL), hook.Hooks{
			OnReply: func(x hook.Exchange) { x.Response().SetStatus(status) },
		}).dial()
		for range 3 {
			equal(t, "status", c.Get("/").Status(), status)
		}
	}
	for _, status := range []int{200, 204, 304, 500} {
		check(ok, status)
		check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", status)
		check("HTTP/1.1 204 No Content\r\n\r\n", status)
	}
}

// The hooks of several options are called in the order of the options, point by point.
func TestHookOrder(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	var n notes
	noting := func(who string) hook.Hooks {
		note := func(point string) func(hook.Exchange) { return func(hook.Exchange) { n.add("%s%s", point, who) } }
		return hook.Hooks{
			OnRequest: note("request"), OnUpstream: note("upstream"), OnResponse: note("response"), OnReply: note("reply"), OnDone: note("done"),
		}
	}
	w := hooked(t, toOrigin(origin.URL), noting("1"), hook.Hooks{}, noting("2"))
	w.dial().Get("/")
	w.ended()
	testkit.Eventually(t, "all hooks are called", func() bool {
		return n.String() == "request1 request2 upstream1 upstream2 response1 response2 reply1 reply2 done1 done2"
	})
}

// What OnRequest changes decides the route and what targets get; the log keeps what came.
func TestOnRequestRoutes(t *testing.T) {
	t.Parallel()
	origin := reflecting(t)
	text := `
[[routes]]
host = "other.test"
upstream = "origin"
request_headers.set = { X-Route = "host" }
[[routes]]
header = { X-To = "field" }
upstream = "origin"
request_headers.set = { X-Route = "field" }
[[routes]]
path = "/moved/"
strip_prefix = true
upstream = "origin"
request_headers.set = { X-Route = "path", X-Path = "{path}", X-Query = "{query}", X-Search = "{search}", X-Host = "{host}" }
[[routes]]
path = "/gone/"
redirect.to = "/new/{search}"
[[routes]]
respond = { body = "unchanged" }
[upstreams.origin]
targets = ["` + origin.URL + `"]
`
	change := func(x hook.Exchange) {
		r := x.Request()
		if host := r.Get("X-Set-Host"); host != "" {
			r.Set("Host", host)
		}
		if target := r.Get("X-Set-Target"); target != "" {
			if err := r.SetTarget(target); err != nil {
				t.Error(err)
			}
		}
		if r.Get("X-Set-To") != "" {
			r.Add("X-To", "field")
		}
	}
	w := hooked(t, text, hook.Hooks{OnRequest: change})
	c := w.dial()
	ask := func(fields string) *testkit.Message {
		t.Helper()
		c.Send("GET /came?q=1 HTTP/1.1\r\nHost: weir.test\r\n" + fields + "\r\n")
		return c.Response("GET")
	}
	check := func(fields string, lines ...string) {
		t.Helper()
		m := ask(fields)
		for _, line := range lines {
			if !strings.Contains(m.Body, line+"\r\n") {
				t.Errorf("%q: the target got no %q:\n%s", fields, line, m.Body)
			}
		}
	}
	equal(t, "body", ask("").Body, "unchanged")
	check("X-Set-Host: other.test\r\n", "GET /came?q=1 HTTP/1.1", "Host: other.test", "X-Route: host")
	check("X-Set-To: 1\r\n", "GET /came?q=1 HTTP/1.1", "Host: weir.test", "X-Route: field", "X-To: field")
	check("X-Set-Target: /moved/%61/b?r=2\r\n", "GET /%61/b?r=2 HTTP/1.1", "X-Route: path", "X-Path: /moved/%61/b", "X-Query: r=2", "X-Search: ?r=2", "X-Host: weir.test")
	// The new target is longer than the one that came, then shorter.
	for target, location := range map[string]string{
		"/gone/a/long/path?with=a&longer=query": "/new/?with=a&longer=query",
		"/gone/?r":                              "/new/?r",
		"/gone/?":                               "/new/",
		"/gone/":                                "/new/",
	} {
		equal(t, target, ask("X-Set-Target: "+target+"\r\n").Get("Location"), location)
	}
	check("X-Set-Target: /moved/\r\nX-Set-Host: third.test\r\n", "GET / HTTP/1.1", "X-Host: third.test", "X-Path: /moved/")
	// A changed target is checked as one that came.
	m := ask("X-Set-Target: /moved/..%2fx\r\n")
	equal(t, "status", m.Status(), 400)
	equal(t, "body", m.Body, "400 Bad Request: bad_path\n")
	for _, e := range w.logged(10) {
		equal(t, "logged target", e.Target, "/came?q=1")
	}
}

// What OnRequest changes is in the key of the cache, also when a stored response is validated.
func TestOnRequestAndCache(t *testing.T) {
	t.Parallel()
	targets := make(chan string, 10)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			targets <- m.Target() + " " + m.Get("Host")
			c.Send("HTTP/1.1 200 OK\r\nCache-Control: max-age=600, stale-while-revalidate=600\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	var n notes
	w := hooked(t, "[cache]\npurge_from = [\"127.0.0.1\"]\n"+strings.Replace(toOrigin(origin.URL), "\"all\"", "\"all\"\nadd_prefix = \"/pre\"\ncache = true", 1), hook.Hooks{
		OnRequest: func(x hook.Exchange) {
			x.Request().SetTarget("/same?" + x.Request().Get("X-Number"))
			x.Request().Set("Host", "one.test")
		},
		OnReply: func(x hook.Exchange) { n.add("%s", x.Info().Cache) },
	})
	c := w.dial()
	ask := func(target, key string) {
		c.Send("GET " + target + " HTTP/1.1\r\nHost: weir.test\r\nX-Number: " + key + "\r\n\r\n")
		equal(t, "body", c.Response("GET").Body, "ok")
	}
	ask("/a", "1")
	equal(t, "first", receive(t, targets), "/pre/same?1 one.test")
	ask("/a", "2")
	equal(t, "other key", receive(t, targets), "/pre/same?2 one.test")
	ask("/b", "1")
	c.Send("PURGE /c HTTP/1.1\r\nHost: weir.test\r\nX-Number: 1\r\nPurge-Mode: soft\r\n\r\n")
	equal(t, "purged", c.Response("PURGE").Body, "{\"purged\":1}\n")
	ask("/b", "1") // stale, which the target is asked about meanwhile
	equal(t, "validated", receive(t, targets), "/pre/same?1 one.test")
	equal(t, "caches", n.String(), "uri-miss uri-miss hit  stale-while-revalidate")
	testkit.Eventually(t, "the entry is fresh again", func() bool { ask("/d", "1"); return strings.HasSuffix(n.String(), " hit") })
}

// A request has no status and a response no target: what would set them is an error, and changes nothing.
func TestHookOfOtherMessage(t *testing.T) {
	t.Parallel()
	refused := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("what the message does not have is set")
		}
	}
	w := hooked(t, toOrigin(reflecting(t).URL), hook.Hooks{
		OnRequest:  func(x hook.Exchange) { refused(x.Request().SetStatus(404)) },
		OnUpstream: func(x hook.Exchange) { refused(x.Outgoing().SetStatus(404)) },
		OnResponse: func(x hook.Exchange) { refused(x.Response().SetTarget("/other")) },
		OnReply:    func(x hook.Exchange) { refused(x.Response().SetTarget("/other")) },
	})
	c := w.dial()
	m := c.Get("/this")
	equal(t, "status", m.Status(), 200)
	if !strings.HasPrefix(m.Body, "GET /this HTTP/1.1\r\n") {
		t.Errorf("the target got %q", m.Body)
	}
}

// What OnUpstream changes holds for one attempt, and each attempt sends it once.
func TestOnUpstreamHoldsForOneAttempt(t *testing.T) {
	t.Parallel()
	change := hook.Hooks{OnUpstream: func(x hook.Exchange) {
		h := x.Outgoing()
		h.Add("X-Try", fmt.Sprint(x.Info().Attempts))
		h.Set("X-Target", x.Info().Target)
		h.Del("X-Del")
		if h.Get("X-Keep") != "yes" || h.Get("X-Forwarded-For") == "" || x.Request().Get("X-Try") != "" {
			t.Error("the outgoing head is not what the rules made, or the request's is changed")
		}
	}}
	const request = "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Keep: yes\r\nX-Del: yes\r\n\r\n"
	judge := func(head, url string, try int) {
		t.Helper()
		if count(head, "X-Try") != 1 || !strings.Contains(head, fmt.Sprintf("\r\nX-Try: %d\r\n", try)) {
			t.Errorf("attempt %d has sent %s", try, head)
		}
		if count(head, "X-Target") != 1 || !strings.Contains(head, "\r\nX-Target: "+url+"\r\n") || count(head, "X-Del") != 0 {
			t.Errorf("attempt %d has sent %s", try, head)
		}
	}
	t.Run("retry", func(t *testing.T) {
		heads := make(chan string, 9)
		bad := testkit.Listen(t, func(c *testkit.Conn) { heads <- c.Request().Head; c.Close() })
		worse := testkit.Listen(t, func(c *testkit.Conn) { heads <- c.Request().Head; c.Reset() })
		good := reflecting(t)
		text := fmt.Sprintf("[[routes]]\nupstream = \"o\"\n[upstreams.o]\nbalance = \"round_robin\"\nretry.attempts = 3\n"+
			"targets = [{url = %q, priority = 0}, {url = %q, priority = 0}, {url = %q, priority = 0}]\n", bad.URL, worse.URL, good.URL)
		w := hooked(t, text, change)
		c := w.dial()
		c.Send(request)
		m := c.Response("GET")
		n := w.logged(1)[0].Attempts
		judge(m.Body, good.URL, n)
		for try := 1; try < n; try++ {
			head := receive(t, heads)
			judge(head, head[strings.Index(head, "X-Target: ")+len("X-Target: "):][:len(bad.URL)], try)
		}
	})
	t.Run("stale connection", func(t *testing.T) {
		var conns sync.Map
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			m := c.Request()
			conns.Store(c.Index, m.Head)
			c.Send(ok)
			if c.Index == 0 {
				c.Request() // and closes: as if it had timed out
				return
			}
			c.Hold()
		})
		w := hooked(t, toOrigin(origin.URL), change)
		c := w.dial()
		for range 2 {
			c.Send(request)
			equal(t, "status", c.Response("GET").Status(), 200)
		}
		head, _ := conns.Load(1)
		judge(head.(string), origin.URL, 1)
	})
	t.Run("hedge", func(t *testing.T) {
		heads := make(chan string, 2)
		slow := testkit.Listen(t, func(c *testkit.Conn) {
			for {
				if m := c.Request(); m.Target() == "/slow" {
					heads <- m.Head
					c.Rest()
					return
				}
				c.Send(say("slow"))
			}
		})
		fast := testkit.Listen(t, func(c *testkit.Conn) {
			for {
				if m := c.Request(); m.Target() == "/slow" {
					heads <- m.Head
				}
				c.Send(say("fast"))
			}
		})
		w := hooked(t, fmt.Sprintf("[[routes]]\nupstream = \"o\"\n[upstreams.o]\nsticky.cookie = \"weir\"\nretry = { hedge = 0.5, hedge_min = \"2s\" }\n"+
			"targets = [%q, %q]\n", slow.URL, fast.URL), hook.Hooks{OnUpstream: func(x hook.Exchange) {
			if x.Request().Target() == "/slow" {
				change.OnUpstream(x)
			}
		}})
		c := w.dial()
		cookie := "" // leads to the slow target first
		compare(w, func(m *testkit.Message) {
			if m.Body == "slow" {
				cookie, _, _ = strings.Cut(m.Get("Set-Cookie"), ";")
			}
		})
		c.Send(strings.Replace(request, "GET / HTTP/1.1\r\n", "GET /slow HTTP/1.1\r\nCookie: "+cookie+"\r\n", 1))
		equal(t, "body", c.Response("GET").Body, "fast")
		judge(receive(t, heads), slow.URL, 1)
		judge(receive(t, heads), fast.URL, 2)
	})
}

// OnResponse comes before storing, OnReply after it; an entry keeps the changes of the one, and
// nothing of the other.
func TestOnResponseAndOnReply(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			c.Request()
			c.Send("HTTP/1.1 200 OK\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	replies := 0
	w := hooked(t, strings.Replace(toOrigin(origin.URL), "\"all\"", "\"all\"\ncache = true", 1), hook.Hooks{
		OnResponse: func(x hook.Exchange) {
			r := x.Response()
			r.Add("X-Response", r.Get("X-Old"))
			r.Del("X-Old")
			r.Set("Cache-Control", "max-age=600")
			if strings.HasPrefix(x.Request().Target(), "/private") {
				r.Set("Cache-Control", "no-store")
			}
		},
		OnReply: func(x hook.Exchange) {
			replies++
			x.Response().Add("X-Reply", fmt.Sprint(replies))
		},
	})
	c := w.dial()
	for i := range 3 {
		m := c.Get("/")
		equal(t, "X-Response", m.Get("X-Response"), "1")
		equal(t, "X-Old", m.Get("X-Old"), "")
		equal(t, "X-Reply", m.Get("X-Reply"), fmt.Sprint(i+1))
	}
	equal(t, "requests", origin.Requests(), 1)
	c.Get("/private")
	c.Get("/private")
	equal(t, "requests", origin.Requests(), 3)
}

// OnReply is called for whatever answers.
func TestOnReplyForOwnResponses(t *testing.T) {
	t.Parallel()
	text := `
[[routes]]
path = "/redirect"
redirect = { to = "/there", status = 307 }
[[routes]]
path = "/respond"
respond = { status = 418, body = "tea" }
[[routes]]
path = "/dead"
upstream = "dead"
[upstreams.dead]
targets = ["unix:/nowhere/at/all"]
`
	w := hooked(t, text, hook.Hooks{
		OnRequest: func(x hook.Exchange) {
			if x.Request().Target() == "/answer" {
				x.Answer(202, "a/b", "hello")
			}
		},
		OnReply: func(x hook.Exchange) {
			i := x.Info()
			x.Response().Set("X-Reply", fmt.Sprintf("%d %s %d", x.Response().Status(), i.Cause, i.Status))
			x.Response().Add("Location", "/more")
		},
	})
	c := w.dial()
	check := func(target, reply, body string) {
		t.Helper()
		m := c.Get(target)
		equal(t, target, m.Get("X-Reply"), reply)
		equal(t, target+" body", m.Body, body)
	}
	check("/redirect", "307 redirect 0", "")
	check("/respond", "418 fixed_response 0", "tea")
	check("/dead", "502 connect_failed 0", "502 Bad Gateway: connect_failed\n")
	check("/none", "404 no_route 0", "404 Not Found: no_route\n")
	check("/answer", "202 hook 0", "hello")
}

// Targets and statuses that are none are refused, and nothing is changed.
func TestHookRefusals(t *testing.T) {
	t.Parallel()
	origin := reflecting(t)
	w := hooked(t, toOrigin(origin.URL), hook.Hooks{
		OnRequest: func(x hook.Exchange) {
			for _, target := range []string{"", "a", "*", "http://a/", "/a b", "/a\r\nX: y", "/a\x00", "/\x7f"} {
				err := x.Request().SetTarget(target)
				want := fmt.Sprintf("cannot set the request target to %q: want a path that begins with \"/\" and has no space or control byte", target)
				if err == nil || err.Error() != want {
					t.Errorf("SetTarget(%q): %v", target, err)
				}
			}
		},
		OnReply: func(x hook.Exchange) {
			for _, status := range []int{-1, 0, 100, 101, 199, 600, 999} {
				if err := x.Response().SetStatus(status); err == nil || err.Error() != fmt.Sprintf("cannot set the status to %d: want 200 to 599", status) {
					t.Errorf("SetStatus(%d): %v", status, err)
				}
			}
		},
	})
	m := w.dial().Get("/as/it/came")
	equal(t, "status line", m.Line, "HTTP/1.1 200 OK")
	equal(t, "request line", strings.SplitN(m.Body, "\r\n", 2)[0], "GET /as/it/came HTTP/1.1")
}

// Hooks read and change fields, but for those that frame a message or belong to a connection.
func TestHookFields(t *testing.T) {
	t.Parallel()
	heads := make(chan string, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			heads <- c.Request().Head
			c.Send("HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})
	change := func(h hook.Head) {
		for _, name := range []string{
			"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade", "HTTP2-Settings", "Expect",
		} {
			h.Set(name, "1")
			h.Add(strings.ToLower(name), "2")
			h.Del(strings.ToUpper(name))
		}
		for _, name := range []string{"", "a b", "a:b", "a\r\nb", "ä"} {
			h.Set(name, "1")
			h.Add(name, "1")
			h.Del(name)
			if h.Get(name) != "" || h.Peek(name) != nil {
				t.Errorf("there is a field %q", name)
			}
		}
		h.Set("X-Control", "a\r\nX-Smuggled: b\x00c")
		h.Add("X-Last", " spaces ")
		h.Set("x-a", "3")
		var values []string
		for v := range h.Values("X-A") {
			values = append(values, v)
		}
		for range h.Values("X-A") {
			break
		}
		if !slices.Equal(values, []string{"3"}) || string(h.Peek("x-A")) != "3" || h.Get("X-a") != "3" || h.Peek("X-None") != nil || h.Get("X-None") != "" {
			t.Errorf("X-A is %q, %q, %q", values, h.Peek("X-A"), h.Get("X-A"))
		}
	}
	var all, kept notes
	w := hooked(t, toOrigin(origin.URL), hook.Hooks{
		OnRequest: func(x hook.Exchange) {
			r := x.Request()
			equal(t, "method", r.Method(), "POST")
			equal(t, "target", r.Target(), "/x?y")
			for v := range r.Values("X-A") {
				kept.add("%s", v)
			}
			first := r.Get("X-A")
			change(r)
			kept.add("%s", first) // a copy, which the change leaves alone
			for name, value := range r.All() {
				all.add("%s=%s", name, value)
			}
		},
		OnUpstream: func(x hook.Exchange) { change(x.Outgoing()) },
		OnReply:    func(x hook.Exchange) { change(x.Response()) },
	})
	c := w.dial()
	c.Send("POST /x?y HTTP/1.1\r\nHost: weir.test\r\nx-A: 1\r\nContent-Length: 2\r\nX-A: 2\r\nX-B: b\r\n\r\nhi")
	m := c.Response("POST")
	sent := receive(t, heads)
	equal(t, "values", kept.String(), "1 2 1")
	equal(t, "all", all.String(), "Host=weir.test x-A=3 Content-Length=2 X-B=b X-Control=a  X-Smuggled: b c X-Last=spaces")
	if !strings.HasPrefix(sent, "POST /x?y HTTP/1.1\r\nHost: weir.test\r\nx-A: 3\r\nContent-Length: 2\r\nX-B: b\r\nX-Control: a  X-Smuggled: b c\r\nX-Last: ") {
		t.Errorf("the target got %s", sent)
	}
	equal(t, "X-Last lines", count(sent, "X-Last"), 2) // of OnRequest and OnUpstream
	if !strings.HasPrefix(m.Head, "HTTP/1.1 200 OK\r\nX-A: 3\r\n") || count(m.Head, "X-A") != 1 {
		t.Errorf("the client got %s", m.Head)
	}
	equal(t, "framing", m.Framing, "chunked")
	equal(t, "body", m.Body, "ok")
	equal(t, "X-Control", m.Get("X-Control"), "a  X-Smuggled: b c")
	for _, name := range []string{"Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect"} {
		if count(sent, name) > 0 || m.Has(name) {
			t.Errorf("%s was sent", name)
		}
	}
}

// Each hook finds what is known by then, and nothing of the exchange before.
func TestHookInfo(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	var n notes
	note := func(point string) func(x hook.Exchange) {
		return func(x hook.Exchange) {
			i := x.Info()
			fields := 0
			for range x.Response().All() {
				fields++
			}
			n.add("%s: %s %s %s %s %s %d %d %s %q in=%d out=%d first=%t over=%t outgoing=%t response=%d/%t\n", point, i.Host, i.Listener, i.Route, i.Upstream,
				strings.Replace(i.Target, origin.URL, "target", 1), i.Attempts, i.Status, i.Cause, i.Cache, i.BytesIn, i.BytesOut, i.FirstByte > 0, i.Duration > 0,
				x.Outgoing() != nil, x.Response().Status(), fields > 0)
			if i.Start.IsZero() || i.Client.String() != "127.0.0.1" || i.Peer.Addr() != i.Client || i.Peer.Port() == 0 || i.TLS || i.RequestID == "" || i.Err != nil {
				t.Errorf("%s: %+v", point, i)
			}
		}
	}
	w := hooked(t, toOrigin(origin.URL), hook.Hooks{
		OnRequest: note("request"), OnUpstream: note("upstream"), OnResponse: note("response"), OnReply: note("reply"), OnDone: note("done"),
	})
	c := w.dial()
	for i := range 2 {
		c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 3\r\n\r\nabc")
		equal(t, "body", c.Response("POST").Body, "ok")
		w.logged(i + 1)
	}
	const want = `request: weir.test main    0 0 ok "" in=0 out=0 first=false over=false outgoing=false response=0/false
 upstream: weir.test main all origin target 1 0 ok "" in=0 out=0 first=false over=false outgoing=true response=0/false
 response: weir.test main all origin target 1 0 ok "" in=0 out=0 first=true over=false outgoing=true response=200/true
 reply: weir.test main all origin target 1 0 ok "" in=0 out=0 first=true over=false outgoing=true response=200/true
 done: weir.test main all origin target 1 200 ok "" in=3 out=2 first=true over=true outgoing=true response=200/true
`
	testkit.Eventually(t, "all hooks are called", func() bool { return strings.Count(n.String(), "\n") == 10 })
	if got := n.String(); got != want+" "+want {
		t.Errorf("hooks found\n %s", got)
	}
}

// What an own response leaves is not there for the next exchange.
func TestHookResponseIsEmptyAtFirst(t *testing.T) {
	t.Parallel()
	w := hooked(t, "[[routes]]\nrespond = { body = \"x\", headers = { X-Secret = \"of another\" } }\n", hook.Hooks{
		OnRequest: func(x hook.Exchange) {
			if x.Response().Status() != 0 || x.Response().Get("X-Secret") != "" || x.Outgoing() != nil {
				t.Error("OnRequest finds a response of before")
			}
		},
	})
	c := w.dial()
	for range 3 {
		equal(t, "field", c.Get("/").Get("X-Secret"), "of another")
	}
}

// OnRequest answers; the first one that does has the last word.
func TestHookAnswers(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	var log textLog
	w := launch(t, toOrigin(origin.URL), server.WithLog(log.logger()), server.WithHooks(hook.Hooks{OnRequest: func(x hook.Exchange) {
		switch x.Request().Target() {
		case "/text":
			x.Answer(200, "text/x", "some text")
		case "/untyped":
			x.Answer(403, "", "no")
		case "/empty":
			x.Answer(204, "", "")
		case "/wrong":
			x.Answer(101, "", "")
		}
	}}), server.WithHooks(hook.Hooks{OnRequest: func(x hook.Exchange) {
		if x.Request().Target() != "/target" {
			x.Answer(500, "", "second")
		}
	}}))
	c := w.dial()
	check := func(method, target string, status int, contentType, length, body string) {
		t.Helper()
		c.Send(method + " " + target + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		m := c.Response(method)
		equal(t, target+" status", m.Status(), status)
		equal(t, target+" Content-Type", m.Get("Content-Type"), contentType)
		equal(t, target+" Content-Length", m.Get("Content-Length"), length)
		equal(t, target+" body", m.Body, body)
	}
	check("GET", "/text", 200, "text/x", "9", "some text")
	check("HEAD", "/text", 200, "text/x", "9", "")
	check("GET", "/untyped", 403, "", "2", "no")
	check("GET", "/empty", 204, "", "", "")
	check("GET", "/other", 500, "", "6", "second")
	check("GET", "/target", 200, "", "2", "ok")
	equal(t, "requests", origin.Requests(), 1)
	// A body that was not read ends the connection, a body that is there does not.
	c.Send("POST /text HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 3\r\n\r\nabc")
	equal(t, "Connection", c.Response("POST").Get("Connection"), "")
	c.Send("POST /text HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 300\r\n\r\nabc")
	equal(t, "Connection", c.Response("POST").Get("Connection"), "close")

	c = w.dial()
	check("GET", "/wrong", 500, "text/plain; charset=utf-8", "33", "500 Internal Server Error: panic\n")
	if !strings.Contains(log.String(), "Answer with status 101: want 200 to 599") {
		t.Errorf("log is %s", log.String())
	}
}

// What a hook may not do at its point is a panic that says so.
func TestHookMisuse(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	check := func(want string, status int, hooks func(misuse func(hook.Exchange)) hook.Hooks, misuse func(hook.Exchange)) {
		t.Helper()
		var log textLog
		w := launch(t, toOrigin(origin.URL), server.WithLog(log.logger()), server.WithHooks(hooks(misuse)))
		equal(t, "status", w.dial().Get("/").Status(), status)
		testkit.Eventually(t, "the log says: "+want, func() bool { return strings.Contains(log.String(), want) })
	}
	type f = func(hook.Exchange)
	answer := func(x hook.Exchange) { x.Answer(200, "", "") }
	upload := func(x hook.Exchange) { x.Tap(hook.ToTarget, 1, func([]byte, bool) {}) }
	download := func(x hook.Exchange) { x.Tap(hook.ToClient, 1, func([]byte, bool) {}) }
	check("Answer is for OnRequest", 500, func(m f) hook.Hooks { return hook.Hooks{OnUpstream: m} }, answer)
	check("Answer is for OnRequest", 500, func(m f) hook.Hooks { return hook.Hooks{OnReply: m} }, answer)
	check("only OnRequest can", 500, func(m f) hook.Hooks { return hook.Hooks{OnResponse: m} }, upload)
	check("Tap is for OnRequest, OnResponse and OnReply", 500, func(m f) hook.Hooks { return hook.Hooks{OnUpstream: m} }, download)
	check("Tap is for OnRequest, OnResponse and OnReply", 200, func(m f) hook.Hooks { return hook.Hooks{OnDone: m} }, download)
}
