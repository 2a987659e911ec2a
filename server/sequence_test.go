package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// Requests of all kinds follow each other on one connection, in one piece each, in parts, and several at once: each is
// answered in its turn.
func TestRequestsInSequence(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			text := m.Target() + " " + m.Body
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
		}
	})
	w := through(t, origin)
	c := w.dial()
	sent := 0
	next := func(format string) (request, answer string) {
		sent++
		path := fmt.Sprintf("/%d", sent)
		request = fmt.Sprintf(format, path)
		_, body, _ := strings.Cut(request, "\r\n\r\n")
		if strings.Contains(request, "chunked") {
			body = "hello"
		}
		return request, path + " " + body
	}
	const plain = "GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, format := range []string{
		plain, plain, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", plain,
		"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", plain,
		"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", plain,
		"GET %s HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 8000) + "\r\n\r\n", plain,
	} {
		for _, parts := range []int{1, 2, 3} {
			request, answer := next(format)
			for i := range parts {
				c.Send(request[len(request)*i/parts : len(request)*(i+1)/parts])
			}
			equal(t, "the answer", c.Response("GET").Body, answer)
		}
		// So many at once that they do not fit into the buffer that requests are read into.
		var requests, answers []string
		for range 100 {
			request, answer := next(format)
			requests, answers = append(requests, request), append(answers, answer)
		}
		go c.Send(strings.Join(requests, ""))
		for _, answer := range answers {
			equal(t, "the answer", c.Response("GET").Body, answer)
		}
	}
}

// A client that ends its sending side together with a request gets the answer, and then the end at once.
func TestRequestWithEnd(t *testing.T) {
	t.Parallel()
	w := through(t, testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
	for range 50 {
		c := w.dial()
		c.Send(get)
		c.CloseWrite()
		equal(t, "the answer", c.Response("GET").Body, "ok")
		rest, end := c.Rest()
		equal(t, "what follows", rest, "")
		equal(t, "the end", end, testkit.Closed)
	}
}

// Close cuts clients whose requests wait for a target: they get no answer.
func TestCloseCutsWaitingClients(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 20)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		asked <- struct{}{}
		c.Hold()
	})
	w := through(t, origin)
	var clients []*testkit.Client
	for range cap(asked) {
		c := w.dial()
		c.Send(get)
		clients = append(clients, c)
	}
	for range clients {
		<-asked
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		if rest, end := c.Rest(); rest != "" {
			t.Errorf("found %q and %v, want no answer", rest, end)
		}
	}
}
