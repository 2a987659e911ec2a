package server_test

import (
	"strings"
	"testing"
)

// TestHeadOfOwnAnswers compares what weir itself answers to HEAD and to GET, with compression and without.
func TestHeadOfOwnAnswers(t *testing.T) {
	t.Parallel()
	root := site(t, "empty.txt", "", "small.txt", "small", "large.txt", strings.Repeat("large ", 1000))
	w := run(t, `
[compress]
[[routes]]
path = "/files/"
strip_prefix = true
files = %q
[[routes]]
path = "/nothing"
respond = { status = 200, headers = { Content-Type = "text/plain" } }
[[routes]]
path = "/short"
respond = { status = 200, body = "short", headers = { Content-Type = "text/plain" } }
[[routes]]
path = "/long"
respond = { status = 200, body = %q, headers = { Content-Type = "text/plain" } }
`, root, strings.Repeat("long ", 1000))
	c := w.dial()
	check := func(path, length string) {
		t.Helper()
		for _, coding := range []string{"identity", "gzip"} {
			ask := func(method string) (string, string) {
				c.Send(method + " " + path + " HTTP/1.1\r\nHost: weir.test\r\nAccept-Encoding: " + coding + "\r\n\r\n")
				m := c.Response(method)
				var fields []string
				for _, name := range []string{"Content-Type", "Content-Encoding", "Vary", "ETag", "Accept-Ranges"} {
					fields = append(fields, name+": "+m.Get(name))
				}
				return m.Line + "\n" + strings.Join(fields, "\n"), m.Get("Content-Length")
			}
			get, _ := ask("GET")
			head, said := ask("HEAD")
			equal(t, path+" "+coding, head, get)
			if !strings.Contains(head, "Content-Encoding: gzip") {
				equal(t, path+" "+coding+": Content-Length of HEAD", said, length)
			}
		}
	}
	check("/files/empty.txt", "0")
	check("/files/small.txt", "5")
	check("/files/large.txt", "6000")
	check("/files/none.txt", "23")
	check("/nothing", "0")
	check("/short", "5")
	check("/long", "5000")
	check("/nowhere", "24")
}
