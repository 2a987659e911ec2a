package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"weir/internal/testkit"
)

// TestQuery: answers to QUERY (RFC 10008) are stored for QUERYs with the same content.
func TestQuery(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	var validated atomic.Value
	control := "max-age=60"
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		if r.Header.Get("If-None-Match") != "" {
			validated.Store(r.Method + " " + string(content))
		}
		n := asked.Add(1)
		if r.Method == "POST" {
			return
		}
		rw.Header().Set("Cache-Control", control)
		rw.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(rw, "%s of %d bytes %.10s, answer %d", r.Method, len(content), content, n)
	}), "query_body = \"1KiB\"")
	send := func(method, fields, content string) (status, body string) {
		t.Helper()
		c := w.dial()
		c.Send(method + " /q HTTP/1.1\r\nHost: cached.example\r\n" + fields + "\r\n" + content)
		m := c.Response(method)
		return m.Get("Cache-Status"), m.Body
	}
	check := func(name, fields, content, status, body string) {
		t.Helper()
		if !strings.Contains(fields, "Transfer-Encoding") {
			fields += fmt.Sprintf("Content-Length: %d\r\n", len(content))
		}
		gotStatus, gotBody := send("QUERY", fields, content)
		if !strings.HasPrefix(gotStatus, "weir; "+status) || gotBody != body {
			t.Errorf("%s: %q, %q; want %q, %q", name, gotStatus, gotBody, status, body)
		}
	}
	const miss = "fwd=uri-miss; fwd-status=200; stored"
	const text = "Content-Type: text/plain\r\n"
	check("first", text, "select a", miss, "QUERY of 8 bytes select a, answer 1")
	check("again", text, "select a", "hit", "QUERY of 8 bytes select a, answer 1")
	check("chunked", text+"Transfer-Encoding: chunked\r\n", "6\r\nselect\r\n2\r\n a\r\n0\r\n\r\n", "hit", "QUERY of 8 bytes select a, answer 1")
	check("told to go on", text+"Expect: 100-continue\r\n", "select a", "hit", "QUERY of 8 bytes select a, answer 1")
	check("a range", text+"Range: bytes=0-4\r\n", "select a", "hit", "QUERY")
	check("other content", text, "select b", miss, "QUERY of 8 bytes select b, answer 2")
	check("other meaning", "Content-Type: application/sql\r\n", "select a", miss, "QUERY of 8 bytes select a, answer 3")
	check("coded", text+"Content-Encoding: x\r\n", "select a", miss, "QUERY of 8 bytes select a, answer 4")
	check("no content", "", "", miss, "QUERY of 0 bytes , answer 5")
	check("no content, again", "", "", "hit", "QUERY of 0 bytes , answer 5")
	long := strings.Repeat("x", 1025)
	for i := range 2 {
		check("too long", text, long, "fwd=bypass; fwd-status=200; detail=request-body", fmt.Sprintf("QUERY of 1025 bytes xxxxxxxxxx, answer %d", 6+2*i))
		check("too long, chunked", text+"Transfer-Encoding: chunked\r\n", "401\r\n"+long+"\r\n0\r\n\r\n", "fwd=bypass; fwd-status=200; detail=request-body",
			fmt.Sprintf("QUERY of 1025 bytes xxxxxxxxxx, answer %d", 7+2*i))
	}
	if status, body := send("GET", "", ""); !strings.HasPrefix(status, "weir; "+miss) || body != "GET of 0 bytes , answer 10" {
		t.Errorf("GET: %q, %q", status, body)
	}
	// What changes the resource, and a purge of its URL, end them.
	send("POST", "Content-Length: 0\r\n", "")
	check("after a POST", text, "select a", miss, "QUERY of 8 bytes select a, answer 12")
	if _, _, body := w.get("PURGE", "/q"); body != "{\"purged\":1}\n" {
		t.Errorf("purged %q", body)
	}
	// A stale one answers while it is validated, by a QUERY with its content.
	control = "max-age=1, stale-while-revalidate=60, stale-if-error=60"
	check("fills", text, "select a", miss, "QUERY of 8 bytes select a, answer 13")
	w.get("PURGE", "/q", "Purge-Mode: soft")
	check("stale", text, "select a", "hit; ttl=", "QUERY of 8 bytes select a, answer 13")
	testkit.Eventually(t, "validated", func() bool { return asked.Load() == 14 })
	equal(t, "the validation", validated.Load(), any("QUERY select a"))
}

// TestQueryIsRepeated: a QUERY is sent once more when a target breaks the connection.
func TestQueryIsRepeated(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	answer := func(c *testkit.Conn) {
		m := c.Request()
		if asked.Add(1) == 1 {
			c.Reset()
			return
		}
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.Body), m.Body))
	}
	origin, other := testkit.Listen(t, answer), testkit.Listen(t, answer)
	for _, cache := range []string{"false", "true"} {
		asked.Store(0)
		w := run(t, "[[routes]]\nupstream = \"o\"\ncache = %s\n[upstreams.o]\ntargets = [%q, %q]\n", cache, origin.URL, other.URL)
		c := w.dial()
		c.Send("QUERY /q HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nselect a")
		m := c.Response("QUERY")
		equal(t, "status", m.Status(), 200)
		equal(t, "body", m.Body, "select a")
		equal(t, "asked", asked.Load(), 2)
	}
}
