package forward_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"weir/internal/forward"
	"weir/internal/head"
)

func TestCleanRequest(t *testing.T) {
	check := func(in, want string) {
		t.Helper()
		for kind, make := range requests {
			h := make(t, in)
			forward.Clean(h)
			if got := text(h); got != want {
				t.Errorf("Clean of a %s request\n%s\n\ngives\n%s\n\nwant\n%s", kind, in, got, want)
			}
		}
	}
	// Nothing to remove.
	check("Host: a\nAccept: x", "Host: a\nAccept: x")
	// All that end at this hop.
	check("Host: a\nConnection: keep-alive\nKeep-Alive: timeout=5\nProxy-Connection: keep-alive\n"+
		"Upgrade: websocket\nProxy-Authorization: x\nProxy-Authentication-Info: x\nAccept: y", "Host: a\nAccept: y")
	check("Host: a\nConnection: close", "Host: a")
	check("Host: a\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__", "Host: a")
	check("Host: a\nHTTP2-Settings: AAMAAABkAAQAAP__", "Host: a")
	// Those that Connection names, in any case, on several lines.
	check("Host: a\nConnection: x-One, CLOSE ,\nX-One: 1\nx-two: 2\nX-Three: 3\nconnection: X-TWO", "Host: a\nX-Three: 3")
	check("Host: a\nConnection: b,a,c,aa\nA: 1\nAA: 1\nD: 1\nC: 1\nB: 1\nA: 2\nBb: 1", "Host: a\nD: 1\nBb: 1")
	// Connection cannot remove what targets rely on.
	check("Host: a\nConnection: host, content-length, x-forwarded-for, x-forwarded-port, forwarded, via, x-real-ip, trailer, date, expect\n"+
		"Content-Length: 0\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Port: 1\nForwarded: for=1.1.1.1\nVia: 1.1 x\nX-Real-Ip: 1.1.1.1\nDate: x\nExpect: 100-continue",
		"Host: a\nContent-Length: 0\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Port: 1\nForwarded: for=1.1.1.1\nVia: 1.1 x\nX-Real-Ip: 1.1.1.1\nDate: x\nExpect: 100-continue")
	// TE keeps trailers and nothing else.
	check("Host: a\nConnection: TE\nTE: gzip;q=0.5, Trailers", "Host: a\nTE: trailers")
	check("Host: a\nConnection: TE\nTE: gzip\nTE: trailers", "Host: a\nTE: trailers")
	check("Host: a\nTE: gzip, trailersx", "Host: a")
	// Framing is not changed here.
	check("Host: a\nConnection: transfer-encoding, keep-alive\nTransfer-Encoding: chunked", "Host: a\nTransfer-Encoding: chunked")
	check("Host: a\nConnection: keep-alive\nTransfer-Encoding: chunked\nTrailer: X-Sum", "Host: a\nTransfer-Encoding: chunked\nTrailer: X-Sum")
	// Cookies are not taken apart.
	check("Host: a\nConnection: keep-alive\nCookie: a=1;b=\"x y\"; =c\nCookie: d", "Host: a\nCookie: a=1;b=\"x y\"; =c\nCookie: d")
	// Order, case and number of other lines stay.
	check("Host: a\nConnection: x-a\nX-A: 0\nAccept: 1\nX-List: one\nx-lIST: two\nX-List: three\nAccept: 2",
		"Host: a\nAccept: 1\nX-List: one\nx-lIST: two\nX-List: three\nAccept: 2")
}

func TestCleanResponse(t *testing.T) {
	check := func(in, want string) {
		t.Helper()
		for kind, make := range responses {
			h := make(t, in)
			forward.Clean(h)
			if got := text(h); got != want {
				t.Errorf("Clean of a %s response\n%s\n\ngives\n%s\n\nwant\n%s", kind, in, got, want)
			}
		}
	}
	check("Server: x\nContent-Length: 3", "Server: x\nContent-Length: 3")
	check("Connection: keep-alive, X-Hop\nKeep-Alive: timeout=5\nX-Hop: 1\nUpgrade: h2c\nProxy-Authenticate: Basic\n"+
		"Content-Length: 3\nX-End: 1", "Content-Length: 3\nX-End: 1")
	check("Connection: content-length, date\nContent-Length: 3\nDate: x", "Content-Length: 3\nDate: x")
	check("Connection: server, set-cookie\nServer: x\nSet-Cookie: a=b\nContent-Length: 3", "Content-Length: 3")
	// TE has no meaning in responses.
	check("TE: trailers\nContent-Length: 3", "Content-Length: 3")
	check("Connection: keep-alive\nKeep-Alive: timeout=5\nContent-Length: 0\nLink: <1>\nLink: <2>\nSet-Cookie: a=1\nSet-Cookie: a=2\nlink: <3>",
		"Content-Length: 0\nLink: <1>\nLink: <2>\nSet-Cookie: a=1\nSet-Cookie: a=2\nlink: <3>")
}

func TestUpgrade(t *testing.T) {
	h := request(t, "Host: a\nConnection: Upgrade, X-A\nX-A: 1\nUpgrade: websocket")
	forward.Clean(h)
	forward.Upgrade(h, []byte("websocket"))
	if got, want := text(h), "Host: a\nConnection: Upgrade\nUpgrade: websocket"; got != want {
		t.Errorf("request:\n%s\nwant\n%s", got, want)
	}
	r := response(t, "Connection: upgrade\nUpgrade: websocket\nX-B: 1")
	r.SetStatus(101)
	forward.Clean(r)
	forward.Upgrade(r, []byte("websocket"))
	if got, want := text(r), "X-B: 1\nConnection: Upgrade\nUpgrade: websocket"; got != want {
		t.Errorf("response:\n%s\nwant\n%s", got, want)
	}
}

func TestCleanConnection(t *testing.T) {
	for _, value := range []string{"close", "close, keep-alive", "keep-alive", "CLOSE,close"} {
		h := request(t, "Host: a\nConnection: "+value)
		forward.Clean(h)
		if got := text(h); got != "Host: a" {
			t.Errorf("Connection: %s leaves\n%s", value, got)
		}
		r := response(t, "Content-Length: 0\nConnection: "+value)
		forward.Clean(r)
		if got := text(r); got != "Content-Length: 0" {
			t.Errorf("Connection: %s leaves\n%s", value, got)
		}
	}
}

// A retry edits a copy of the head again, and copies share what was scanned.
func TestCopiesAreIndependent(t *testing.T) {
	f := forwarder(t, allFields())
	const lines = "Host: a\nConnection: x-a\nX-A: 1\nX-B: 1\nX-Forwarded-For: 6.6.6.6"
	for kind, make := range requests {
		original := make(t, lines)
		forward.Clean(original)
		var one, two head.Head
		original.CopyTo(&one)
		original.CopyTo(&two)
		f.Apply(&one, peer("192.0.2.1:1", false), []byte("id1"))
		one.Set(head.NewName("x-b"), []byte("changed"))
		f.Apply(&two, peer("192.0.2.2:1", false), []byte("id2"))
		if got, want := text(original), "Host: a\nX-B: 1\nX-Forwarded-For: 6.6.6.6"; got != want {
			t.Errorf("%s: the original became\n%s\nwant\n%s", kind, got, want)
		}
		if got := text(&one); !strings.Contains(got, "-For: 192.0.2.1\n") || !strings.Contains(got, ": changed") || !strings.HasSuffix(got, "id1") {
			t.Errorf("%s: the first copy became\n%s", kind, got)
		}
		if got := text(&two); !strings.Contains(got, "-For: 192.0.2.2\n") || !strings.Contains(got, "X-B: 1\n") || !strings.HasSuffix(got, "id2") {
			t.Errorf("%s: the second copy became\n%s", kind, got)
		}
	}
}

func TestCleanAllocates(t *testing.T) {
	template := request(t, "Host: a\nConnection: keep-alive, x-a\nAccept: x\nX-A: 1\nTE: trailers\nX-B: 1\nX-C: 2\nCookie: a=b")
	rtemplate := response(t, "Connection: keep-alive\nKeep-Alive: timeout=5\nContent-Length: 0\nSet-Cookie: a=1\nSet-Cookie: b=1\nETag: x")
	var h head.Head
	if n := testing.AllocsPerRun(100, func() {
		template.CopyTo(&h)
		forward.Clean(&h)
		rtemplate.CopyTo(&h)
		forward.Clean(&h)
	}); n != 0 {
		t.Errorf("Clean allocates %v times", n)
	}
}

// What Clean removes does not depend on how the list is written, and it removes
// nothing but lines.
func FuzzClean(f *testing.F) {
	f.Add("x-a, close", "X-A")
	f.Add(",,\t,host", "Host")
	f.Fuzz(func(t *testing.T, connection, name string) {
		h := &head.Head{}
		if h.ScanRequest(fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: a\r\n%s: 1\r\nConnection: %s\r\nX-Last: 1\r\n\r\n", name, connection)) != nil {
			return
		}
		before := text(h)
		forward.Clean(h)
		once := h.AppendTo(nil)
		for line := range strings.SplitSeq(text(h), "\n") {
			if !strings.Contains(before, line) && line != "TE: trailers" {
				t.Fatalf("%q came into\n%s", line, before)
			}
		}
		if len(h.Get(head.Host)) == 0 {
			t.Fatalf("no Host: %q", once)
		}
		again := &head.Head{}
		if err := again.ScanRequest(once); err != nil {
			t.Fatalf("%v: %q", err, once)
		}
		if forward.Clean(again); !bytes.Equal(again.AppendTo(nil), once) {
			t.Fatalf("%q is not clean", once)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	run := func(name, lines string) {
		for kind, template := range map[string]*head.Head{"request/": request(b, lines), "response/": response(b, lines)} {
			b.Run(kind+name, func(b *testing.B) {
				var h head.Head
				b.ReportAllocs()
				for b.Loop() {
					template.CopyTo(&h)
					forward.Clean(&h)
				}
			})
		}
	}
	// All include one CopyTo of the same head.
	const rest = "Host: a\nContent-Length: 0\nAccept: x\nX-A: 1\nX-B: 2\nX-C: 3\nX-D: 4\nETag: x"
	run("nothing", rest)
	run("connection", rest+"\nConnection: keep-alive")
	run("named", rest+"\nConnection: keep-alive, x-c")
}
