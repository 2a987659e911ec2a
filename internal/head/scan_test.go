package head_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/internal/head"
)

// linesOf are the fields of a head as text.
func linesOf(h *head.Head) (lines []string) {
	for f := range h.All() {
		lines = append(lines, string(f.Name)+": "+string(f.Value))
	}
	return lines
}

// describe is all that a scan found out.
func describe(h *head.Head) string {
	return fmt.Sprintf("%v %d %q %q %q length %d size %d present %x repeated %x %q",
		h.Version, h.Status, h.Method(), h.Target(), h.Phrase(), h.Length, h.Size, h.Present(), h.Repeated(), linesOf(h))
}

// scanned returns a head that must be sound.
func scanned(t testing.TB, text string) *head.Head {
	t.Helper()
	h := new(head.Head)
	scan := h.ScanRequest
	if strings.HasPrefix(text, "HTTP/") {
		scan = h.ScanResponse
	}
	if err := scan([]byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return h
}

// A head that comes byte by byte is scanned like one that comes at once, wherever it
// stops meanwhile, and although its bytes move.
func TestScanTrickling(t *testing.T) {
	check := func(text string, want error) {
		t.Helper()
		scan := func(h *head.Head, b []byte) error {
			if strings.HasPrefix(text, "HTTP/") {
				return h.ScanResponse(bytes.Clone(b))
			}
			return h.ScanRequest(bytes.Clone(b))
		}
		var whole head.Head
		if err := scan(&whole, []byte(text)); err != want {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
		same := func(h *head.Head, how string) {
			t.Helper()
			if want == nil && describe(&whole) != describe(h) {
				t.Errorf("%q: at once %s, %s %s", text, describe(&whole), how, describe(h))
			}
		}
		var slow head.Head
		for n := range len(text) + 1 {
			err := scan(&slow, []byte(text[:n]))
			if err == head.ErrShort && n < len(text) {
				continue
			}
			if err != want {
				t.Errorf("%q: %v after %d bytes, want %v", text, err, n, want)
			}
			break
		}
		same(&slow, "slowly")
		for n := range len(text) {
			var h head.Head
			err := scan(&h, []byte(text[:n]))
			if err == head.ErrShort {
				err = scan(&h, []byte(text))
			}
			if err != want {
				t.Errorf("%q: %v in two parts of which the first has %d bytes, want %v", text, err, n, want)
			}
			same(&h, "in two parts")
		}
	}
	check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", nil)
	check("\r\n\r\nGET / HTTP/1.0\r\n\r\n", nil)
	check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", nil)
	check("GET http://b/x HTTP/1.1\r\nX-A: 1\r\nHost: a\r\nX-A:2\r\n\r\n", nil)
	check("GET / HTTP/1.1\r\nHost: a", head.ErrShort)
	check("GET / HTTP/1.1\r\nHost: a\n", head.DefectBareLF)
	check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", head.DefectTwoHosts)
	check("HTTP/1.1 200 OK\r\nX-A : b\r\n c\r\nX-B: d\r\n\r\n", nil)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 0\r\n", head.DefectFold)
}

// The target in absolute-form, HTTP/1.0 and LineWithin are in the cases of
// TestRequests; here is what a scan leaves for the log when it finds a defect.
func TestScanAfterDefect(t *testing.T) {
	check := func(text, method, target string) {
		t.Helper()
		var h head.Head
		if err := h.ScanRequest([]byte(text)); err == nil {
			t.Fatalf("%q is accepted", text)
		}
		if string(h.Method()) != method || string(h.Target()) != target {
			t.Errorf("%q: %q %q, want %q %q", text, h.Method(), h.Target(), method, target)
		}
	}
	check("", "", "")
	check("GET", "", "")
	check("BREW\r\n", "", "")
	check("GET /x HTTP/1.1\r\nHo", "GET", "/x")
	check("\r\nGET /x HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", "GET", "/x")
}

func TestLineWithin(t *testing.T) {
	check := func(text string, n int, want bool) {
		t.Helper()
		var h head.Head
		h.ScanRequest([]byte(text))
		if got := h.LineWithin(n); got != want {
			t.Errorf("%q: LineWithin(%d) is %v", text, n, got)
		}
	}
	check("GET / HTTP/1.1", 100, false)
	check("GET / HTTP/1.1\r\n", 16, true)
	check("GET / HTTP/1.1\r\n", 15, false)
	check("\r\nGET / HTTP/1.1\r\nHost: a\r\n", 17, false)
	check("\r\nGET / HTTP/1.1\r\nHost: a\r\n", 18, true)
}

func TestScanResponse(t *testing.T) {
	check := func(text string, status int, length int64, want error) {
		t.Helper()
		var h head.Head
		if err := h.ScanResponse([]byte(text)); err != want {
			t.Errorf("%q: %v, want %v", text, err, want)
		} else if err == nil && (h.Status != status || h.Length != length || h.Size != len(text)) {
			t.Errorf("%q: %s", text, describe(&h))
		}
	}
	check("HTTP/1.1 200 OK\r\n\r\n", 200, head.LengthNone, nil)
	check("HTTP/1.1 200\r\n\r\n", 200, head.LengthNone, nil)
	check("HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\n", 404, 5, nil)
	check("HTTP/1.1 200 OK\r\ncontent-length: 007\r\n\r\n", 200, 7, nil)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 200, head.LengthChunked, nil)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 200, head.LengthChunked, nil)
	check("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n", 200, head.LengthNone, nil)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 0\r\n\r\n", 0, 0, head.DefectFold)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\t, gzip\r\n\r\n", 0, 0, head.DefectFold)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n 0\r\n\r\n", 200, 5, nil)
	check("HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n", 200, head.LengthNone, nil)
	check("HTTP/1.1 200 OK\r\nContent-Length \t: 5\r\n\r\n", 200, 5, nil)
	check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, head.DefectCodingIn10)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 0, 0, head.DefectTwoLengths)
	check("HTTP/1.1 20 OK\r\n\r\n", 0, 0, head.DefectStatusLine)
	check("HTTP/1.1 2000 OK\r\n\r\n", 0, 0, head.DefectStatusLine)
	check("HTTP/1.2 200 OK\r\n\r\n", 0, 0, head.DefectStatusLine)
	check("HTTP/1.1 200 O\x00K\r\n\r\n", 0, 0, head.DefectStatusLine)
	check("HTTP/1.1 200 OK\r\n X: y\r\n\r\n", 0, 0, head.DefectFold)
	check("HTTP/1.1 200 OK\r\n: y\r\n\r\n", 0, 0, head.DefectName)
	check("HTTP/1.1 200 OK\r\nX Y: y\r\n\r\n", 0, 0, head.DefectName)
	check("HTTP/1.1 200 OK\r\nX Y\r\n\r\n", 0, 0, head.DefectNoColon)
	check("HTTP/1.1 200 OK\r\nX: a\x01b\r\n\r\n", 0, 0, head.DefectValue)
	check("HTTP/1.1 200 OK\r\nX: a\r\n b\x7f\r\n\r\n", 0, 0, head.DefectValue)
	check("HTTP/1.1 200 OK\n\n", 0, 0, head.DefectBareLF)
}

// What is repaired goes out repaired, all else as it came.
func TestResponseOutput(t *testing.T) {
	check := func(text, want string, lines ...string) {
		t.Helper()
		h := scanned(t, text)
		if got := string(h.AppendTo(nil)); got != want {
			t.Errorf("%q goes out as %q, want %q", text, got, want)
		}
		if got := linesOf(h); !slices.Equal(got, lines) {
			t.Errorf("%q has the fields %q, want %q", text, got, lines)
		}
	}
	same := func(text string, lines ...string) { t.Helper(); check(text, text, lines...) }
	same("HTTP/1.1 200 OK\r\nB:  2 \t\r\na:1\r\nB:3\r\nX:\r\n\r\n", "B: 2", "a: 1", "B: 3", "X: ")
	same("HTTP/1.1 200 Fine, thank you\r\n\r\n")
	same("HTTP/1.1 799 \xffber\r\nX-A: \xe9\ta\r\n\r\n", "X-A: \xe9\ta")
	check("HTTP/1.0 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "A: b")
	check("HTTP/1.1 404\r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n")
	check("HTTP/1.1 404 \r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n")
	check("HTTP/1.1 799\r\n\r\n", "HTTP/1.1 799 \r\n\r\n")
	check("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\td\r\nX-B: e\r\n\r\n", "HTTP/1.1 200 OK\r\nX-A: b   c  \td\r\nX-B: e\r\n\r\n", "X-A: b   c  \td", "X-B: e")
	check("HTTP/1.1 200 OK\r\nX-A:\r\n b\r\n\r\n", "HTTP/1.1 200 OK\r\nX-A:   b\r\n\r\n", "X-A: b")
	check("HTTP/1.1 200 OK\r\nX-A: b\r\n \r\n\r\n", "HTTP/1.1 200 OK\r\nX-A: b   \r\n\r\n", "X-A: b")
	check("HTTP/1.1 200 OK\r\nX-A \t: b:c\r\n\r\n", "HTTP/1.1 200 OK\r\nX-A:\t  b:c\r\n\r\n", "X-A: b:c")
	check("HTTP/1.1 200 OK\r\nX-A : b\r\n c : d\r\n\r\n", "HTTP/1.1 200 OK\r\nX-A:  b   c : d\r\n\r\n", "X-A: b   c : d")
}

// The target in absolute-form replaces Host in its place; the rest goes out as it came.
func TestRequestOutput(t *testing.T) {
	check := func(text, want string) {
		t.Helper()
		h := scanned(t, text)
		if got := string(h.AppendTo(nil)); got != want {
			t.Errorf("%q goes out as %q, want %q", text, got, want)
		}
	}
	same := func(text string) { t.Helper(); check(text, text) }
	same("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	same("get /\xff?#x HTTP/1.1\r\nB:  2 \t\r\nhost:a\r\nB:3\r\nX:\r\n\r\n")
	check("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	check("GET / HTTP/1.0\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n\r\n")
	check("GET http://b:80/x?y HTTP/1.1\r\nA: 1\r\nhOst:a\r\nB: 2\r\n\r\n", "GET /x?y HTTP/1.1\r\nA: 1\r\nhOst: b:80\r\nB: 2\r\n\r\n")
	check("GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	check("GET http://b?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?x HTTP/1.1\r\nHost: b\r\n\r\n")
	check("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n")
	check("GET http://b/ HTTP/1.0\r\nA: 1\r\n\r\n", "GET / HTTP/1.1\r\nA: 1\r\nHost: b\r\n\r\n")
}

func TestScanTrailer(t *testing.T) {
	var h head.Head
	check := func(line string, want error) {
		t.Helper()
		if err := h.ScanTrailer([]byte(line)); err != want {
			t.Errorf("%q: %v, want %v", line, err, want)
		}
	}
	check("X-Sum:  1 ", nil)
	check("etag: \"x\"", nil)
	check("X-Sum:2", nil)
	check("X-Empty:", nil)
	check("", head.DefectTrailer)
	check(" folded", head.DefectTrailer)
	check("X-Sum : 1", head.DefectTrailer)
	check(": 1", head.DefectTrailer)
	check("X-Sum", head.DefectTrailer)
	check("X-Sum: a\x00", head.DefectTrailer)
	check("X-Sum: a\r", head.DefectTrailer)
	if got, want := linesOf(&h), []string{"X-Sum: 1", `etag: "x"`, "X-Sum: 2", "X-Empty: "}; !slices.Equal(got, want) {
		t.Errorf("fields are %q, want %q", got, want)
	}
	h.Del(head.ETag)
	h.Add(head.Age, []byte("3"))
	if got, want := string(h.AppendFields(nil)), "X-Sum:  1 \r\nX-Sum:2\r\nX-Empty:\r\nAge: 3\r\n"; got != want {
		t.Errorf("the trailer section is %q, want %q", got, want)
	}
	if h.Has(head.SetOf(head.ETag)) {
		t.Error("ETag was removed and is present")
	}
}

func TestValidHost(t *testing.T) {
	for _, v := range []string{"", "a", "a.b:80", "A_b.c", "[::1]", "[::1]:80", "10.0.0.1:65535", "xn--a", "a:", "[::1]:"} {
		if !head.ValidHost([]byte(v)) {
			t.Errorf("%q is refused", v)
		}
	}
	for _, v := range []string{":80", ":", "a:b", "a:65536", "a b", "a/b", "u@b", "a,b", "%61", "[]", "[::1", "[g::]", "::1", "[::1]x", "a\x00", `a"`, "a<"} {
		if head.ValidHost([]byte(v)) {
			t.Errorf("%q is accepted", v)
		}
	}
}

func TestSplitAbsolute(t *testing.T) {
	check := func(target, authority, rest string, ok bool) {
		t.Helper()
		a, r, got := head.SplitAbsolute([]byte(target))
		if got != ok || ok && (string(a) != authority || string(r) != rest) {
			t.Errorf("%q: %q %q %v", target, a, r, got)
		}
	}
	check("http://a/b", "a", "/b", true)
	check("HTTPS://a:1?b", "a:1", "?b", true)
	check("http://a#b", "a", "#b", true)
	check("http://[::1]", "[::1]", "", true)
	check("http:///b", "", "", false)
	check("http://", "", "", false)
	check("http://u@a/", "", "", false)
	check("ftp://a/b", "", "", false)
	check("/a", "", "", false)
}
