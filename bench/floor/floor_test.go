package floor_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/bench/floor"
	"weir/bench/origin"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// start serves in front of target until the test's end and returns a connection.
func start(t *testing.T, opt floor.Options) net.Conn {
	t.Helper()
	ln := listen(t)
	go func() { _ = floor.Serve(ln, opt) }() // ends when ln is closed
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func startOrigin(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	o := origin.New()
	o.Serve(ln)
	t.Cleanup(o.Close)
	return ln.Addr().String()
}

// scripted answers one request with pieces and returns the channel that gets the
// request's head.
func scripted(t *testing.T, pieces ...string) (address string, asked <-chan string) {
	t.Helper()
	ln := listen(t)
	heads := make(chan string, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 64<<10)
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		heads <- string(buf[:n])
		for _, p := range pieces {
			if _, err := io.WriteString(conn, p); err != nil {
				return
			}
		}
		_, _ = conn.Read(buf) // until the other side leaves
	}()
	return ln.Addr().String(), heads
}

const request = "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nAccept: */*\r\nKeep-Alive: 1\r\nX-Last: yes\r\n\r\n"

func TestForwards(t *testing.T) {
	conn := start(t, floor.Options{Target: startOrigin(t), Forwarding: true})
	answers := bufio.NewReader(conn)
	check := func(path string, want int) {
		t.Helper()
		// Twice: connections are kept on both sides.
		for range 2 {
			if _, err := io.WriteString(conn, strings.Replace(request, "/x", path, 1)); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || len(body) != want {
				t.Errorf("%s: status %d, %d bytes, %v, want 200 with %d", path, resp.StatusCode, len(body), err, want)
			}
			if got := resp.Header.Get("Via"); got != "1.1 floor" {
				t.Errorf("%s: Via %q", path, got)
			}
		}
	}
	check("/bytes/0", 0)
	check("/bytes/1024", 1024)
	check("/page/10240", 10240)
}

func TestHeads(t *testing.T) {
	check := func(forwarding bool, want string) {
		t.Helper()
		target, asked := scripted(t, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nA: b\r\nContent-Length: 6\r\n\r\nabc", "def")
		conn := start(t, floor.Options{Target: target, Forwarding: forwarding})
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		got := <-asked
		if id := "X-Request-Id: "; forwarding {
			before, after, ok := strings.Cut(got, id)
			if !ok || len(after) != 32+4 {
				t.Fatalf("no request id of 32 digits in %q", got)
			}
			got = before + id + after[32:]
		}
		if got != want {
			t.Errorf("the target got %q, want %q", got, want)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "abcdef" || resp.Header.Get("A") != "b" || resp.Header.Get("Connection") != "" {
			t.Errorf("%q, %v, %v, want the whole body without Connection", body, err, resp.Header)
		}
	}
	const kept = "GET /x HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nX-Last: yes\r\n"
	check(false, kept+"\r\n")
	check(true, kept+"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nVia: 1.1 floor\r\nX-Forwarded-Host: a.test\r\nX-Request-Id: \r\n\r\n")
}

// What is not supported ends the connection instead of giving a wrong answer.
func TestNotSupported(t *testing.T) {
	check := func(name, request, response string) {
		t.Helper()
		target, _ := scripted(t, response)
		conn := start(t, floor.Options{Target: target})
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") || len(got) > 0 {
			t.Errorf("%s: %q, %v, want the end of the connection", name, got, err)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	check("a request with a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", ok)
	check("two requests at once", request+request, ok)
	check("half a head", "GET / HTTP/1.1\r\nHost: a\r\n", ok)
	check("chunks", request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	check("no length", request, "HTTP/1.1 200 OK\r\n\r\nabc")
	check("a length that is no number", request, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
	check("too large", request, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
}
