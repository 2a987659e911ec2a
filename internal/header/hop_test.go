package header_test

import (
	"testing"

	"weir/internal/header"
)

func TestCleanRequest(t *testing.T) {
	check := func(in, want string) {
		t.Helper()
		h, present := request(t, in)
		header.CleanRequest(h, present)
		if got := text(h.Header()); got != want {
			t.Errorf("CleanRequest\n%s\n\ngives\n%s\n\nwant\n%s", in, got, want)
		}
	}
	// Nothing to remove.
	check("Host: a\nAccept: x", "Host: a\nAccept: x")
	// All that end at this hop.
	check("Host: a\nConnection: keep-alive\nKeep-Alive: timeout=5\nProxy-Connection: keep-alive\n"+
		"Upgrade: websocket\nProxy-Authorization: x\nAccept: y", "Host: a\nAccept: y")
	check("Host: a\nConnection: close", "Host: a")
	// Those that Connection names, in any case, on several lines.
	check("Host: a\nConnection: x-One, CLOSE ,\nX-One: 1\nx-two: 2\nX-Three: 3\nconnection: X-TWO", "Host: a\nX-Three: 3")
	// Connection cannot remove what targets rely on.
	check("Host: a\nConnection: host, content-length, x-forwarded-for, forwarded, via, x-real-ip, trailer\n"+
		"Content-Length: 0\nX-Forwarded-For: 1.1.1.1\nForwarded: for=1.1.1.1\nVia: 1.1 x\nX-Real-Ip: 1.1.1.1",
		"Host: a\nContent-Length: 0\nX-Forwarded-For: 1.1.1.1\nForwarded: for=1.1.1.1\nVia: 1.1 x\nX-Real-Ip: 1.1.1.1")
	// TE keeps trailers and nothing else.
	check("Host: a\nConnection: TE\nTE: gzip;q=0.5, Trailers", "Host: a\nTe: trailers")
	check("Host: a\nConnection: TE\nTE: gzip\nTE: trailers", "Host: a\nTe: trailers")
	check("Host: a\nTE: gzip, trailersx", "Host: a")
	// Framing is not ours.
	check("Host: a\nConnection: transfer-encoding, keep-alive\nTransfer-Encoding: chunked", "Host: a\nTransfer-Encoding: chunked")
	check("Host: a\nConnection: keep-alive\nTransfer-Encoding: chunked\nTrailer: X-Sum", "Host: a\nTransfer-Encoding: chunked\nTrailer: X-Sum")
	// Cookies are not taken apart.
	check("Host: a\nConnection: keep-alive\nCookie: a=1;b=\"x y\"; =c\nCookie: d", "Host: a\nCookie: a=1;b=\"x y\"; =c\nCookie: d")
}

// Lines of one name stay in their order although fasthttp fills gaps with the
// last line.
func TestCleanKeepsOrder(t *testing.T) {
	h, present := request(t, "Host: a\nConnection: x-a\nX-A: 0\nAccept: 1\nX-List: one\nX-List: two\nX-List: three\nAccept: 2")
	header.CleanRequest(h, present)
	if got, want := text(h.Header()), "Host: a\nX-List: one\nX-List: two\nX-List: three\nAccept: 1\nAccept: 2"; got != want {
		t.Errorf("request:\n%s\nwant\n%s", got, want)
	}
	r, present := response(t, "Connection: keep-alive\nKeep-Alive: timeout=5\nContent-Length: 0\nLink: <1>\nLink: <2>\nSet-Cookie: a=1\nSet-Cookie: a=2\nLink: <3>")
	header.CleanResponse(r, present)
	if got, want := text(r.Header()), "Content-Length: 0\nLink: <1>\nLink: <2>\nLink: <3>\nSet-Cookie: a=1\nSet-Cookie: a=2"; got != want {
		t.Errorf("response:\n%s\nwant\n%s", got, want)
	}
}

func TestCleanResponse(t *testing.T) {
	check := func(in, want string) {
		t.Helper()
		h, present := response(t, in)
		header.CleanResponse(h, present)
		if got := text(h.Header()); got != want {
			t.Errorf("CleanResponse\n%s\n\ngives\n%s\n\nwant\n%s", in, got, want)
		}
	}
	check("Server: x\nContent-Length: 3", "Server: x\nContent-Length: 3")
	check("Connection: keep-alive, X-Hop\nKeep-Alive: timeout=5\nX-Hop: 1\nUpgrade: h2c\nProxy-Authenticate: Basic\n"+
		"Content-Length: 3\nX-End: 1", "Content-Length: 3\nX-End: 1")
	check("Connection: content-length, date\nContent-Length: 3", "Content-Length: 3")
	check("Connection: server, set-cookie\nServer: x\nSet-Cookie: a=b\nContent-Length: 3", "Content-Length: 3")
}

func TestUpgrade(t *testing.T) {
	h, present := request(t, "Host: a\nConnection: Upgrade, X-A\nX-A: 1\nUpgrade: websocket")
	header.CleanRequest(h, present)
	header.UpgradeRequest(h, []byte("websocket"))
	if got, want := text(h.Header()), "Host: a\nConnection: Upgrade\nUpgrade: websocket"; got != want {
		t.Errorf("request:\n%s\nwant\n%s", got, want)
	}
	r, present := response(t, "Connection: upgrade\nUpgrade: websocket\nX-B: 1")
	r.SetStatusCode(101)
	header.CleanResponse(r, present)
	header.UpgradeResponse(r, []byte("websocket"))
	if got, want := text(r.Header()), "X-B: 1\nConnection: Upgrade\nUpgrade: websocket"; got != want {
		t.Errorf("response:\n%s\nwant\n%s", got, want)
	}
}

// Connection is removed by overwriting it; the "close" that all heads share must
// not be what is overwritten.
func TestCleanLeavesOtherHeadsAlone(t *testing.T) {
	for _, value := range []string{"close", "close, keep-alive", "keep-alive", "CLOSE,close"} {
		h, present := request(t, "Host: a\nConnection: "+value)
		header.CleanRequest(h, present)
		if got := text(h.Header()); got != "Host: a" {
			t.Errorf("Connection: %s leaves\n%s", value, got)
		}
		r, present := response(t, "Content-Length: 0\nConnection: "+value)
		header.CleanResponse(r, present)
		if got := text(r.Header()); got != "Content-Length: 0" {
			t.Errorf("Connection: %s leaves\n%s", value, got)
		}
	}
	other, _ := request(t, "Host: a")
	other.SetConnectionClose()
	if got, want := text(other.Header()), "Host: a\nConnection: close"; got != want {
		t.Errorf("another head:\n%s\nwant\n%s", got, want)
	}
}

func TestCleanAllocates(t *testing.T) {
	const lines = "Host: a\nConnection: keep-alive, x-a\nAccept: x\nX-A: 1\nTE: trailers\nX-B: 1\nX-C: 2\nCookie: a=b"
	template, present := request(t, lines)
	h, _ := request(t, lines)
	if n := testing.AllocsPerRun(100, func() {
		template.CopyTo(h)
		header.CleanRequest(h, present)
	}); n != 0 {
		t.Errorf("CleanRequest allocates %v times", n)
	}
	rt, rpresent := response(t, "Connection: keep-alive\nKeep-Alive: timeout=5\nContent-Length: 0\nSet-Cookie: a=1\nSet-Cookie: b=1\nETag: x")
	r, _ := response(t, "Content-Length: 0")
	if n := testing.AllocsPerRun(100, func() {
		rt.CopyTo(r)
		header.CleanResponse(r, rpresent)
	}); n != 0 {
		t.Errorf("CleanResponse allocates %v times", n)
	}
}

func BenchmarkClean(b *testing.B) {
	run := func(name, lines string) {
		b.Run("request/"+name, func(b *testing.B) {
			template, present := request(b, lines)
			h, _ := request(b, lines)
			b.ReportAllocs()
			for b.Loop() {
				template.CopyTo(h)
				header.CleanRequest(h, present)
			}
		})
		b.Run("response/"+name, func(b *testing.B) {
			template, present := response(b, lines)
			h, _ := response(b, lines)
			b.ReportAllocs()
			for b.Loop() {
				template.CopyTo(h)
				header.CleanResponse(h, present)
			}
		})
	}
	// All include one CopyTo of the same head.
	const rest = "Host: a\nContent-Length: 0\nAccept: x\nX-A: 1\nX-B: 2\nX-C: 3\nX-D: 4\nETag: x"
	run("nothing", rest)
	run("connection", rest+"\nConnection: keep-alive")
	run("repeated", rest+"\nConnection: keep-alive\nX-A: 2")
}
