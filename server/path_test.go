package server_test

import (
	"strings"
	"testing"

	"weir/internal/testkit"
)

// A route may take paths with encoded control bytes, which reach the target as they came.
func TestControlBytes(t *testing.T) {
	t.Parallel()
	targets := make(chan string, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			targets <- c.Request().Target()
			c.Send(ok)
		}
	})
	w := run(t, "[[routes]]\npath = \"/any/\"\ncontrol_bytes = true\nupstream = \"o\"\n[[routes]]\npath = \"/strict/\"\nupstream = \"o\"\n[[routes]]\npath = \"/to/{rest...}\"\ncontrol_bytes = true\nredirect.to = \"/{rest}\"\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
	for _, path := range []string{"/any/a%0ab", "/any/%09%7f", "/any/x/../%0d"} {
		equal(t, "status of "+path, w.dial().Get(path).Status(), 200)
		equal(t, "target", receive(t, targets), path)
	}
	for _, path := range []string{"/strict/a%0ab", "/none/%7f", "/any/%00", "/any/../strict/%0a", "/any/%0a/../../..", "/any/%0a%4"} {
		equal(t, "status of "+path, w.dial().Get(path).Status(), 400)
	}
	equal(t, "Location", w.dial().Get("/to/a%0d%0aX:y").Get("Location"), "/a%0D%0AX:y")
}

// A host may have an empty port, which is no port.
func TestEmptyPort(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	w := run(t, "[[routes]]\nhost = \"a.example\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", "GET http://a.example:/ HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\r\nHost: A.example.:\r\n\r\n"} {
		c := w.dial()
		c.Send(request)
		equal(t, "status", c.Response("GET").Status(), 200)
	}
}

// The names of fields keep their spelling, both ways.
func TestSpelling(t *testing.T) {
	t.Parallel()
	const request = "sec-webSocket-KEY: 1\r\nSOAPAction: 2\r\nDNT: 3\r\nx-lower: 4\r\nX-UPPER: 5\r\nContent-MD5: 6\r\nTE: trailers\r\n"
	const response = "ETag: \"1\"\r\nWWW-Authenticate: Basic\r\nSec-WebSocket-Accept: 2\r\nx-lower: 3\r\nX-UPPER: 4\r\n"
	heads := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			heads <- c.Request()
			c.Send("HTTP/1.1 200 OK\r\n" + response + "Content-Length: 0\r\n\r\n")
		}
	})
	c := through(t, origin).dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n" + request + "\r\n")
	spelt := func(m *testkit.Message) (text string) {
		for _, f := range m.Fields {
			text += f.Name + ": " + f.Value + "\r\n"
		}
		return text
	}
	m := c.Response("GET")
	for _, line := range []struct{ got, want string }{{spelt(receive(t, heads)), request}, {spelt(m), response}} {
		for part := range strings.Lines(line.want) {
			if !strings.Contains(line.got, part) {
				t.Errorf("%q is not in %q", part, line.got)
			}
		}
	}
}
