package demo_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"weir/internal/demo"
)

// begin starts an origin that is closed with the test, and makes sure that
// nothing of it runs on then.
func begin(t *testing.T) *demo.Origin {
	t.Helper()
	o := demo.New()
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		// Close has waited for all; the last one may still be on its way out.
		for range 10_000 {
			if serving() == "" {
				return
			}
			runtime.Gosched()
		}
		t.Errorf("still there after Close:\n%s", serving())
	})
	return o
}

// serving returns the stacks of all goroutines of origins.
func serving() string {
	buf := make([]byte, 1<<20)
	var found []string
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "created by weir/internal/demo.") || strings.Contains(g, "created by net/http.") {
			found = append(found, g)
		}
	}
	return strings.Join(found, "\n\n")
}

func dial(t *testing.T, o *demo.Origin, name string) net.Conn {
	t.Helper()
	c, err := o.Dial(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one answer and its whole body.
func answer(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// get asks for a page on a connection of its own.
func get(t *testing.T, o *demo.Origin, target, fields string) (*http.Response, string) {
	t.Helper()
	c := dial(t, o, "one")
	send(t, c, "GET "+target+" HTTP/1.1\r\nHost: x\r\n"+fields+"\r\n")
	return answer(t, bufio.NewReader(c))
}

func TestPages(t *testing.T) {
	o := begin(t)
	check := func(target, fields string, status int, contains ...string) {
		t.Helper()
		response, body := get(t, o, target, fields)
		if response.StatusCode != status {
			t.Errorf("%s: status %d, want %d", target, response.StatusCode, status)
		}
		if got := response.Header.Get("X-Demo-Target"); got != "one" {
			t.Errorf("%s: X-Demo-Target %q", target, got)
		}
		for _, want := range contains {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in %q", target, want, body)
			}
		}
	}
	// The index tells the name, the request and all pages.
	check("/?a=%20", "X-Field: value\r\n", 200, "This is one,", "GET /?a=%20 HTTP/1.1\n", "    X-Field: value\n",
		"/echo ", "/events?n=5&every=1s ", "/slow?d=2s ", "/fail?status=503 ", "/fail?cut=1 ", "/bytes?n=1048576 ", "/upgrade ")
	// For a browser with links, and with what it sent escaped.
	check("/", "Accept: text/html\r\nX-Field: <b>\r\n", 200, `<a href="/events?n=5&amp;every=1s">`, "X-Field: &lt;b&gt;")
	// Nothing is redirected.
	check("//", "", 404, "one has no page //")
	check("/nope", "", 404, "one has no page /nope")
	// Failures on request.
	check("/fail", "", 503, "one fails on request with 503 Service Unavailable")
	check("/fail?status=404", "", 404, "404 Not Found")
	check("/fail?status=204", "", 204)
	// Values that are not good.
	check("/fail?status=101", "", 400, "want a number from 200 to 599")
	check("/fail?status=1000", "", 400, "want a number")
	check("/events?n=-1", "", 400, "n: want a number from 0")
	check("/events?every=x", "", 400, "every: want a time span")
	check("/slow?d=-1s", "", 400, "d: want a time span")
	check("/bytes?n=x", "", 400, "n: want a number")
	check("/slow?d=1ms", "", 200, "one took 1ms")
	check("/upgrade", "", 426, "ask for an upgrade")
}

func TestCounts(t *testing.T) {
	o := begin(t)
	for i, name := range []string{"a", "b", "a"} {
		c := dial(t, o, name)
		send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, body := answer(t, bufio.NewReader(c))
		want := fmt.Sprintf("This is %s, a built-in demo target of weir. It has answered %d requests.", name, i/2+1)
		if !strings.HasPrefix(body, want) {
			t.Errorf("got %q, want %q", body, want)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	o := begin(t)
	c := dial(t, o, "one")
	r := bufio.NewReader(c)
	for range 3 {
		send(t, c, "GET /bytes?n=70000 HTTP/1.1\r\nHost: x\r\n\r\n")
		response, body := answer(t, r)
		if len(body) != 70000 || response.ContentLength != 70000 {
			t.Fatalf("%d bytes, %d announced", len(body), response.ContentLength)
		}
	}
	send(t, c, "HEAD /bytes?n=5 HTTP/1.1\r\nHost: x\r\n\r\nGET /slow?d=0s HTTP/1.1\r\nHost: x\r\n\r\n")
	head, err := http.ReadResponse(r, &http.Request{Method: "HEAD"})
	if err != nil || head.ContentLength != 5 {
		t.Fatalf("HEAD: %v, %v", head, err)
	}
	if _, body := answer(t, r); body != "one took 0s\n" {
		t.Errorf("behind HEAD: %q", body)
	}
}

// TestEchoStreams: each piece of the body comes back before the next is sent.
func TestEchoStreams(t *testing.T) {
	o := begin(t)
	c := dial(t, o, "one")
	send(t, c, "PUT /echo?q=%2F HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	expect("PUT /echo?q=%2F HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n")
	for _, piece := range []string{"first", "secon"} {
		send(t, c, "5\r\n"+piece+"\r\n")
		expect(piece)
	}
	send(t, c, "0\r\nX-Sum: 42\r\n\r\n")
	rest, err := io.ReadAll(response.Body)
	if err != nil || len(rest) != 0 {
		t.Errorf("at the end: %q, %v", rest, err)
	}
	if got := response.Trailer.Get("X-Sum"); got != "42" {
		t.Errorf("trailer X-Sum is %q", got)
	}
}

// TestEchoOfHalfARequest: a body that ends too early does not look complete.
func TestEchoOfHalfARequest(t *testing.T) {
	o := begin(t)
	c := dial(t, o, "one")
	send(t, c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("the answer looks complete")
	}
}

// TestEvents: the first event is there while the second is an hour away.
func TestEvents(t *testing.T) {
	o := begin(t)
	c := dial(t, o, "one")
	send(t, c, "GET /events?n=2&every=1h HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	want := "id: 1\ndata: event 1 of 2 from one\n\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	// The origin is closed while the stream is open: see begin.

	_, body := get(t, o, "/events?n=3&every=1ms", "")
	if n := strings.Count(body, "\n\n"); n != 3 {
		t.Errorf("%d events in %q", n, body)
	}
}

func TestCut(t *testing.T) {
	o := begin(t)
	c := dial(t, o, "one")
	send(t, c, "GET /fail?cut=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) != 500 || response.ContentLength != 1000 {
		t.Errorf("%d bytes of %d, %v", len(body), response.ContentLength, err)
	}
}

func TestUpgrade(t *testing.T) {
	o := begin(t)
	c := dial(t, o, "one")
	// Bytes sent together with the request belong to the new protocol.
	send(t, c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\nearly ")
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 101 || response.Header.Get("Upgrade") != "chat/2" {
		t.Fatalf("status %d, Upgrade %q", response.StatusCode, response.Header.Get("Upgrade"))
	}
	send(t, c, "late")
	// Half-close: what was sent before comes back, then the end.
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "early late" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestClose: it ends whatever runs, and Dial says so afterwards.
func TestClose(t *testing.T) {
	o := begin(t)
	fresh := dial(t, o, "fresh")
	waiting := dial(t, o, "waiting")
	send(t, waiting, "GET /slow?d=1h HTTP/1.1\r\nHost: x\r\n\r\n")
	tunnel := dial(t, o, "tunnel")
	send(t, tunnel, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(tunnel), nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{fresh, waiting, tunnel} {
		if rest, err := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("after Close: %q, %v", rest, err)
		}
	}
	if _, err := o.Dial("late"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial after Close: %v", err)
	}
}

// TestCloseWhileDialling: no connection slips through.
func TestCloseWhileDialling(t *testing.T) {
	for range 20 {
		o := demo.New()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			for {
				c, err := o.Dial("one")
				if err != nil {
					return
				}
				defer c.Close()
			}
		}()
		runtime.Gosched()
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
	}
}
