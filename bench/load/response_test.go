package load

import (
	"strings"
	"testing"
)

// follow feeds s in pieces of n bytes.
func follow(s string, n int) (r response, used int, done bool, err error) {
	for used < len(s) && !done && err == nil {
		var u int
		u, done, err = r.feed([]byte(s[used:min(used+n, len(s))]))
		used += u
	}
	return r, used, done, err
}

func TestResponse(t *testing.T) {
	check := func(s string, status int, body int64, rest string) {
		t.Helper()
		for n := 1; n <= len(s); n++ {
			r, used, done, err := follow(s, n)
			if err != nil || !done || r.status != status || r.body != body || s[used:] != rest {
				t.Errorf("%q in pieces of %d: status %d, body %d, done %v, rest %q, error %v; want %d, %d, rest %q",
					s, n, r.status, r.body, done, s[used:], err, status, body, rest)
			}
		}
	}
	check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, "")
	check("HTTP/1.1 200 OK\r\ncontent-LENGTH:0\r\n\r\n", 200, 0, "")
	check("HTTP/1.1 204 No Content\r\n\r\nX", 204, 0, "X")
	// Interim answers come before the one that counts.
	check("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404, 1, "")
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200, 15, "")
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\nnext", 200, 0, "next")
}

// Without a length the body ends with the connection; an answer to HEAD has none.
func TestResponseWithoutLength(t *testing.T) {
	const s = "HTTP/1.1 200 OK\r\n\r\nhello"
	if r, used, done, err := follow(s, 7); err != nil || done || used != len(s) || r.part != toClose || r.body != 5 || !r.closing {
		t.Errorf("%+v, used %d, done %v, error %v", r, used, done, err)
	}
	var r response
	r.reset([]byte("HEAD / HTTP/1.1\r\n"))
	if used, done, err := r.feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")); err != nil || !done {
		t.Errorf("HEAD: used %d, done %v, error %v", used, done, err)
	}
}

func TestResponseErrors(t *testing.T) {
	check := func(s string, want error) {
		t.Helper()
		for _, n := range []int{1, len(s)} {
			if _, _, _, err := follow(s, n); err != want {
				t.Errorf("%.80q in pieces of %d: error %v, want %v", s, n, err, want)
			}
		}
	}
	check("SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n", errHead)
	check("HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\n", errHead)
	check("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n", errHead)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", errChunk)
	check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab", errChunk)
	check("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxHead)+"\r\n\r\n", errHeadBig)
}

// FuzzResponse checks that how an answer is cut into pieces changes nothing.
func FuzzResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 3)
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 7)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 1 || len(s) > maxHead {
			return
		}
		whole, used, done, err := follow(s, max(len(s), 1))
		parts, usedParts, doneParts, errParts := follow(s, n)
		if done != doneParts || (err == nil) != (errParts == nil) ||
			done && (used != usedParts || whole.body != parts.body || whole.status != parts.status) {
			t.Errorf("in one piece: %d used, done %v, error %v; in pieces of %d: %d, %v, %v",
				used, done, err, n, usedParts, doneParts, errParts)
		}
	})
}
