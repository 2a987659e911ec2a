package server_test

import (
	"fmt"
	"testing"

	"weir/internal/testkit"
)

// A target that answers as soon as it accepts a connection, and then lingers, is what overloaded
// servers are like: weir takes the answer and does not wait for another one.
func TestAnswerBeforeRequest(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	check := func(name, request string, listen func(script func(*testkit.Conn)) *testkit.Origin) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := listen(func(c *testkit.Conn) {
				c.Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy")
				c.Rest()
			})
			w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n[upstreams.o.tls]\nca = %q\n[upstreams.o.timeouts]\nfirst_byte = \"20s\"\n",
				origin.URL, authority.File)
			for range 20 {
				c := w.dial()
				c.Send(request)
				m := c.Response("GET")
				equal(t, "the answer", fmt.Sprint(m.Status(), m.Body), "503busy")
			}
		})
	}
	plain := func(script func(*testkit.Conn)) *testkit.Origin { return testkit.Listen(t, script) }
	tls := func(script func(*testkit.Conn)) *testkit.Origin {
		return testkit.ListenTLS(t, tlsServer(authority.Issue("127.0.0.1")), script)
	}
	check("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", plain)
	check("POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", plain)
	check("TLS", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", tls)
}
