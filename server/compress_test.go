package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir/internal/testkit"
)

// decoded is a body without its coding.
func decoded(t testing.TB, coding, body string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Errorf("%s of %d bytes: %v", coding, len(body), err)
		return ""
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("%s of %d bytes ends after %d: %v", coding, len(body), len(b), err)
	}
	return string(b)
}

// page is the text of the origin of compressing.
var page = strings.Repeat("A line of a page that says what many others say.\n", 400)

// compressing starts weir, which compresses, in front of an origin that sends page with the
// fields that the query has.
func compressing(t *testing.T, rest string) (w *weir, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("ETag", `"v1"`)
		for name, values := range r.URL.Query() {
			rw.Header()[name] = values
		}
		http.ServeContent(rw, r, "", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), strings.NewReader(page))
	})
	return run(t, `
[metrics]
address = "127.0.0.1:0"
[[routes]]
upstream = "o"
%s
[upstreams.o]
targets = [%q]
`, rest, origin), asked
}

func TestCompress(t *testing.T) {
	t.Parallel()
	w, _ := compressing(t, "compress = true")
	const zstdBrGzip = "Accept-Encoding: gzip, deflate, br, zstd"
	check := func(name, path, coding, vary string, fields ...string) http.Header {
		t.Helper()
		status, h, body := w.get("GET", path, fields...)
		equal(t, name+": status", status, 200)
		equal(t, name+": Content-Encoding", h.Get("Content-Encoding"), coding)
		equal(t, name+": Vary", h.Get("Vary"), vary)
		if decoded(t, coding, body) != page {
			t.Errorf("%s: another body, of %d bytes", name, len(body))
		}
		if coding != "" && (len(body) > 500 || h.Get("ETag") != `W/"v1"` || h.Get("Content-Length") != "" || h.Get("Accept-Ranges") != "") {
			t.Errorf("%s: %d bytes with %v", name, len(body), h)
		}
		status, head, _ := w.get("HEAD", path, fields...)
		equal(t, name+": status of HEAD", status, 200)
		for _, field := range []string{"Content-Encoding", "Vary", "ETag", "Content-Length", "Accept-Ranges"} {
			equal(t, name+": "+field+" of HEAD", head.Get(field), h.Get(field))
		}
		return h
	}
	const vary = "Accept-Encoding"
	check("all", "/", "zstd", vary, zstdBrGzip)
	check("two", "/", "br", vary, "Accept-Encoding: gzip, br")
	check("weights", "/", "gzip", vary, "Accept-Encoding: br;q=0.5, gzip;q=0.8, zstd;q=0")
	check("plain is better", "/", "", vary, "Accept-Encoding: identity, gzip;q=0.5")
	check("refused", "/", "", vary, "Accept-Encoding: gzip;q=0, *")
	h := check("plain", "/", "", vary, "Accept-Encoding: identity")
	equal(t, "the plain tag", h.Get("ETag"), `"v1"`)
	check("Vary of its own", "/?Vary=Origin", "zstd", "Origin, Accept-Encoding", zstdBrGzip)
	check("Vary that says it", "/?Vary=accept-encoding", "zstd", "accept-encoding", zstdBrGzip)
	check("no weaker tag", "/?ETag=W/%22v1%22", "zstd", vary, zstdBrGzip)
	h = check("digests", "/?Content-Digest=x&Repr-Digest=x&X-Digest=x", "zstd", vary, zstdBrGzip)
	equal(t, "digests", h.Get("Content-Digest")+h.Get("Repr-Digest")+h.Get("X-Digest"), "x")
	for _, path := range []string{
		"/?Content-Encoding=x", "/?Cache-Control=public,%20no-transform", "/?Content-Type=image/png", "/?Content-Type=text", "/?Set-Cookie=a=b",
	} {
		_, h, body := w.get("GET", path, zstdBrGzip)
		if h.Get("Content-Encoding") == "zstd" || h.Get("Vary") != "" || body != page {
			t.Errorf("%s: %d bytes with %v", path, len(body), h)
		}
	}
	for _, field := range []string{"Cookie: a=b", "Authorization: Basic YTpi"} {
		_, h, _ = w.get("GET", "/", zstdBrGzip, field)
		equal(t, "with "+field, h.Get("Content-Encoding"), "")
	}
	status, h, body := w.get("GET", "/", zstdBrGzip, "Range: bytes=2-5")
	equal(t, "a part", fmt.Sprint(status, h.Get("Content-Encoding"), h.Get("ETag"), h.Get("Vary"), body), `206"v1"Accept-Encodingline`)
	status, h, _ = w.get("GET", "/", zstdBrGzip, `If-None-Match: W/"v1"`)
	equal(t, "a 304 to the weak tag", fmt.Sprint(status, h.Get("ETag"), h.Get("Vary")), `304W/"v1"Accept-Encoding`)
	status, h, _ = w.get("GET", "/?Content-Type=image/png", zstdBrGzip, "Range: bytes=2-5")
	equal(t, "a part of a picture", fmt.Sprint(status, h.Get("Vary")), "206")
	if in, out := w.metric(`weir_compress_in_bytes_total{route="route-1",coding="zstd"}`), w.metric(`weir_compress_out_bytes_total{route="route-1",coding="zstd"}`); in == "" || out == "" || len(out) >= len(in) {
		t.Errorf("%s bytes became %s", in, out)
	}
	w, _ = compressing(t, "[routes.compress]\ncredentials = true\ncodings = [\"gzip\"]\nmin_size = \"1MiB\"\ntypes = [\"image/*\"]")
	_, h, _ = w.get("GET", "/?Content-Type=image/x", zstdBrGzip)
	equal(t, "too short", h.Get("Content-Encoding"), "")
	w, _ = compressing(t, "[routes.compress]\ncredentials = true\ncodings = [\"gzip\"]\ntypes = [\"image/*\"]")
	_, h, body = w.get("GET", "/?Content-Type=image/x&Set-Cookie=a=b", zstdBrGzip, "Cookie: a=b")
	equal(t, "what the route says", h.Get("Content-Encoding")+h.Get("Set-Cookie"), "gzipa=b")
	equal(t, "its body", decoded(t, "gzip", body) == page, true)
}

// TestCompressDefault: the configuration's own key is for routes without one.
func TestCompressDefault(t *testing.T) {
	t.Parallel()
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, page) })
	w := run(t, "[compress]\nenabled = true\n[[routes]]\nupstream = \"o\"\n[[routes]]\npath = \"/plain\"\nupstream = \"o\"\ncompress = false\n[upstreams.o]\ntargets = [%q]\n", origin)
	for path, want := range map[string]string{"/": "gzip", "/plain": ""} {
		_, h, _ := w.get("GET", path, "Accept-Encoding: gzip")
		equal(t, path, h.Get("Content-Encoding"), want)
	}
}

// TestCompressCached: an entry is compressed once for each coding, and conditions and ranges tell
// its forms apart.
func TestCompressCached(t *testing.T) {
	t.Parallel()
	w, asked := compressing(t, "compress = true\ncache = true")
	const path = "/?Cache-Control=max-age=600"
	const br = "Accept-Encoding: br"
	w.get("GET", path, br)
	size := func() string { return w.metric("weir_cache_bytes") }
	before := size()
	var sizes []string
	for _, coding := range []string{"br", "zstd", "gzip", "br"} {
		_, h, body := w.get("GET", path, "Accept-Encoding: "+coding, "Cookie: a=b")
		equal(t, "coding", h.Get("Content-Encoding"), coding)
		equal(t, "tag", h.Get("ETag"), `W/"v1"`)
		equal(t, "Content-Length", h.Get("Content-Length"), fmt.Sprint(len(body)))
		equal(t, "body", decoded(t, coding, body) == page, true)
		_, head, _ := w.get("HEAD", path, "Accept-Encoding: "+coding)
		equal(t, "Content-Length of HEAD", head.Get("Content-Length"), fmt.Sprint(len(body)))
		sizes = append(sizes, size())
	}
	if sizes[0] == before || sizes[1] == sizes[0] || sizes[2] == sizes[1] || sizes[3] != sizes[2] {
		t.Errorf("the cache has %s bytes, and then %v", before, sizes)
	}
	check := func(name string, want string, fields ...string) {
		t.Helper()
		status, h, body := w.get("GET", path, fields...)
		equal(t, name, fmt.Sprint(status, " ", h.Get("Content-Encoding"), " ", h.Get("ETag"), " ", len(body) > 20), want)
		equal(t, name+": Vary", h.Get("Vary"), "Accept-Encoding")
	}
	check("plain", `200  "v1" true`, "Accept-Encoding: identity")
	check("the weak tag", `304  W/"v1" false`, br, `If-None-Match: "a", W/"v1"`)
	check("the strong tag", `304  "v1" false`, br, `If-None-Match: "v1"`)
	check("a part", `206  "v1" false`, br, "Range: bytes=0-9")
	check("a part of the compressed body", `200 br W/"v1" true`, br, "Range: bytes=0-9", `If-Range: W/"v1"`)
	check("a part of the plain body", `206  "v1" false`, br, "Range: bytes=0-9", `If-Range: "v1"`)
	check("a part since a date", `200 br W/"v1" true`, br, "Range: bytes=0-9", "If-Range: Fri, 02 Jan 2026 03:04:05 GMT")
	check("a part since a date, plain", `206  "v1" false`, "Accept-Encoding: identity", "Range: bytes=0-9", "If-Range: Fri, 02 Jan 2026 03:04:05 GMT")
	equal(t, "requests to the origin", asked.Load(), 1)

	// What is not compressed does not vary, whole or not.
	for _, rest := range []string{"&Content-Type=image/png", "&Content-Encoding=x"} {
		w.get("GET", path+rest, br)
		for _, field := range []string{`If-None-Match: "v1"`, "Range: bytes=0-9", "X-A: b"} {
			_, h, _ := w.get("GET", path+rest, br, field)
			equal(t, "Vary of "+rest+" with "+field, h.Get("Vary"), "")
		}
	}
}

// TestCompressStream: what the origin has sent reaches the client before more comes.
func TestCompressStream(t *testing.T) {
	t.Parallel()
	for _, coding := range []string{"gzip", "br", "zstd"} {
		next := make(chan string)
		origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			for event := range next {
				io.WriteString(rw, event)
				rw.(http.Flusher).Flush()
			}
		})
		w := run(t, "[[routes]]\nupstream = \"o\"\ncompress = true\n[upstreams.o]\ntargets = [%q]\n", origin)
		c := w.dial()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: " + coding + "\r\n\r\n")
		next <- "data: first\n\n"
		m := c.Head("GET")
		equal(t, coding, m.Get("Content-Encoding"), coding)
		pr, pw := io.Pipe()
		go func() {
			for {
				piece := c.Chunk(m)
				if piece == "" {
					pw.Close()
					return
				}
				io.WriteString(pw, piece)
			}
		}()
		var r io.Reader
		switch coding {
		case "gzip":
			r, _ = gzip.NewReader(pr)
		case "br":
			r = brotli.NewReader(pr)
		case "zstd":
			r, _ = zstd.NewReader(pr, zstd.WithDecoderConcurrency(1))
		}
		lines := bufio.NewReader(r)
		for i := range 3 {
			line, err := lines.ReadString('\n')
			lines.ReadString('\n')
			equal(t, "event", fmt.Sprint(line, err), fmt.Sprint([]string{"data: first\n", "data: 1\n", "data: 2\n"}[i], error(nil)))
			if i < 2 {
				next <- fmt.Sprintf("data: %d\n\n", i+1)
			}
		}
		close(next)
		io.Copy(io.Discard, lines)
	}
}

// TestCompressLostClients: clients that go away, and bodies that break off, give back what
// compresses them.
func TestCompressLostClients(t *testing.T) {
	t.Parallel()
	big := strings.Repeat(page, 60)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			if m.Target() == "/cut" {
				c.TrySend("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" + page)
				c.Reset()
				return
			}
			if c.TrySend("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "+fmt.Sprint(len(big))+"\r\n\r\n"+big) != nil {
				return
			}
		}
	})
	w := run(t, "[[routes]]\nupstream = \"o\"\ncompress = true\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
	for i := range 300 { // more than may be compressed at once
		c := w.dial()
		path := []string{"/", "/cut"}[i%2]
		c.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
		if path == "/cut" {
			c.Rest()
		} else {
			c.Reset()
		}
	}
	_, h, body := w.get("GET", "/", "Accept-Encoding: gzip")
	equal(t, "coding", h.Get("Content-Encoding"), "gzip")
	equal(t, "body", decoded(t, "gzip", body) == big, true)
}

// TestCompressingOrigin: nginx as it comes compresses for weir as it comes, and the cache keeps
// that.
func TestCompressingOrigin(t *testing.T) {
	t.Parallel()
	program := testkit.Program(t, "nginx", "/usr/sbin/nginx")
	folder := t.TempDir()
	address := testkit.Reserve(t)
	write := func(name, text string) string {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("index.html", page)
	conf := write("nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
	access_log off; gzip on; gzip_vary on; types { text/html html; }
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server { listen %[2]s; root %[1]s; add_header Cache-Control max-age=600; }
}`, folder, address))
	var log bytes.Buffer
	cmd := exec.Command(program, "-e", "stderr", "-p", folder, "-c", conf)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	testkit.Eventually(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	for _, settings := range []string{"", "via = \"weir\""} {
		w := run(t, "[forwarding]\n%s\n[[routes]]\nupstream = \"o\"\ncache = true\n[upstreams.o]\ntargets = [%q]\n", settings, "http://"+address)
		for _, from := range []string{"weir; fwd=uri-miss", "weir; hit"} {
			_, h, body := w.get("GET", "/index.html", "Accept-Encoding: gzip, deflate, br")
			if !strings.HasPrefix(h.Get("Cache-Status"), from) {
				t.Errorf("Cache-Status is %q, want %q\n%s", h.Get("Cache-Status"), from, log.String())
			}
			coding := h.Get("Content-Encoding")
			equal(t, "coding with "+settings, coding, map[string]string{"": "gzip"}[settings])
			equal(t, "body", decoded(t, coding, body) == page, true)
		}
		_, h, body := w.get("GET", "/index.html", "Accept-Encoding: identity")
		equal(t, "plain", h.Get("Content-Encoding") == "" && body == page, true)
	}
}
