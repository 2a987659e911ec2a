package header_test

import (
	"bufio"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/wire"
)

// request parses a request head whose lines are separated by "\n".
func request(t testing.TB, lines string) (*fasthttp.RequestHeader, wire.Fields) {
	t.Helper()
	h := &fasthttp.RequestHeader{}
	h.SetNoDefaultContentType(true)
	raw := "GET /p HTTP/1.1\r\n" + strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n\r\n"
	if err := h.Read(bufio.NewReader(strings.NewReader(raw))); err != nil {
		t.Fatal(err)
	}
	return h, present(lines)
}

// response parses a response head.
func response(t testing.TB, lines string) (*fasthttp.ResponseHeader, wire.Fields) {
	t.Helper()
	h := &fasthttp.ResponseHeader{}
	h.SetNoDefaultContentType(true)
	raw := "HTTP/1.1 200 OK\r\n" + strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n\r\n"
	if err := h.Read(bufio.NewReader(strings.NewReader(raw))); err != nil {
		t.Fatal(err)
	}
	return h, present(lines)
}

func present(lines string) (fields wire.Fields) {
	for line := range strings.SplitSeq(lines, "\n") {
		name, _, _ := strings.Cut(line, ":")
		fields |= wire.Lookup([]byte(name))
	}
	return fields
}

// text returns the fields of a head as they would be sent, without the first
// line and without the Date that fasthttp adds.
func text(head []byte) string {
	lines := strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n")[1:]
	var kept []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "Date: ") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}
