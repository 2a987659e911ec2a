package server_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/config"
	"weir/internal/testkit"
)

// framed is weir with a listener for each way to speak HTTP/2.
type framed struct {
	*weir
	secure *tls.Config
	text   string
}

// changed is the configuration after a change.
func (w *framed) changed(change func(*config.Config)) *config.Config {
	w.t.Helper()
	cfg, err := config.Parse("test.toml", []byte(w.text))
	if err != nil {
		w.t.Fatal(err)
	}
	change(cfg)
	return cfg
}

// overTLS starts weir with a listener "main" by TLS, another one, "plain", without, and more
// settings of both.
func overTLS(t testing.TB, listener, format string, args ...any) *framed {
	t.Helper()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("weir.test")
	text := fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
certificates = [{ cert = %q, key = %q }]
%s
[[listeners]]
name = "plain"
address = "localhost:0"
protocols = ["h1", "h2c"]
%s
`, pair.Cert, pair.Key, listener, listener)
	text += fmt.Sprintf(format, args...)
	return &framed{run(t, "%s", text), &tls.Config{RootCAs: authority.Pool, ServerName: "weir.test"}, text}
}

// framedThrough is overTLS in front of an origin.
func framedThrough(t testing.TB, origin *testkit.Origin) *framed {
	t.Helper()
	return overTLS(t, "", "[forwarding]\nvia = \"weir\"\n[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\n", origin.URL)
}

func (w *framed) dial(settings ...h2.Setting) *testkit.Frames {
	w.t.Helper()
	return testkit.DialFrames(w.t, w.addr, w.secure, settings...)
}

// each runs a test by TLS and without.
func (w *framed) each(t *testing.T, test func(t *testing.T, c *testkit.Frames)) {
	t.Run("tls", func(t *testing.T) { test(t, testkit.DialFrames(t, w.addr, w.secure)) })
	t.Run("plain", func(t *testing.T) { test(t, testkit.DialFrames(t, w.Addr("plain"), nil)) })
}

// Go's own client is served by ALPN, on the same port as those that speak HTTP/1.1.
func TestH2GoClient(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	w := framedThrough(t, origin)
	for _, version := range []int{2, 1} {
		var p http.Protocols
		p.SetHTTP2(version == 2)
		p.SetHTTP1(version == 1)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), Protocols: &p}}
		r, err := c.Get("https://" + w.addr.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		equal(t, "the version", r.ProtoMajor, version)
		equal(t, "the length", r.ContentLength, 5)
		c.CloseIdleConnections()
	}
	equal(t, "the log's lines", len(w.logged(2)), 2)
}

// What the server announces, and what the heads of both sides become.
func TestH2Heads(t *testing.T) {
	t.Parallel()
	requests := make(chan *testkit.Message, 10)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			requests <- c.Request()
			c.Send("HTTP/1.1 200 OK\r\nX-B: 1\r\nset-cookie: a\r\nConnection: x-c\r\nX-C: 2\r\nSet-Cookie: b\r\nKeep-Alive: 1\r\n" +
				"Content-Length: 5\r\nDate: now\r\n\r\nhello")
		}
	})
	framedThrough(t, origin).each(t, func(t *testing.T, c *testkit.Frames) {
		equal(t, "streams", c.Setting(h2.SettingMaxConcurrentStreams), 100)
		equal(t, "header list", c.Setting(h2.SettingMaxHeaderListSize), 32<<10)
		equal(t, "extended CONNECT", c.Setting(h2.SettingEnableConnectProtocol), 1)
		c.Get(1, "/x/../y?z", "x-a: 1", "cookie: a=1", "x-b: 2", "x-forwarded-for: 1.2.3.4", "te: trailers", "cookie: b=2", "x-a: 3", "host: weir.test")
		a := c.Whole(1)
		equal(t, "the head", a.Head, ":status: 200\ncontent-length: 5\nx-b: 1\nset-cookie: a\nset-cookie: b\ndate: now\nvia: 1.1 weir\n")
		equal(t, "the body", a.Body, "hello")
		m := receive(t, requests)
		scheme := "http"
		if _, ok := c.Conn.(*tls.Conn); ok {
			scheme = "https"
		}
		want := "GET /x/../y?z HTTP/1.1\r\nhost: weir.test\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\ncookie: a=1; b=2\r\nTE: trailers\r\n" +
			"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: " + scheme + "\r\nX-Forwarded-Host: weir.test\r\nVia: 2 weir\r\n"
		if !strings.HasPrefix(m.Head, want) {
			t.Errorf("the origin got %q, want %q", m.Head, want)
		}
		c.Headers(3, true, ":method: HEAD", ":scheme: https", ":authority: weir.test", ":path: /")
		a = c.Whole(3)
		equal(t, "the length that HEAD says", a.Field("content-length"), "5")
		equal(t, "the body of HEAD", a.Body, "")
		receive(t, requests)
	})
}

// What breaks the rules of HTTP/2 is reset, what breaks those of HTTP is answered, and other
// streams go on.
func TestH2Malformed(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	w := framedThrough(t, origin)
	c := w.dial()
	stream := uint32(1)
	check := func(want string, lines ...string) {
		t.Helper()
		c.Headers(stream, true, lines...)
		a := c.Whole(stream)
		got := a.Status()
		if a.Head == "" {
			got = h2.ErrCode(a.Reset).String()
		}
		equal(t, strings.Join(lines, ", "), got, want)
		stream += 2
	}
	const method, scheme, authority, path = ":method: GET", ":scheme: https", ":authority: a", ":path: /"
	const reset = "PROTOCOL_ERROR"
	check("200", method, scheme, authority, path)
	check("200", method, scheme, path, "host: a")
	check("200", method, scheme, authority, path, "host: A")
	check("200", method, scheme, authority, path, "host: a:443")
	check("200", method, ":scheme: http", ":authority: a:80", path, "host: a")
	check("200", ":method: OPTIONS", scheme, authority, ":path: *")
	for _, field := range []string{"connection: close", "keep-alive: 1", "proxy-connection: x", "transfer-encoding: chunked", "upgrade: h2c", "te: gzip", "te: trailers, gzip", "X-Upper: 1"} {
		check(reset, method, scheme, authority, path, field)
	}
	check(reset, method, scheme, authority)
	check(reset, method, authority, path)
	check(reset, scheme, authority, path)
	check(reset, method, scheme, authority, ":path: ")
	check(reset, method, method, scheme, authority, path)
	check(reset, method, scheme, authority, path, ":status: 200")
	check(reset, method, scheme, authority, "x: y", path)
	check(reset, method, scheme, authority, path, ":protocol: websocket")
	check(reset, method, scheme, authority, path, "content-length: 5")
	check("400", method, scheme, path)
	check("400", method, scheme, ":authority: ", path)
	check("400", method, scheme, ":authority: user@a", path)
	check("400", method, scheme, ":authority:  a", path)
	check("400", method, scheme, ":authority: a ", path)
	check("400", method, scheme, authority, path, "host: b")
	check("400", method, scheme, authority, path, "host: a:80")
	check("400", method, scheme, ":authority: a:444", path, "host: a:443")
	check("400", method, scheme, ":authority: a, b", path)
	check("400", method, scheme, path, "host: a", "host: a")
	check("400", method, scheme, authority, ":path: http://b/")
	check("400", method, scheme, authority, ":path: x")
	check("400", method, scheme, authority, ":path: /a b")
	check("400", method, scheme, authority, ":path: /\r\nX: y")
	check("400", method, scheme, authority, ":path: /..%2f")
	check("400", ":method: G T", scheme, authority, path)
	check("400", method, scheme, authority, path, "x: a\r\ny: b")
	check("400", method, scheme, authority, path, "x y: a")
	check("400", method, scheme, authority, path, "content-length: 0", "content-length: 0")
	check("400", method, scheme, authority, path, "content-length: +0")
	check("405", ":method: CONNECT", ":authority: a:1")
	check("405", ":method: TRACE", scheme, authority, path)
	check(reset, ":method: CONNECT", scheme, ":authority: a:1", path)
	check("200", method, scheme, authority, path)
	for _, line := range w.logged(int(stream-1) / 2) {
		if s := line.String(); s != "200 ok" && s != "0 bad_request" && s != "400 bad_request" && s != "400 bad_path" && s != "405 method_refused" {
			t.Errorf("the log has %s for %+v", s, line)
		}
	}
	equal(t, "requests of the origin", origin.Requests(), 7)
}

// A header list beyond the limit is answered, the decoder stays in step, and the connection goes on.
func TestH2HeaderList(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	w := framedThrough(t, origin)
	c := w.dial()
	many := []string{"x-first: 1"}
	for i := range 1000 {
		many = append(many, fmt.Sprintf("x-%d: y", i))
	}
	c.Get(1, "/many", many...)
	c.Get(3, "/one", "x-long: "+strings.Repeat("ab", 8<<10))
	c.Get(5, "/"+strings.Repeat("p", 16<<10))
	c.Get(7, "/", "x-first: 1", "x-999: y") // from the table, which has the last of the fields
	equal(t, "many fields", c.Whole(1).Status(), "431")
	equal(t, "a long field", c.Whole(3).Status(), "431")
	equal(t, "a long path", c.Whole(5).Status(), "414")
	equal(t, "a request after that", c.Whole(7).Status(), "200")
	w.logged(4)
}
