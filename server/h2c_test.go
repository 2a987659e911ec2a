package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// framedOrigin starts Go's server, which speaks HTTP/2 without TLS, or by ALPN with TLS, and returns its
// URL as a target.
func framedOrigin(t testing.TB, secure *tls.Config, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &p, TLSConfig: secure}
	scheme := "h2c"
	if secure != nil {
		scheme = "https"
		go s.ServeTLS(ln, "", "")
	} else {
		go s.Serve(ln)
	}
	t.Cleanup(func() { s.Close() })
	return scheme + "://" + ln.Addr().String()
}

// sendBack answers with the protocol, the method and the body, and a trailer section.
var sendBack = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	w.Header().Set("X-Proto", r.Proto)
	w.Header().Set("X-Host", r.Host)
	w.WriteHeader(200)
	n, err := io.Copy(w, r.Body)
	w.Header().Set("X-Sum", fmt.Sprint(n, err, r.Trailer.Get("X-Up")))
})

// Requests reach a target in HTTP/2, and answers come back, bodies and trailer sections in both
// directions included.
func TestH2Target(t *testing.T) {
	t.Parallel()
	url := framedOrigin(t, nil, sendBack)
	w := run(t, "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\n", url)
	c := w.dial()
	for i := range 3 {
		c.Send("GET /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n\r\n")
		m := c.Response("GET")
		equal(t, fmt.Sprint("status ", i), m.Status(), 200)
		equal(t, "the protocol", m.Get("X-Proto"), "HTTP/2.0")
		equal(t, "the host", m.Get("X-Host"), "a.test")
		equal(t, "the trailer section", m.Trailer, "x-sum: 0 <nil>\r\n")
	}
	c.Send("POST /x HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Up\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Up: 1\r\n\r\n")
	m := c.Response("POST")
	equal(t, "the body", m.Body, "abc")
	equal(t, "the trailer section", m.Trailer, "x-sum: 3 <nil>1\r\n")
	large := strings.Repeat("0123456789abcdef", 1<<16)
	c.Send(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", len(large)) + large)
	m = c.Response("POST")
	equal(t, "a large body comes back", m.Body == large, true)
	equal(t, "connections", w.metric(`weir_upstream_connections{upstream="origin",target="`+url+`",state="open"}`), "1")
}

// A trailer section that a client of HTTP/2 announces beside content-length reaches targets of both versions, and the
// length is kept to.
func TestH2TrailerBesideLength(t *testing.T) {
	t.Parallel()
	url := framedOrigin(t, nil, sendBack)
	for _, target := range []string{url, strings.Replace(url, "h2c:", "http:", 1)} {
		w := overTLS(t, "", "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\n", target)
		c := w.dial()
		c.Post(1, "/x", "content-length: 3", "trailer: x-up")
		c.Data(1, false, "abc")
		c.Headers(1, true, "x-up: 1")
		equal(t, "the trailer section", c.Whole(1).Trailer, "x-sum: 3 <nil>1\n")
		c.Post(3, "/x", "content-length: 0", "trailer: x-up")
		c.Headers(3, true, "x-up: 1")
		equal(t, "the trailer section without a body", c.Whole(3).Trailer, "x-sum: 0 <nil>1\n")
		c.Post(5, "/x", "content-length: 3", "trailer: x-up")
		c.Data(5, false, "ab")
		c.Headers(5, true, "x-up: 1")
		equal(t, "the reset after less than that", c.Whole(5).Reset, int(h2.ErrCodeProtocol))
	}
}

// Many exchanges share few connections, and none is lost while the target ends them. They can be repeated,
// because a target that closes a connection with unread bytes takes its GOAWAY away from weir.
func TestH2TargetConcurrent(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	url := framedOrigin(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%50 == 0 {
			w.Header().Set("Connection", "close") // GOAWAY
		}
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Write(bytes.Repeat([]byte(r.URL.Query().Get("of")), size))
	}))
	w := run(t, "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\nretry.attempts = 4\n", url)
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for j := range testkit.Rounds(25, 50) {
				text := bytes.Repeat([]byte{byte('a' + i)}, j*1000)
				r, err := client.Get(fmt.Sprintf("http://%s/?of=%c&size=%d", w.addr, 'a'+i, len(text)))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != 200 || !bytes.Equal(b, text) {
					t.Errorf("%d %v: %d bytes of %d %q", r.StatusCode, err, len(b), len(text), b[:min(len(b), 100)])
					return
				}
			}
		})
	}
	running.Wait()
	if t.Failed() {
		for _, line := range w.logged(1) {
			t.Logf("%s after %d attempts: %s", line, line.Attempts, line.Error)
		}
	}
}

// What https targets speak is agreed on by ALPN.
func TestH2TargetTLS(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	url := framedOrigin(t, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}, sendBack)
	for protocol, want := range map[string]string{"auto": "HTTP/1.1", "h1": "HTTP/1.1", "h2": "HTTP/2.0"} {
		w := run(t, "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\ntls.ca = %q\nconnections.protocol = %q\n", url, authority.File, protocol)
		c := w.dial()
		for range 2 {
			c.Send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
			equal(t, protocol, c.Response("GET").Get("X-Proto"), want)
		}
	}
}

// A request that a target wants in HTTP/1.1 (HTTP_1_1_REQUIRED) is sent again in that, whatever its method.
func TestTargetWantsHTTP1(t *testing.T) {
	t.Parallel()
	plain := testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		if b, _ := c.Reader.Peek(3); string(b) != "PRI" {
			plain(c)
			return
		}
		c.Take(len(h2.ClientPreface))
		f := h2.NewFramer(c.Conn, c.Reader)
		f.WriteSettings()
		for {
			got, err := f.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := got.(*h2.HeadersFrame); ok {
				f.WriteRSTStream(h.StreamID, h2.ErrCodeHTTP11Required)
			}
		}
	})
	w := run(t, "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\nretry.attempts = 1\nconnections.protocol = \"h2\"\n", origin.URL)
	c := w.dial()
	for range 2 {
		c.Send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc")
		m := c.Response("POST")
		equal(t, "status", m.Status(), 200)
		equal(t, "the body", m.Body, "ok")
	}
}
