package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/wire"
)

// A head that comes byte by byte is scanned like one that comes at once.
func TestScanTrickling(t *testing.T) {
	check := func(head string, want error) {
		t.Helper()
		var whole, slow wire.Head
		if err := whole.ScanRequest([]byte(head)); err != want {
			t.Errorf("%q: %v, want %v", head, err, want)
		}
		for n := range len(head) + 1 {
			err := slow.ScanRequest([]byte(head[:n]))
			if err == wire.ErrShort && n < len(head) {
				continue
			}
			if err != want {
				t.Errorf("%q: %v after %d bytes, want %v", head, err, n, want)
			}
			break
		}
		if want == nil && whole != slow {
			t.Errorf("%q: at once %+v, slowly %+v", head, whole, slow)
		}
	}
	check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", nil)
	check("\r\n\r\nGET / HTTP/1.0\r\n\r\n", nil)
	check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", nil)
	check("GET / HTTP/1.1\r\nHost: a", wire.ErrShort)
	check("GET / HTTP/1.1\r\nHost: a\n", wire.DefectBareLF)
	check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", wire.DefectTwoHosts)
}

func TestScanResponse(t *testing.T) {
	check := func(head string, status int, length int64, want error) {
		t.Helper()
		var h wire.Head
		if err := h.ScanResponse([]byte(head)); err != want {
			t.Errorf("%q: %v, want %v", head, err, want)
		} else if err == nil && (h.Status != status || h.Length != length || h.Size != len(head)) {
			t.Errorf("%q: %+v", head, h)
		}
	}
	check("HTTP/1.1 200 OK\r\n\r\n", 200, wire.LengthNone, nil)
	check("HTTP/1.1 200\r\n\r\n", 200, wire.LengthNone, nil)
	check("HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\n", 404, 5, nil)
	check("HTTP/1.1 200 OK\r\ncontent-length: 007\r\n\r\n", 200, 7, nil)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 200, wire.LengthChunked, nil)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 200, wire.LengthChunked, nil)
	check("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n", 200, wire.LengthNone, nil)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 0\r\n\r\n", 0, 0, wire.DefectFold)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\t, gzip\r\n\r\n", 0, 0, wire.DefectFold)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n 0\r\n\r\n", 200, 5, nil)
	check("HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n", 200, wire.LengthNone, nil)
	check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, wire.DefectCodingIn10)
	check("HTTP/1.1 20 OK\r\n\r\n", 0, 0, wire.DefectStatusLine)
	check("HTTP/1.1 2000 OK\r\n\r\n", 0, 0, wire.DefectStatusLine)
	check("HTTP/1.2 200 OK\r\n\r\n", 0, 0, wire.DefectStatusLine)
	check("HTTP/1.1 200 OK\r\n X: y\r\n\r\n", 0, 0, wire.DefectFold)
	check("HTTP/1.1 200 OK\r\n: y\r\n\r\n", 0, 0, wire.DefectName)
	check("HTTP/1.1 200 OK\n\n", 0, 0, wire.DefectBareLF)
}

func TestJoinValues(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nX-A: 1 \r\nX-B: 2\r\nx-a:\r\nX-a:3, 4\r\n\r\n"
	if got := wire.JoinValues([]byte(head), "x-a"); string(got) != "1, 3, 4" {
		t.Errorf("values are %q", got)
	}
	if got := wire.JoinValues([]byte(head), "x-c"); got != nil {
		t.Errorf("values of a field that is not there are %q", got)
	}
}

func TestValidHost(t *testing.T) {
	for _, v := range []string{"", "a", "a.b:80", "A_b.c", "[::1]", "[::1]:80", "10.0.0.1:65535", "xn--a"} {
		if !wire.ValidHost([]byte(v)) {
			t.Errorf("%q is refused", v)
		}
	}
	for _, v := range []string{":80", "a:", "a:b", "a:65536", "a b", "a/b", "u@b", "a,b", "%61", "[]", "[::1", "[g::]", "::1", "[::1]x", "a\x00", `a"`, "a<"} {
		if wire.ValidHost([]byte(v)) {
			t.Errorf("%q is accepted", v)
		}
	}
}

// Whatever the scan accepts, the parser behind it accepts too, and both find the
// same end and the same framing; else two programs in one would read two
// different messages.
func FuzzScanRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 0005\r\n\r\nhello",
		"PUT / HTTP/1.1\r\nhost: [::1]\r\ntransfer-encoding: CHUNKED\r\nTrailer: X\r\n\r\n0\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nConnection: close, x\r\n\r\n",
		"GET http://a/b HTTP/1.1\r\nHost: b\r\nCookie: a=b\r\n\r\n",
		"\r\n\r\nGET / HTTP/1.1\r\nHost:a\r\nX-\x80: \xff\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h wire.Head
		err := h.ScanRequest(data)
		if err != nil {
			var d *wire.Defect
			if err != wire.ErrShort && !errors.As(err, &d) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if h.Size <= 0 || h.Size > len(data) || !bytes.HasSuffix(data[:h.Size], []byte("\r\n\r\n")) {
			t.Fatalf("size of %q is %d", data, h.Size)
		}
		br := bufio.NewReaderSize(bytes.NewReader(data), len(data)+16)
		var r fasthttp.RequestHeader
		if err := r.Read(br); err != nil {
			return // stricter is fine: the client gets a 400
		}
		if used := len(data) - br.Buffered() - unread(br, data); used != h.Size {
			t.Fatalf("%q: the scan ends after %d bytes, the parser after %d", data, h.Size, used)
		}
		want := h.Length
		switch n := int64(r.ContentLength()); {
		case want == wire.LengthNone && n <= 0, want == wire.LengthChunked && (n == -1 || n == 0 && (r.IsGet() || r.IsHead())), want == n:
		default:
			t.Fatalf("%q: the scan finds length %d, the parser %d", data, want, n)
		}
		if strings.Contains(string(r.Host()), "\n") {
			t.Fatalf("%q: Host is %q", data, r.Host())
		}
	})
}

// unread is what br has not even taken from data.
func unread(br *bufio.Reader, data []byte) int {
	if br.Buffered() > 0 {
		return 0 // it takes everything in one read
	}
	_, err := br.Peek(1)
	if err != nil {
		return 0
	}
	return br.Buffered()
}

// The same for responses.
func FuzzScanResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 204\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nX-A: b\r\n c\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h wire.Head
		if err := h.ScanResponse(data); err != nil {
			return
		}
		br := bufio.NewReaderSize(bytes.NewReader(data), len(data)+16)
		var r fasthttp.ResponseHeader
		if err := r.Read(br); err != nil {
			return
		}
		if used := len(data) - br.Buffered(); used != h.Size {
			t.Fatalf("%q: the scan ends after %d bytes, the parser after %d", data, h.Size, used)
		}
		if r.StatusCode() != h.Status {
			t.Fatalf("%q: the scan finds status %d, the parser %d", data, h.Status, r.StatusCode())
		}
	})
}
