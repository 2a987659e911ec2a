package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
)

// site makes a folder of files that were written an hour ago.
func site(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(root, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFiles(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 1<<16) // a mebibyte
	root := site(t, "index.html", "<p>home", "a.txt", "0123456789", "dir/index.html", "in dir", "large.bin", large, "z.js", "plain", "z.js.gz", "zipped", ".env", "secret", "empty", "")
	authority := testkit.NewAuthority(t)
	certificate := authority.Issue("127.0.0.1")
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[[listeners]]
name = "tls"
address = "127.0.0.2:0"
certificates = [{ cert = %q, key = %q }]
[[routes]]
path = "/site/"
strip_prefix = true
files = %q
response_headers = { set = { X-From = "{path}" } }
`, certificate.Cert, certificate.Key, root)
	c := w.dial()
	n := 0
	ask := func(method, path, fields, line string) *testkit.Message {
		t.Helper()
		c.Send(method + " " + path + " HTTP/1.1\r\nHost: weir.test\r\n" + fields + "\r\n")
		m := c.Response(method)
		n++
		equal(t, method+" "+path+" "+fields, w.logged(n)[n-1].String(), line)
		return m
	}
	m := ask("GET", "/site/a.txt", "", "200 file")
	equal(t, "body", m.Body, "0123456789")
	equal(t, "type", m.Get("Content-Type"), "text/plain; charset=utf-8")
	equal(t, "ranges", m.Get("Accept-Ranges"), "bytes")
	equal(t, "rule", m.Get("X-From"), "/site/a.txt")
	tag, modified := m.Get("ETag"), m.Get("Last-Modified")
	equal(t, "a strong tag", strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`), true)
	m = ask("HEAD", "/site/a.txt", "", "200 file")
	equal(t, "length", m.Get("Content-Length"), "10")

	for _, fields := range []string{"If-None-Match: " + tag, "If-None-Match: W/" + tag + ", \"x\"", "If-None-Match: *", "If-Modified-Since: " + modified} {
		m = ask("GET", "/site/a.txt", fields+"\r\n", "304 file")
		equal(t, "tag", m.Get("ETag"), tag)
		equal(t, "type", m.Get("Content-Type"), "")
	}
	ask("GET", "/site/a.txt", "If-None-Match: \"x\"\r\nIf-Modified-Since: "+modified+"\r\n", "200 file")
	ask("GET", "/site/a.txt", "If-Match: \"x\"\r\n", "412 file")
	ask("GET", "/site/a.txt", "If-Match: "+tag+"\r\n", "200 file")
	ask("GET", "/site/a.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "412 file")

	check := func(fields, body, contentRange string) {
		t.Helper()
		m := ask("GET", "/site/a.txt", fields, "206 file")
		equal(t, fields, m.Body, body)
		equal(t, fields, m.Get("Content-Range"), contentRange)
		equal(t, "tag", m.Get("ETag"), tag)
	}
	check("Range: bytes=2-4\r\n", "234", "bytes 2-4/10")
	check("Range: bytes=-3\r\n", "789", "bytes 7-9/10")
	check("Range: bytes=8-99\r\nIf-Range: "+tag+"\r\n", "89", "bytes 8-9/10")
	check("Range: bytes=8-\r\nIf-Range: "+modified+"\r\n", "89", "bytes 8-9/10")
	equal(t, "void", ask("GET", "/site/a.txt", "Range: bytes=1-2\r\nIf-Range: \"x\"\r\n", "200 file").Body, "0123456789")
	equal(t, "another unit", ask("GET", "/site/a.txt", "Range: lines=1-2\r\n", "200 file").Body, "0123456789")
	equal(t, "none", ask("GET", "/site/a.txt", "Range: bytes=10-\r\n", "416 file").Get("Content-Range"), "bytes */10")
	m = ask("GET", "/site/a.txt", "Range: bytes=0-0,-2\r\n", "206 file")
	kind, boundary, _ := strings.Cut(m.Get("Content-Type"), "boundary=")
	equal(t, "type", kind, "multipart/byteranges; ")
	part := "\r\n--" + boundary + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes "
	equal(t, "parts", m.Body, part+"0-0/10\r\n\r\n0"+part+"8-9/10\r\n\r\n89\r\n--"+boundary+"--\r\n")

	equal(t, "index", ask("GET", "/site/", "", "200 file").Body, "<p>home")
	equal(t, "index", ask("GET", "/site/dir/", "", "200 file").Body, "in dir")
	equal(t, "slash", ask("GET", "/site/dir?a=b", "", "301 redirect").Get("Location"), "/site/dir/?a=b")
	equal(t, "empty", ask("GET", "/site/empty", "", "200 file").Body, "")
	for _, path := range []string{"/site/nowhere", "/site/.env", "/site/%2eenv", "/site/dir/index.html/", "/site//a.txt", "/site/a.txt%20"} {
		ask("GET", path, "", "404 no_file")
	}
	for _, path := range []string{"/site/..%2f..%2fetc/passwd", "/site/%2e%2e/%2e%2e/etc/passwd", "/site/..;/a"} {
		c.Send("GET " + path + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		if m := c.Response("GET"); m.Status() < 400 {
			t.Errorf("%s: %s", path, m.Line)
		}
		n++
		if _, _, open := strings.Cut(w.logged(n)[n-1].Cause, "bad"); open {
			c = w.dial() // such a client's connection is closed
		}
	}
	c = w.dial()
	m = ask("POST", "/site/a.txt", "Content-Length: 3\r\n\r\nabc", "405 method_refused")
	equal(t, "allow", m.Get("Allow"), "GET, HEAD")
	c = w.dial()
	m = ask("GET", "/site/z.js", "Accept-Encoding: br, gzip\r\n", "200 file")
	equal(t, "coded", m.Body+m.Get("Content-Encoding")+m.Get("Vary")+m.Get("Content-Type"), "zippedgzipAccept-Encodingtext/javascript; charset=utf-8")
	coded := m.Get("ETag")
	m = ask("GET", "/site/z.js", "", "200 file")
	equal(t, "plain", m.Body+m.Get("Content-Encoding")+m.Get("Vary"), "plainAccept-Encoding")
	equal(t, "the same tag", m.Get("ETag") == coded, false)

	for range 2 { // the connection goes on after a file that the kernel moved
		equal(t, "large", ask("GET", "/site/large.bin", "", "200 file").Body == large, true)
		equal(t, "large part", ask("GET", "/site/large.bin", "Range: bytes=5-100004\r\n", "206 file").Body == large[5:100005], true)
	}
	secure := testkit.DialTLS(t, w.Addr("tls"), tlsClient(authority))
	for range 2 {
		equal(t, "large by TLS", secure.Get("/site/large.bin").Body == large, true)
		equal(t, "small by TLS", secure.Get("/site/a.txt").Body, "0123456789")
	}
}

// A file that becomes shorter while it is sent ends the connection, so that the client cannot
// take what it got for the whole.
func TestFileTruncated(t *testing.T) {
	t.Parallel()
	root := site(t, "large.bin", strings.Repeat("x", 64<<20))
	w := run(t, "[[routes]]\nfiles = { root = %q }\n", root)
	c := w.dial()
	c.Send("GET /large.bin HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	equal(t, "status", c.Head("GET").Status(), 200)
	c.Take(1000) // it is on its way, and waits for the client
	if err := os.Truncate(filepath.Join(root, "large.bin"), 1000); err != nil {
		t.Fatal(err)
	}
	if _, end := c.Rest(); end != testkit.WasReset {
		t.Errorf("the connection ends with %q", end)
	}
	equal(t, "the log's line", w.ended(), "200 truncated")
}

// A folder that is gone is an error of the server's, and a reload does not take it in.
func TestFilesFolderGone(t *testing.T) {
	t.Parallel()
	root := filepath.Join(site(t, "www/a", "a"), "www")
	text := fmt.Sprintf(plainListener+"[[routes]]\nfiles = { root = %q }\n", root)
	w := run(t, "%s", text)
	c := w.dial()
	equal(t, "status", c.Get("/a").Status(), 200)
	if err := os.Rename(root, root+"-old"); err != nil {
		t.Fatal(err)
	}
	equal(t, "status", c.Get("/a").Status(), 500)
	equal(t, "the log's line", w.logged(2)[1].String(), "500 file_failed")
	if err := os.Rename(root+"-old", root); err != nil {
		t.Fatal(err)
	}
	equal(t, "status", c.Get("/a").Status(), 200)
}
