package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/testkit"
)

func TestErrorPages(t *testing.T) {
	t.Parallel()
	dir := site(t, "404.html", "<p>nothing here", "5xx.txt", "sorry", "busy.json", "{}")
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			r := c.Request()
			switch {
			case strings.Contains(r.Line, "/good"):
				c.Send(ok)
			case strings.Contains(r.Line, "/stream"):
				c.Send("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1000000\r\nX-Own: 1\r\n\r\npart")
			default:
				c.Send("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nContent-Type: text/plain\r\nContent-Encoding: x\r\nETag: \"1\"\r\nX-Own: 1\r\n\r\nown")
			}
		}
	})
	text := func(pages, route string) string {
		return fmt.Sprintf(plainListener+`
%s
[[routes]]
path = "/web/"
upstream = "o"
%s
[[routes]]
path = "/denied/"
upstream = "o"
deny = ["127.0.0.1"]
[[routes]]
path = "/gone/"
upstream = "gone"
[upstreams.o]
targets = [%q]
[upstreams.gone]
targets = ["http://127.0.0.1:1"]
`, pages, route, origin.URL)
	}
	pages := fmt.Sprintf("[error_pages]\nfiles = { 404 = %q, 5xx = %q }\n", filepath.Join(dir, "404.html"), filepath.Join(dir, "5xx.txt"))
	w := run(t, "%s", text(pages, ""))
	c := w.dial()
	check := func(path string, status int, body, kind string) *testkit.Message {
		t.Helper()
		m := c.Get(path)
		equal(t, path, fmt.Sprint(m.Status(), " ", m.Body, " ", m.Get("Content-Type")), fmt.Sprint(status, " ", body, " ", kind))
		return m
	}
	const html, plain = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	check("/nowhere", 404, "<p>nothing here", html)
	check("/gone/", 502, "sorry", plain) // the first failure; later ones find it unreachable
	check("/denied/", 403, "403 Forbidden: address_denied\n", plain)
	check("/web/", 404, "own", "text/plain")
	check("/web/good", 200, "ok", "")
	c.Send("HEAD /nowhere HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	equal(t, "length", c.Response("HEAD").Get("Content-Length"), "15")
	bad := w.dial() // refused before there is a route
	bad.Send("GET / HTTP/3.7\r\nHost: a\r\n\r\n")
	equal(t, "no version", bad.Response("GET").Body, "sorry")

	// In place of the target's, and the route's before the others.
	if err := w.Reload(parse(t, text(pages, fmt.Sprintf("error_pages = { targets = true, files = { 502 = %q } }", filepath.Join(dir, "busy.json"))))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m := check("/web/", 404, "<p>nothing here", html)
		equal(t, "fields of the content", m.Get("Content-Encoding")+m.Get("ETag"), "")
		equal(t, "other fields", m.Get("X-Own"), "1")
	}
	check("/web/stream", 502, "{}", "application/json")
	check("/web/good", 200, "ok", "")
	check("/gone/", 503, "sorry", plain)
	check("/web/good", 200, "ok", "")
	equal(t, "connections", len(origin.Conns()), 2) // one was given up with the body that was not read

	// A file that is gone changes nothing; without the key all is as before.
	if err := os.Rename(filepath.Join(dir, "404.html"), filepath.Join(dir, "x.html")); err != nil {
		t.Fatal(err)
	}
	check("/nowhere", 404, "<p>nothing here", html)
	if err := w.Reload(parse(t, text("", ""))); err != nil {
		t.Fatal(err)
	}
	check("/nowhere", 404, "404 Not Found: no_route\n", plain)
}
