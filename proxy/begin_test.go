package proxy

import (
	"net/netip"
	"testing"
)

// What begin finds out about a request before it is routed.
func TestBegin(t *testing.T) {
	const text = oneTarget + "[forwarding]\ntrusted_proxies = [\"192.0.2.0/24\"]\n"
	check := func(request, want string, look func(x *Exchange)) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			c := s.request(request)
			equal(t, request, c.serve(), want)
			if look != nil {
				look(c.Exchange)
			}
		})
	}
	is := func(what string, of func(x *Exchange) string, want string) func(x *Exchange) {
		return func(x *Exchange) {
			t.Helper()
			equal(t, what, of(x), want)
		}
	}
	path := func(x *Exchange) string { return string(x.Path) + "|" + string(x.Query) + "|" + string(x.Canonical) }
	host := func(x *Exchange) string { return string(x.Host) }
	address := func(x *Exchange) string { return x.ClientAddr.String() }

	// The parts of a target.
	check("GET /a/b?c=d", "200 ok", is("the path", path, "/a/b|c=d|/a/b"))
	check("GET /a?b?c", "200 ok", is("the path", path, "/a|b?c|/a"))
	check("GET /%41/../b", "200 ok", is("the path", path, "/%41/../b||/b"))
	check("OPTIONS *", "200 ok", is("the path", path, "*||"))
	check("GET /a#b", "200 ok", is("the path", path, "/a||/a"))
	check("GET /a?b#c?d", "200 ok", is("the path", path, "/a|b|/a"))
	// A fragment that a target could take for segments.
	check("GET /a#/../b", "400 bad_path", nil)
	check("GET /a#%2e", "400 bad_path", nil)
	check("GET /a?b#/c", "200 ok", nil)
	// Paths of which others could make something else.
	check("GET /a/..%2fb", "400 bad_path", nil)
	check("GET /../a", "400 bad_path", nil)
	check("GET /a%00", "400 bad_path", nil)
	// Who is asked.
	check("GET /\nHost: Other.test:81", "200 ok", is("the host", host, "Other.test:81"))
	check("GET http://other.test/x\nHost: weir.test", "200 ok", is("the host", host, "other.test"))
	// Who asks: the last one that is not trusted.
	check("GET /", "200 ok", is("the address", address, "192.0.2.7"))
	check("GET /\nX-Forwarded-For: 198.51.100.1, 203.0.113.9, 192.0.2.8", "200 ok", is("the address", address, "203.0.113.9"))
	check("GET /\nForwarded: for=\"[2001:db8::1]\"", "200 ok", is("the address", address, "2001:db8::1"))
	check("GET /\nX-Forwarded-For: nonsense", "200 ok", is("the address", address, "192.0.2.7"))
}

// Each request goes to the route that fits it, and those that fit none are refused.
func TestMatch(t *testing.T) {
	const text = `
[[routes]]
name = "host"
host = ["a.test"]
upstream = "a"
[[routes]]
name = "path"
path = ["/api/{version}/{rest...}"]
method = ["GET"]
strip_prefix = true
upstream = "{version}"
[[routes]]
name = "query"
query = { k = "v" }
upstream = "b"
host_header = "target"
[[routes]]
name = "header"
header = { X-K = "v" }
upstream = "b"
host_header = "fixed.test"
[upstreams.a]
targets = ["http://a"]
[upstreams.b]
targets = ["http://b"]
`
	check := func(request, want, route, target, line string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			c := s.request(request)
			equal(t, request, c.serve(), want)
			equal(t, request+": the route", c.routeName(), route)
			if target == "" {
				return
			}
			contains(t, request+": the request", s.targets[target].stream(0).head, line)
		})
	}
	check("GET /x\nHost: a.test", "200 ok", "host", "a", "GET /x HTTP/1.1\r\nHost: a.test\r\n")
	check("GET /api/b/x/y?q", "200 ok", "path", "b", "GET /x/y?q HTTP/1.1\r\nHost: weir.test\r\n")
	check("GET /api/c/x", "404 no_upstream", "path", "", "")
	check("POST /api/b/x", "404 no_route", "", "", "")
	check("GET /x?k=v", "200 ok", "query", "b", "Host: b.test\r\n")
	check("GET /x\nX-K: v", "200 ok", "header", "b", "Host: fixed.test\r\n")
	check("GET /x", "404 no_route", "", "", "")
}

// What targets get: nothing that an untrusted client says about itself, and all lines as
// they came.
func TestOutgoing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		c := s.request("GET /x\nX-A: 1\nx-b: 2\nX-A: 3\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-User: root\nX-Real-IP: 1.2.3.4\n" +
			"Forwarded: for=1.2.3.4\nConnection: x-c\nX-C: 4\nTE: gzip, trailers\nX-A: 5")
		equal(t, "the end", c.serve(), "200 ok")
		const want = "GET /x HTTP/1.1\r\nHost: weir.test\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\nX-A: 5\r\nTE: trailers\r\n" +
			"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: weir.test\r\n"
		contains(t, "the request", s.targets["a"].stream(0).head, want)
	})
}

// The answers that weir gives by itself.
func TestOwnAnswers(t *testing.T) {
	const text = `
[[routes]]
name = "redirect"
path = ["/old/{rest...}"]
redirect = { to = "https://{host}/new/{rest}", status = 308 }
[[routes]]
name = "respond"
path = ["/fixed"]
response_headers = { set = { X-Route = "{route}" } }
respond = { status = 418, body = "short and stout", headers = { X-Pot = "tea" } }
[[routes]]
name = "limit"
path = ["/limit"]
max_body = "4B"
upstream = "origin"
[upstreams.origin]
targets = ["http://a"]
`
	check := func(c *client, want, answer string) {
		t.Helper()
		equal(t, "the end", c.serve(), want)
		contains(t, "the answer", c.front.head+c.front.sent(), answer)
	}
	bubble(t, func(t *testing.T) {
		s := newStand(t, text)
		check(s.request("GET /old/x%20y"), "308 redirect", "Location: https://weir.test/new/x%20y\r\n")
		check(s.request("GET /fixed"), "418 fixed_response", "X-Route: respond\r\n\r\nshort and stout")
		check(s.request("GET /fixed"), "418 fixed_response", "X-Pot: tea\r\n")
		c := s.request("HEAD /fixed")
		check(c, "418 fixed_response", "Content-Type: text/plain")
		equal(t, "what follows a HEAD", c.front.sent(), "")
		c = s.request("POST /limit").with(5, "12345")
		check(c, "413 body_too_large", "413 Request Entity Too Large: body_too_large\n")
		equal(t, "the calls", c.front.trace(), "close start write finish")
		check(s.request("POST /limit").with(4, "1234"), "200 ok", "hello")
		equal(t, "streams", s.targets["a"].count(), 1)
	})
}

// A request that never became an exchange.
func TestRefuse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		done := 0
		s := newStand(t, oneTarget, Hooks{OnDone: func(*Exchange) { done++ }})
		c := s.request("GET /x")
		s.Refuse(c.Exchange, 431, CauseHeadTooLarge, errBroken)
		equal(t, "the end", c.ended(), "431 head_too_large")
		equal(t, "the calls", c.front.trace(), "close start write finish")
		equal(t, "the address", c.ClientAddr, netip.MustParseAddr("192.0.2.7"))

		c = s.request("GET /x")
		s.Refuse(c.Exchange, 0, CauseClientGone, errBroken)
		equal(t, "the end", c.ended(), "0 client_gone")
		equal(t, "the calls", c.front.trace(), "")
		equal(t, "exchanges", done, 2)
		equal(t, "requests", s.metric(`weir_listener_requests_total{listener="main"}`), "2")
	})
}

// What cannot wait ends in ServeNow, and touches no target; all else goes on in ServeRest,
// which may run elsewhere.
func TestServeNow(t *testing.T) {
	const text = `
[[routes]]
path = ["/redirect"]
redirect = { to = "/x" }
[[routes]]
path = ["/fixed"]
respond = { status = 200 }
[[routes]]
path = ["/cached"]
upstream = "origin"
cache = { enabled = true }
[[routes]]
path = ["/passed"]
upstream = "origin"
max_body = "4B"
[[routes]]
path = ["/template/{u}"]
upstream = "{u}"
[upstreams.origin]
targets = ["http://a"]
`
	bubble(t, func(t *testing.T) {
		s := newStand(t, text, Hooks{OnRequest: func(x *Exchange) {
			if string(x.Path) == "/hook" {
				x.Answer(204, "", "")
			}
		}})
		a := s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"))
		check := func(c *client, now bool, want string) {
			t.Helper()
			open := a.open
			a.open = func(*fakeStream) error {
				t.Error("ServeNow asks a target")
				return errBroken
			}
			done := s.ServeNow(c.Exchange)
			a.open = open
			equal(t, "whether ServeNow ends it", done, now)
			if !done {
				equal(t, "what the client has got", c.front.trace(), "")
				over := make(chan struct{})
				go func() {
					defer close(over)
					s.ServeRest(c.Exchange)
				}()
				<-over
			}
			equal(t, "the end", c.ended(), want)
		}
		check(s.request("GET /redirect"), true, "308 redirect")
		check(s.request("GET /fixed"), true, "200 fixed_response")
		check(s.request("GET /hook"), true, "204 hook")
		check(s.request("GET /nowhere"), true, "404 no_route")
		check(s.request("GET /template/x"), true, "404 no_upstream")
		check(s.request("GET /..%2f"), true, "400 bad_path")
		check(s.request("POST /passed").with(5), true, "413 body_too_large")
		check(s.request("GET /passed"), false, "200 ok")
		check(s.request("GET /cached"), false, "200 ok")
		check(s.request("GET /cached"), true, "200 cached")
		check(s.request("GET /cached\nIf-None-Match: \"1\""), true, "304 cached")
		check(s.request("GET /cached\nRange: bytes=1-2"), true, "206 cached")
		check(s.request("HEAD /cached"), true, "200 cached")
		check(s.request("GET /cached\nCache-Control: no-cache"), false, "200 ok")
		check(s.request("GET /cached\nCache-Control: only-if-cached, no-cache"), false, "504 not_cached")
		check(s.request("POST /cached").with(3, "abc"), false, "200 ok")
		check(s.request("GET /cached\nConnection: upgrade\nUpgrade: x"), false, "200 ok")
		equal(t, "streams", a.count(), 5)
	})
}
