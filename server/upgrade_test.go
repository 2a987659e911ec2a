package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
)

const upgrade = "GET /chat HTTP/1.1\r\nHost: weir.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"

// Bytes pass both ways after an upgrade, those in the same segment as the heads
// too, and each direction ends on its own.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	script := func(c *testkit.Conn) {
		m := c.Head()
		if m.Get("Upgrade") != "websocket" || m.Get("Connection") != "Upgrade" || m.Get("Sec-WebSocket-Key") == "" {
			c.Send("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
			return
		}
		c.Send(switching + "first")
		for {
			b := c.Take(4)
			c.Send("<" + b + ">")
			if b == "last" {
				break
			}
		}
		if rest, err := c.Rest(); rest != "" || err != nil {
			t.Errorf("the client's end is %q, %v", rest, err)
		}
		c.Send("bye")
	}
	check := func(name string, origin *testkit.Origin, secure bool) {
		t.Run(name, func(t *testing.T) {
			listener := ""
			if secure {
				listener = fmt.Sprintf("[[listeners.certificates]]\ncert = %q\nkey = %q\n", pair.Cert, pair.Key)
			}
			w := run(t, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n%s[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\ntls = {ca = %q}\n",
				listener, origin.URL, authority.File)
			var c *testkit.Client
			if secure {
				c = testkit.DialTLS(t, w.addr, tlsClient(authority))
			} else {
				c = w.dial()
			}
			c.Send(upgrade + "one.")
			m := c.Head("GET")
			equal(t, "status", m.Status(), 101)
			equal(t, "Upgrade", m.Get("Upgrade"), "websocket")
			equal(t, "Connection", strings.ToLower(m.Get("Connection")), "upgrade")
			equal(t, "Sec-WebSocket-Accept", m.Get("Sec-WebSocket-Accept"), "x")
			equal(t, "early bytes", c.Take(11), "first<one.>")
			c.Send("two.")
			equal(t, "echo", c.Take(6), "<two.>")
			c.Send("last")
			c.CloseWrite()
			rest, end := c.Rest()
			equal(t, "what comes after the client's end", rest, "<last>bye")
			equal(t, "the end", end, testkit.Closed)
			line := w.logged(1)[0]
			equal(t, "the log's line", line.String(), "101 upgraded")
			equal(t, "bytes in", line.BytesIn, 12)
			equal(t, "bytes out", line.BytesOut, 5+18+3)
		})
	}
	check("plain", testkit.Listen(t, script), false)
	check("from TLS to TLS", testkit.ListenTLS(t, tlsServer(pair), script), true)
	check("to a unix socket", testkit.ListenUnix(t, script), false)
}

// The origin may end first.
func TestUpgradeOriginEndsFirst(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send(switching + "bye")
		c.CloseWrite()
		rest, _ := c.Rest()
		got <- rest
	})
	w := through(t, origin)
	c := w.dial()
	c.Send(upgrade)
	c.Head("GET")
	rest, end := c.Rest()
	equal(t, "what the origin said", rest, "bye")
	equal(t, "the end", end, testkit.Closed)
	c.Send("still here")
	c.CloseWrite()
	equal(t, "what the client said after", receive(t, got), "still here")
	equal(t, "the log's line", w.ended(), "101 upgraded")
}

// A connection that was reset takes the other one with it.
func TestUpgradeReset(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send(switching)
		c.Rest()
		close(ended)
	})
	w := through(t, origin)
	c := w.dial()
	c.Send(upgrade)
	c.Head("GET")
	c.Reset()
	receive(t, ended)
	equal(t, "the log's line", w.ended(), "101 upgraded")
}

// What is silent for too long ends.
func TestUpgradeIdle(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send(switching)
		c.Rest()
	})
	w := run(t, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\ntimeouts = {tunnel = \"100ms\"}\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
	c := w.dial()
	c.Send(upgrade)
	c.Head("GET")
	c.Rest()
	equal(t, "the log's line", w.ended(), "101 tunnel_idle")
}

// Time-outs of messages do not cut tunnels.
func TestUpgradeOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send(switching)
		c.Send(c.Take(4))
	})
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
timeouts = {header = "3s", idle = "3s", grace = "3s"}
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
timeouts = {first_byte = "3s", idle = "3s", write = "3s"}
connections = {idle = "3s"}
`, origin.URL)
	c := w.dial()
	c.Send(upgrade)
	equal(t, "status", c.Head("GET").Status(), 101)
	receive(t, after(3500)) // longer than each of them
	c.Send("late")
	equal(t, "echo", c.Take(4), "late")
}

// Answers other than 101, and a 101 for something else.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	check := func(name, request, answer string, status int, cause string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, testkit.Answer(answer))
			w := through(t, origin)
			c := w.dial()
			c.Send(request)
			m := c.Response("GET")
			equal(t, "status", m.Status(), status)
			equal(t, "the log's line", w.ended(), fmt.Sprintf("%d %s", status, cause))
			if status < 500 {
				c.Send(request) // the connection stays HTTP
				equal(t, "second status", c.Response("GET").Status(), status)
				equal(t, "connections", len(origin.Conns()), 1)
			}
		})
	}
	check("200", upgrade, ok, 200, "ok")
	check("426", upgrade, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno", 426, "ok")
	check("another protocol", upgrade, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", 502, "bad_response")
	check("no protocol", upgrade, "HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, "bad_response")
	check("Upgrade without Connection", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", switching, 502, "bad_response")
	check("in HTTP/1.0", "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", switching, 502, "bad_response")
	check("h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502, "bad_response")
}

// A route says which protocols its clients may switch to; a request for none of them goes
// on as an ordinary one.
func TestUpgradeToken(t *testing.T) {
	t.Parallel()
	check := func(name, allowed, fields, want string) {
		t.Run(name, func(t *testing.T) {
			heads := make(chan *testkit.Message, 1)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				m := c.Head()
				heads <- m
				if agreed, _, _ := strings.Cut(m.Get("Upgrade"), ","); agreed != "" {
					c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: " + strings.ToUpper(agreed) + "\r\n\r\n")
					c.Send(c.Take(3))
					return
				}
				c.Send(ok)
			})
			c := run(t, "[[routes]]\nupstream = \"o\"\n%s\n[upstreams.o]\ntargets = [%q]\n", allowed, origin.URL).dial()
			c.Send("OPTIONS /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
			m := receive(t, heads)
			equal(t, "Upgrade", m.Get("Upgrade"), want)
			equal(t, "whether there are settings", m.Has("HTTP2-Settings"), false)
			if want == "" {
				equal(t, "Connection", m.Get("Connection"), "")
				equal(t, "body", c.Response("OPTIONS").Body, "ok")
				return
			}
			equal(t, "status", c.Head("OPTIONS").Status(), 101)
			c.Send("abc")
			equal(t, "echo", c.Take(3), "abc")
		})
	}
	foo := "upgrade = [\"foo\", \"bar/2\"]"
	check("any version", foo, "Connection: upgrade\r\nUpgrade: foo/2, foo\r\n", "foo/2, foo")
	check("one version", foo, "Connection: upgrade\r\nUpgrade: bar/3, BAR/2\r\n", "BAR/2")
	check("some of a list", foo, "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c, FOO\r\n", "FOO")
	check("none of a list", foo, "Connection: upgrade\r\nUpgrade: websocket, foobar\r\n", "")
	check("none at all", "upgrade = []", "Connection: upgrade\r\nUpgrade: websocket\r\n", "")
	check("HTTP/2 by default", "", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n", "")
	check("HTTP/2 beside another one", "", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMA\r\n", "websocket")
	check("settings alone", "", "HTTP2-Settings: AAMA\r\n", "")
}

// A request that asks for an upgrade may have a body, which comes before the switch.
func TestUpgradeWithBody(t *testing.T) {
	t.Parallel()
	const fields = "POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
	const tcp = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	long := strings.Repeat("x", 1<<20)
	check := func(name, head, want string, early bool, pieces ...string) {
		t.Run(name, func(t *testing.T) {
			bodies := make(chan string, 1)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				m := c.Head()
				if early {
					c.Send(tcp)
					c.Rest()
					return
				}
				if m.ReadBody(c.Reader) == nil {
					bodies <- m.Body
				}
				c.Send(tcp)
				c.Send(c.Take(3))
			})
			w := run(t, "[[routes]]\nupstream = \"o\"\nupgrade = [\"tcp\"]\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
			c := w.dial()
			c.Send(head)
			for _, p := range pieces {
				c.Send(p)
			}
			if early {
				equal(t, "status", c.Head("POST").Status(), 502)
				equal(t, "the log's line", w.ended(), "502 bad_response")
				return
			}
			equal(t, "body", receive(t, bodies), want)
			equal(t, "status", c.Head("POST").Status(), 101)
			c.Send("abc")
			equal(t, "echo", c.Take(3), "abc")
			c.Close()
			equal(t, "the log's line", w.ended(), "101 upgraded")
			equal(t, "bytes in", w.logged(1)[0].BytesIn, int64(len(want)+3))
		})
	}
	check("with the head", fields+"Content-Length: 1\r\n\r\nx", "x", false)
	check("after the head", fields+"Content-Length: 5\r\n\r\n", "hello", false, "he", "llo")
	check("long", fields+"Content-Length: 1048576\r\n\r\n", long, false, long)
	check("chunked", fields+"Transfer-Encoding: chunked\r\n\r\n", "hello", false, "5\r\nhello\r\n", "0\r\n\r\n")
	check("a switch before the body", fields+"Content-Length: 5\r\n\r\n", "", true)
	check("a switch inside the body", fields+"Transfer-Encoding: chunked\r\n\r\n", "", true, "5\r\nhello\r\n")
}
