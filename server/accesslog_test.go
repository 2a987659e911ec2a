package server_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
	"weir/server"
)

// Every end of an exchange has its line, with what is known of the request.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			switch m := c.Request(); m.Target() {
			case "/cut":
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
				return
			case "/tunnel":
				c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
				c.Send(c.Take(4))
				return
			default:
				c.Send("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello")
			}
		}
	})
	check := func(request, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "access.log")
		w := launch(t, plainListener+"limits = { header_bytes = \"1KiB\" }\ntimeouts = { header = \"50ms\" }\n"+
			fmt.Sprintf("[[routes]]\nname = \"all\"\nhost = \"weir.test\"\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\n", origin.URL)+
			fmt.Sprintf("[access_log]\noutput = %q\nformat = \"{client} {listener} {method} {request_target} {proto} {route} {upstream} {attempts} {status} {cause} {bytes_in} {bytes_out}\"\n", path))
		// A request before, so that nothing of it can show up in the line of the next.
		before := w.dial()
		before.Send("HEAD /before HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		before.Response("HEAD")
		written := `weir_access_log_lines_total{result="written"}`
		testkit.Eventually(t, "there is a line", func() bool { return w.metric(written) == "1" })
		c := w.dial()
		c.Send(request)
		if strings.Contains(request, "Upgrade:") {
			c.Head("GET")
			c.Send("ping")
			equal(t, "echo", c.Take(4), "ping")
			c.Close()
		} else if m, err := testkit.ReadResponse(c.Reader, "GET"); err == nil && m.Status() >= 400 && m.Body == "" {
			t.Errorf("%s without a body", m.Line)
		}
		testkit.Eventually(t, "there are two lines", func() bool { return w.metric(written) == "2" })
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(b), "\n")
		equal(t, "line", lines[1], want)
	}
	// Proxied.
	check("POST /x?y HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 3\r\n\r\nabc",
		"127.0.0.1 main POST /x?y HTTP/1.1 all origin 1 201 ok 3 5")
	// Without a route.
	check("GET /x HTTP/1.1\r\nHost: other.test\r\n\r\n",
		"127.0.0.1 main GET /x HTTP/1.1 - - 0 404 no_route 0 24")
	// Refused: malformed, too large, too slow, no HTTP at all.
	check("DELETE /x HTTP/1.1\r\nHost : weir.test\r\n\r\n",
		"127.0.0.1 main DELETE /x HTTP/1.1 - - 0 400 bad_request 0 29")
	check("DELETE /x HTTP/1.1\r\nHost: weir.test\r\nX-Long: "+strings.Repeat("x", 2000)+"\r\n\r\n",
		"127.0.0.1 main DELETE /x HTTP/1.1 - - 0 431 head_too_large 0 52")
	check("DELETE /x HTTP/1.1\r\nHost: weir.te",
		"127.0.0.1 main DELETE /x HTTP/1.1 - - 0 408 head_timeout 0 34")
	check("garbage\r\n\r\n",
		"127.0.0.1 main - - HTTP/1.0 - - 0 400 bad_request 0 29")
	// Cut by the target.
	check("GET /cut HTTP/1.1\r\nHost: weir.test\r\n\r\n",
		"127.0.0.1 main GET /cut HTTP/1.1 all origin 1 200 truncated 0 5")
	// Upgraded: the bytes of the tunnel.
	check(upgradeRequest,
		"127.0.0.1 main GET /tunnel HTTP/1.1 all origin 1 101 upgraded 4 4")
}

// stuck is a writer that takes nothing until it is released.
type stuck struct{ released chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.released
	return len(p), nil
}

// A reader of the access log that is stuck costs lines, which are counted, and
// no exchange waits for it.
func TestStuckAccessLog(t *testing.T) {
	t.Parallel()
	s := stuck{make(chan struct{})}
	release := sync.OnceFunc(func() { close(s.released) })
	defer release()
	w := launch(t, "[[routes]]\nrespond = { body = \"hello\" }\n", server.WithAccessLogWriter(s))
	c := w.dial()
	target := "/" + strings.Repeat("x", 10000)
	// Two buffers of 1 MiB fill up.
	for range 400 {
		equal(t, "body", c.Get(target).Body, "hello")
	}
	equal(t, "lines are dropped", w.metric(`weir_access_log_lines_total{result="dropped"}`) != "0", true)
	testkit.Eventually(t, "all requests are counted", func() bool {
		return w.metric(`weir_requests_total{route="route-1",status="200"}`) == "400"
	})
	release()
	c.Close()
	w.Close()
	written, dropped := w.metric(`weir_access_log_lines_total{result="written"}`), w.metric(`weir_access_log_lines_total{result="dropped"}`)
	var a, b int
	fmt.Sscan(written, &a)
	fmt.Sscan(dropped, &b)
	equal(t, "lines altogether", a+b, 400)
}

// A writer that fails is counted and told once.
func TestFailingAccessLog(t *testing.T) {
	t.Parallel()
	var log textLog
	w := launch(t, "[[routes]]\nrespond = { body = \"hello\" }\n", server.WithAccessLogWriter(failing{}), server.WithLog(log.logger()))
	c := w.dial()
	c.Get("/")
	testkit.Eventually(t, "the error is counted", func() bool { return w.metric("weir_access_log_write_errors_total") == "1" })
	c.Get("/")
	testkit.Eventually(t, "the next too", func() bool { return w.metric("weir_access_log_write_errors_total") == "2" })
	equal(t, "times the log says so", strings.Count(log.String(), "level=ERROR"), 1)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// What the handshake and header fields say is in the line.
func TestAccessLogOfHandshakeAndFields(t *testing.T) {
	t.Parallel()
	p := testkit.NewAuthority(t).Issue("weir.test")
	path := filepath.Join(t.TempDir(), "access.log")
	w := launch(t, plainListener+fmt.Sprintf("[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.2:0\"\ncertificates = [{ cert = %q, key = %q }]\n", p.Cert, p.Key)+
		"[[routes]]\nrespond = { body = \"hello\", headers = { X-Answer = \"42\" } }\n"+
		fmt.Sprintf("[access_log]\noutput = %q\nformat = \"{tls_version} {sni} {request_header:x-team} {response_header:x-answer}\"\n", path))
	config := insecure()
	config.ServerName = "weir.test"
	const request = "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Team: blue\r\nConnection: close\r\n\r\n"
	for _, c := range []*testkit.Client{testkit.DialTLS(t, w.Addr("tls"), config), w.dial()} {
		c.Send(request)
		c.Response("GET")
		c.Rest()
	}
	want := "TLSv1.3 weir.test blue 42\n- - blue 42\n"
	testkit.Eventually(t, "there are both lines", func() bool {
		b, err := os.ReadFile(path)
		return err == nil && string(b) == want
	})
}
