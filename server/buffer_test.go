package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/server/hook"
)

// With buffer_request, a target gets the length of a body that came without one.
func TestBufferedRequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	check := func(name, head, want string, pieces ...string) {
		t.Run(name, func(t *testing.T) {
			got := make(chan *testkit.Message, 2)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					got <- c.Request()
					c.Send(ok)
				}
			})
			w := run(t, "[[routes]]\nupstream = \"o\"\nbuffer_request = \"100KB\"\n[upstreams.o]\ntargets = [%q]\nconnections.pipeline = 4\n", origin.URL)
			c := w.dial()
			for range 2 {
				c.Send(head)
				for _, p := range pieces {
					c.Send(p)
				}
				equal(t, "response", c.Response("POST").Body, "ok")
				m := receive(t, got)
				equal(t, "framing", m.Framing, "length")
				equal(t, "body", m.Body, want)
				equal(t, "whether there is an Expect", m.Has("Expect"), false)
				equal(t, "whether there is a Trailer", m.Has("Trailer"), false)
			}
		})
	}
	check("chunked", post(-1), "hello!", "5\r\nhello\r\n", "1\r\n!\r\n0\r\n\r\n")
	check("in one piece", post(-1)+"5\r\nhello\r\n0\r\n\r\n", "hello")
	check("empty", post(-1)+"0\r\n\r\n", "")
	check("as long as may be", post(-1), long, "186a0\r\n"+long+"\r\n0\r\n\r\n")
	check("trailers", strings.Replace(post(-1), "Transfer", "Trailer: X-Sum\r\nTransfer", 1), "hello", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
	check("GET", strings.Replace(post(-1), "POST", "GET", 1)+"5\r\nhello\r\n0\r\n\r\n", "hello")
	check("asked for", strings.Replace(post(-1), "Transfer", "Expect: 100-continue\r\nTransfer", 1), "hello", "5\r\nhello\r\n0\r\n\r\n")
	check("a length", post(200_000), long+long, long, long)
}

// A client that waits to be asked for its body is asked by weir.
func TestBufferedRequestExpected(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	text := fmt.Sprintf("[[routes]]\nupstream = \"o\"\nbuffer_request = \"1KB\"\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
	c := hooked(t, text, hook.Hooks{OnUpstream: func(x hook.Exchange) {
		if status := x.Response().Status(); status != 0 {
			t.Errorf("before the target answers there is a response %d", status)
		}
	}}).dial()
	c.Send(strings.Replace(post(-1), "Transfer", "Expect: 100-continue\r\nTransfer", 1))
	equal(t, "interim response", c.Take(25), "HTTP/1.1 100 Continue\r\n\r\n")
	equal(t, "requests", origin.Requests(), 0)
	c.Send("5\r\nhello\r\n0\r\n\r\n")
	equal(t, "body", c.Response("POST").Body, "ok")
}

// A body that is too long, broken or cut never reaches the target.
func TestBufferedRequestRefused(t *testing.T) {
	t.Parallel()
	check := func(name, body, want string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, testkit.Answer(ok))
			w := run(t, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\ntimeouts = { grace = \"200ms\" }\n"+
				"[[routes]]\nupstream = \"o\"\nbuffer_request = \"5\"\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
			c := w.dial()
			c.Send(post(-1) + body)
			equal(t, "status", c.Response("POST").Status(), int(want[0]-'0')*100+int(want[1]-'0')*10+int(want[2]-'0'))
			equal(t, "the log's line", w.ended(), want)
			equal(t, "requests", origin.Requests(), 0)
			_, end := c.Rest()
			equal(t, "the end", end, testkit.Closed)
		})
	}
	check("too long", "6\r\nhello!\r\n0\r\n\r\n", "413 body_too_large")
	check("too long in two", "5\r\nhello\r\n1\r\n!\r\n", "413 body_too_large")
	check("broken", "x\r\n", "400 bad_request")
	check("silent", "5\r\nhello\r\n", "408 client_slow")
}
