package server_test

import (
	"fmt"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// The corpus of HTTP/1.1 holds for HTTP/2 too, as far as its requests can be said in frames:
// what is refused there is refused here, and what the origin gets is the same.
func TestH2StrictInput(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			got <- c.Request()
			c.Send(ok)
		}
	})
	w := framedThrough(t, origin)
	ran := 0
	for _, c := range testkit.StrictCases(t, "testdata/strict.txt") {
		fields, body, sayable := framedCase(c)
		if !sayable {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			client := w.dial()
			client.Headers(1, body == "", fields...)
			if body != "" {
				client.Data(1, true, body)
			}
			a := client.Whole(1)
			if a.Status() == "200" && c.Status == 200 {
				judgeOrigin(t, testkit.StrictCase{Not: c.Not}, receive(t, got))
				return
			}
			reset := a.Head == "" && h2.ErrCode(a.Reset) == h2.ErrCodeProtocol
			if c.Status == 200 || !reset && a.Status() != fmt.Sprint(c.Status) {
				t.Errorf("%q is answered by %q, reset %d, want %d", fields, a.Status(), a.Reset, c.Status)
			}
			client.Ping()
		})
	}
	if ran < 30 {
		t.Errorf("only %d cases can be said in frames", ran)
	}
	equal(t, "requests that reached the origin and were not looked at", len(got), 0)
}

// framedCase says a request of the corpus in frames. Those whose point is the syntax of HTTP/1.1, or the absolute form,
// cannot be said.
func framedCase(c testkit.StrictCase) (fields []string, body string, sayable bool) {
	head, body, whole := strings.Cut(c.Send, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first := strings.Split(lines[0], " ")
	if !whole || len(first) != 3 || first[2] != "HTTP/1.1" || strings.Contains(first[1], "://") || strings.Contains(head, "Transfer-Encoding") || strings.ContainsAny(lines[0], "\r\n") {
		return nil, "", false
	}
	fields = []string{":method: " + first[0], ":scheme: https", ":path: " + first[1]}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.Trim(name, " \t") != name || strings.ContainsAny(line, "\n") || strings.EqualFold(name, "connection") || strings.EqualFold(name, "upgrade") {
			return nil, "", false
		}
		fields = append(fields, strings.ToLower(name)+": "+strings.Trim(value, " \t"))
	}
	return fields, body, true
}

// The log says which rule a client of HTTP/2 has broken, also when weir has reset the stream for it.
func TestH2ToldWhy(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	w := launch(t, strings.Replace(toOrigin(origin.URL), "[[routes]]", "protocols = [\"h1\", \"h2c\"]\n[[routes]]", 1))
	n := 0
	check := func(what, want string, do func(c *testkit.Frames)) {
		t.Helper()
		c := testkit.DialFrames(t, w.addr, nil)
		do(c)
		n++
		line := w.logged(n)[n-1]
		equal(t, what, fmt.Sprint(line.Status, " ", line.Cause, ": ", line.Error), want)
	}
	post := func(c *testkit.Frames, fields ...string) {
		c.Headers(1, false, append([]string{":method: POST", ":scheme: http", ":authority: weir.test", ":path: /"}, fields...)...)
	}
	check("too few bytes", "0 bad_request: Content-Length does not agree with the frames", func(c *testkit.Frames) {
		post(c, "content-length: 10")
		c.Data(1, true, "abc")
	})
	check("too many bytes", "0 bad_request: Content-Length does not agree with the frames", func(c *testkit.Frames) {
		post(c, "content-length: 1")
		c.Data(1, false, "abc")
	})
	check("a trailer section that does not end", "0 bad_request: trailer section that does not end the stream", func(c *testkit.Frames) {
		post(c)
		c.Headers(1, false, "a: b")
	})
	check("a reset", "0 client_gone: the client has reset the stream", func(c *testkit.Frames) {
		post(c)
		c.Reset(1, h2.ErrCodeCancel)
	})
	check("a field twice", "0 bad_request: pseudo-field that stands there twice", func(c *testkit.Frames) { post(c, ":path: /") })
	check("a field of HTTP/1.1", "0 bad_request: field of a connection of HTTP/1.1, such as Connection or Transfer-Encoding", func(c *testkit.Frames) { post(c, "connection: close") })
	check("no path", "0 bad_request: :method, :scheme or :path is not there before the fields", func(c *testkit.Frames) {
		c.Headers(1, true, ":method: GET", ":scheme: http", ":authority: weir.test")
	})
}
