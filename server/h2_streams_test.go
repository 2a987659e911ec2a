package server_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/testkit"
	"weir/server/hook"
)

// Bodies reach the target in the framing of HTTP/1.1, whole or not at all.
func TestH2Uploads(t *testing.T) {
	t.Parallel()
	type result struct {
		m   *testkit.Message
		err error
	}
	results, arrived := make(chan result, 10), make(chan struct{}, 20)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			arrived <- struct{}{}
			err = m.ReadBody(c.Reader)
			results <- result{m, err}
			if err != nil || c.TrySend("HTTP/1.1 204 No Content\r\n\r\n") != nil {
				return
			}
		}
	})
	w := overTLS(t, "", "[[routes]]\nupstream = \"origin\"\nmax_body = \"60KiB\"\n[upstreams.origin]\ntargets = [%q]\n", origin.URL)
	c := w.dial()
	check := func(stream uint32, framing, text, trailer string) {
		t.Helper()
		receive(t, arrived)
		r := receive(t, results)
		if r.err != nil {
			t.Fatal(r.err)
		}
		equal(t, "the framing", r.m.Framing, framing)
		equal(t, "the body", r.m.Body, text)
		equal(t, "the trailer section", r.m.Trailer, trailer)
		equal(t, "the answer", c.Whole(stream).Status(), "204")
		equal(t, "the reset", c.Whole(stream).Reset, -1)
	}
	c.Post(1, "/", "content-length: 7")
	c.Data(1, false, "one ")
	c.Data(1, true, "two")
	check(1, "length", "one two", "")
	c.Post(3, "/")
	c.Data(3, false, "one ")
	c.Ping()
	c.Data(3, false, "two")
	c.Data(3, true, "")
	check(3, "chunked", "one two", "")
	c.Post(5, "/", "trailer: x-sum")
	c.Data(5, false, "one")
	c.Headers(5, true, "x-sum: 1")
	check(5, "chunked", "one", "x-sum: 1\r\n")
	c.Post(7, "/", "content-length: 0")
	c.Data(7, true, "")
	check(7, "length", "", "")
	large := strings.Repeat("0123456789abcde", 4<<10)
	c.Post(9, "/", fmt.Sprint("content-length: ", len(large)))
	for rest := large; rest != ""; {
		n := min(len(rest), 16<<10)
		c.Data(9, len(rest) == n, rest[:n])
		rest = rest[n:]
	}
	check(9, "length", large, "")
	// Those that end otherwise than they say must not look whole to the target, which has
	// their heads before that.
	broken := func(stream uint32, code h2.ErrCode) {
		t.Helper()
		a := c.Until(stream, "the stream is reset", func(a *testkit.Answered) bool { return a.Reset >= 0 })
		equal(t, "the reset", h2.ErrCode(a.Reset), code)
		if r := receive(t, results); r.err == nil {
			t.Error("the target took it for whole")
		}
	}
	c.Post(11, "/", "content-length: 7")
	c.Data(11, false, "one")
	receive(t, arrived)
	c.Data(11, true, "")
	broken(11, h2.ErrCodeProtocol)
	c.Post(13, "/", "content-length: 7")
	receive(t, arrived)
	c.Data(13, false, "one two three")
	broken(13, h2.ErrCodeProtocol)
	c.Post(15, "/")
	receive(t, arrived)
	for range 4 {
		c.Data(15, false, strings.Repeat("x", 15<<10+1))
	}
	equal(t, "more than max_body", c.Until(15, "an answer comes", func(a *testkit.Answered) bool { return a.Ended }).Status(), "413")
	broken(15, h2.ErrCodeNo)
	c.Post(17, "/")
	c.Data(17, false, "one")
	receive(t, arrived)
	c.Headers(17, true, "x-sum: \x01")
	equal(t, "a malformed trailer section", c.Whole(17).Status(), "400")
	if r := receive(t, results); r.err == nil {
		t.Error("the target took it for whole")
	}
	c.Get(19, "/")
	check(19, "none", "", "")
}

// Interim responses, trailer sections, and both bodies at once.
func TestH2FullDuplex(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		m := c.Head()
		switch m.Target() {
		case "/early":
			c.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			c.Rest()
			return
		case "/continue":
			c.Send("HTTP/1.1 100 Continue\r\n\r\n")
		}
		c.Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\nConnection: x-y\r\nX-Y: 1\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
		for {
			piece, err := m.ReadChunk(c.Reader)
			if err != nil || piece == "" {
				c.TrySend("0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n")
				return
			}
			c.Send(fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
		}
	})
	framedThrough(t, origin).each(t, func(t *testing.T, c *testkit.Frames) {
		c.Post(1, "/echo")
		want := ""
		for i := range 20 {
			piece := fmt.Sprintf("piece %d ", i)
			want += piece
			c.Data(1, false, piece)
			c.Until(1, "the echo comes", func(a *testkit.Answered) bool { return a.Body == want })
		}
		c.Post(3, "/early")
		c.Data(3, false, "one")
		a := c.Until(3, "the stream is reset", func(a *testkit.Answered) bool { return a.Reset >= 0 })
		equal(t, "the early answer", a.Status()+a.Body, "403no")
		equal(t, "the end of the early answer", a.Ended, true)
		equal(t, "the reset", h2.ErrCode(a.Reset), h2.ErrCodeNo)
		c.Data(3, false, "of a stream that is over")
		c.Data(3, true, "")
		c.Data(1, true, "end")
		a = c.Whole(1)
		equal(t, "the echo", a.Body, want+"end")
		equal(t, "the interim responses", strings.Join(a.Informs, "|"), ":status: 103\nlink: </a>\n|:status: 103\nlink: </b>\n")
		equal(t, "what is announced", a.Field("trailer"), "X-Sum")
		equal(t, "the trailer section", a.Trailer, "x-sum: 1\n")
		c.Post(5, "/continue", "expect: 100-continue")
		c.Until(5, "the client may send", func(a *testkit.Answered) bool { return len(a.Informs) > 0 && strings.Contains(a.Informs[0], "100") })
		c.Data(5, true, "x")
		equal(t, "the body", c.Whole(5).Body, "x")
	})
}

// A client that makes its HPACK table smaller while an answer comes is told before the trailer section that the table is
// (RFC 7541 section 4.2).
func TestH2TrailerAfterTableSize(t *testing.T) {
	t.Parallel()
	smaller := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n")
		<-smaller
		c.Send("0\r\nX-Sum: 1\r\n\r\n")
	})
	w := framedThrough(t, origin)
	c, err := net.Dial("tcp", w.Addr("plain").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testkit.Limit))
	f := h2.NewFramer(c, c)
	c.Write([]byte(h2.ClientPreface))
	f.WriteSettings()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", "/"}} {
		e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	f.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	for acks := 0; ; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *h2.SettingsFrame:
			if !frame.IsAck() {
				continue
			}
			if acks++; acks == 2 { // of the first SETTINGS, and of those below
				close(smaller)
			}
		case *h2.DataFrame:
			f.WriteSettings(h2.Setting{ID: h2.SettingHeaderTableSize, Val: 0})
		case *h2.HeadersFrame:
			if frame.StreamEnded() {
				equal(t, "the trailer section", string(frame.HeaderBlockFragment()), "\x20\x20\x00\x05x-sum\x011")
				return
			}
		}
	}
}

// A response that breaks off never ends as if it were whole.
func TestH2Truncated(t *testing.T) {
	t.Parallel()
	check := func(name, response, cause string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				c.Send(response)
			})
			w := framedThrough(t, origin)
			c := w.dial()
			c.Get(1, "/")
			a := c.Whole(1)
			equal(t, "the end", a.Ended, false)
			equal(t, "the reset", h2.ErrCode(a.Reset), h2.ErrCodeInternal)
			equal(t, "the log's line", w.ended(), "200 "+cause)
			c.Ping()
		})
	}
	check("length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "truncated")
	check("length, after much", "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"+strings.Repeat("hello", 40000), "truncated")
	check("length without a byte", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "truncated")
	check("between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "truncated")
	check("garbage after much", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n"+strings.Repeat("hello", 40000)+"\r\nHTTP\r\n", "bad_response")
}

// A client that resets a stream ends its exchange, whatever that does at the moment, and the
// connection to the target with it; other streams go on.
func TestH2Reset(t *testing.T) {
	t.Parallel()
	check := func(what string, script func(c *testkit.Conn), drive func(c *testkit.Frames, arrived func())) {
		t.Run(what, func(t *testing.T) {
			gone := make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				if m := c.Head(); m.Target() == "/other" {
					c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
					return
				}
				script(c)
				c.Rest() // until the connection ends
				close(gone)
			})
			w := framedThrough(t, origin)
			c := w.dial()
			drive(c, func() {
				testkit.Eventually(t, "the request arrives", func() bool { return origin.Requests() > 0 })
			})
			c.Reset(1, h2.ErrCodeCancel)
			receive(t, gone)
			if got := w.ended(); !strings.HasSuffix(got, " client_gone") {
				t.Errorf("the log's line is %s", got)
			}
			c.Get(3, "/other")
			equal(t, "another stream", c.Whole(3).Body, "other")
		})
	}
	nothing := func(*testkit.Conn) {}
	begun := func(c *testkit.Conn) { c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello") }
	hello := func(a *testkit.Answered) bool { return a.Body == "hello" }
	check("before the answer", nothing, func(c *testkit.Frames, arrived func()) { c.Get(1, "/"); arrived() })
	check("in the answer", begun, func(c *testkit.Frames, arrived func()) {
		c.Get(1, "/")
		c.Until(1, "the body begins", hello)
	})
	check("in the request", nothing, func(c *testkit.Frames, arrived func()) { c.Post(1, "/"); c.Data(1, false, "one"); arrived() })
	check("in both", begun, func(c *testkit.Frames, arrived func()) {
		c.Post(1, "/")
		c.Data(1, false, "one")
		c.Until(1, "the body begins", hello)
	})
}

// A client that goes away ends all its exchanges.
func TestH2ClientGone(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 3)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Rest()
		gone <- struct{}{}
	})
	w := framedThrough(t, origin)
	c := w.dial()
	c.Get(1, "/")
	c.Get(3, "/")
	c.Post(5, "/")
	testkit.Eventually(t, "the requests arrive", func() bool { return origin.Requests() == 3 })
	c.Close()
	for range 3 {
		receive(t, gone)
	}
	for _, line := range w.logged(3) {
		equal(t, "the log's line", line.Cause, "client_gone")
	}
}

// A stream whose answer is whole does not count as open, though its exchange may still be on its last steps:
// the client cannot know of those.
func TestH2AnsweredStreams(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	w := hooked(t, fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
protocols = ["h2c"]
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
`, reflecting(t).URL), hook.Hooks{OnDone: func(hook.Exchange) { <-done }})
	defer close(done)
	c := testkit.DialFrames(t, w.addr, nil)
	const streams = 100 // what weir allows at once
	for round := range uint32(2) {
		first := 1 + 2*round*streams
		for i := range uint32(streams) {
			c.Get(first+2*i, "/")
		}
		for i := range uint32(streams) {
			equal(t, "an answer", c.Whole(first+2*i).Status(), "200")
		}
	}
}

// A request and its reset that come together never reach a target.
func TestH2ResetAtOnce(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	w := framedThrough(t, origin)
	c := w.dial()
	c.Ping()
	var batch bytes.Buffer
	framer := h2.NewFramer(&batch, nil)
	for stream := uint32(1); stream < 60; stream += 2 {
		framer.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, EndStream: true, EndHeaders: true,
			BlockFragment: c.Block(":method: GET", ":scheme: https", ":authority: a", ":path: /")})
		framer.WriteRSTStream(stream, h2.ErrCodeCancel)
	}
	c.Write(batch.Bytes())
	for _, line := range w.logged(30) {
		equal(t, "the log's line", line.String(), "0 client_gone")
	}
	c.Get(61, "/")
	equal(t, "the next answer", c.Whole(61).Status(), "200")
	equal(t, "requests that reached the origin", origin.Requests(), 1)
}

// Bodies flow at the client's pace: what it has not asked for is not taken from the target.
func TestH2FlowControl(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", testkit.Rounds(1<<18, 1<<20))
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			if m.Target() == "/small" {
				c.TrySend("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")
			} else if c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large)) != nil {
				return
			}
		}
	})
	framedThrough(t, origin).each(t, func(t *testing.T, c *testkit.Frames) {
		c.Still(true)
		c.Get(1, "/large")
		c.Until(1, "the window is full", func(a *testkit.Answered) bool { return len(a.Body) == 64<<10-1 })
		c.Grant(0, 32<<10) // of the connection alone
		c.Get(3, "/small")
		equal(t, "a small answer beside", c.Whole(3).Body, "small")
		c.Settings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
		c.Until(1, "the larger window is full", func(a *testkit.Answered) bool { return len(a.Body) == 2*(64<<10)-1-5 })
		c.Still(false)
		c.Grant(1, 1<<20)
		a := c.Whole(1)
		equal(t, "whether the body is the origin's", a.Body == large, true)
	})
}

// Padding takes room in the windows as data does, and is taken at once, also where no byte of data comes between.
func TestH2Padding(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		m := c.Head()
		if err := m.ReadBody(c.Reader); err != nil {
			t.Error(err)
		}
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(m.Body)) + "\r\n\r\n" + m.Body)
	})
	framedThrough(t, origin).each(t, func(t *testing.T, c *testkit.Frames) {
		c.Post(1, "/")
		c.Write(batch(func(f *h2.Framer) {
			for range 900 {
				f.WriteDataPadded(1, false, nil, make([]byte, 255))
			}
			f.WriteData(1, true, []byte("end"))
		}))
		equal(t, "the body", c.Whole(1).Body, "end")
	})
}

// Extended CONNECT (RFC 8441) becomes an upgrade of HTTP/1.1.
func TestH2WebSocket(t *testing.T) {
	t.Parallel()
	heads := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		m := c.Head()
		if m.Target() != "/ws" {
			c.Send("HTTP/1.1 " + m.Target()[1:] + " Reason\r\nContent-Length: 2\r\n\r\nno")
			return
		}
		heads <- m
		c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX-A: 1\r\n\r\nhello")
		if got := c.Take(4); got != "ping" {
			t.Errorf("the origin got %q", got)
		}
		c.Send("pong")
		rest, _ := c.Rest()
		c.TrySend("end of " + rest)
	})
	connect := func(c *testkit.Frames, stream uint32, protocol, path string) {
		c.Headers(stream, false, ":method: CONNECT", ":protocol: "+protocol, ":scheme: https", ":authority: weir.test", ":path: "+path,
			"sec-websocket-version: 13", "origin: https://weir.test")
	}
	w := framedThrough(t, origin)
	w.each(t, func(t *testing.T, c *testkit.Frames) {
		connect(c, 1, "websocket", "/ws")
		a := c.Until(1, "the tunnel is open", func(a *testkit.Answered) bool { return a.Body == "hello" })
		equal(t, "the status", a.Status(), "200")
		equal(t, "a field", a.Field("x-a"), "1")
		for _, name := range []string{"connection", "upgrade", "sec-websocket-accept", "content-length"} {
			equal(t, name, a.Field(name), "")
		}
		m := receive(t, heads)
		equal(t, "the request", m.Line, "GET /ws HTTP/1.1")
		equal(t, "Upgrade", m.Get("Upgrade"), "websocket")
		equal(t, "Connection", m.Get("Connection"), "Upgrade")
		equal(t, "the length of the key", len(m.Get("Sec-WebSocket-Key")), 24)
		equal(t, "the version", m.Get("Sec-WebSocket-Version"), "13")
		c.Data(1, false, "ping")
		c.Until(1, "the answer comes", func(a *testkit.Answered) bool { return a.Body == "hellopong" })
		c.Data(1, true, "rest")
		equal(t, "all of it", c.Whole(1).Body, "hellopongend of rest")
		equal(t, "the reset", c.Whole(1).Reset, -1)
	})
	for _, line := range w.logged(2) {
		equal(t, "the log's line", line.String(), "200 upgraded")
		equal(t, "bytes from and to the client", fmt.Sprint(line.BytesIn, " ", line.BytesOut), "8 20")
	}
	c := w.dial()
	refused := func(stream uint32, protocol, path, status string) {
		t.Helper()
		connect(c, stream, protocol, path)
		equal(t, protocol+" "+path, c.Whole(stream).Status(), status)
	}
	refused(1, "nonsense", "/ws", "501")
	refused(3, "websocket", "/200", "502")
	refused(5, "websocket", "/403", "403")
	refused(7, "h2c", "/ws", "501")
	c.Get(9, "/404")
	equal(t, "the next answer", c.Whole(9).Status(), "404")
}

// The length that a client says of what follows an extended CONNECT does not reach the target, which would take the beginning
// of another client's request for a body. Nor does a key, which is weir's own.
func TestH2WebSocketLength(t *testing.T) {
	t.Parallel()
	lines := make(chan string, 10)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil || m.ReadBody(c.Reader) != nil {
				return
			}
			lines <- m.Line + " " + m.Get("Content-Length") + " " + strconv.Itoa(len(m.Get("Sec-WebSocket-Key")))
			if c.TrySend("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno") != nil {
				return
			}
		}
	})
	framedThrough(t, origin).each(t, func(t *testing.T, c *testkit.Frames) {
		c.Headers(1, false, ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: weir.test", ":path: /ws",
			"sec-websocket-version: 13", "sec-websocket-key: abc", "content-length: 20")
		equal(t, "the request for an upgrade", receive(t, lines), "GET /ws HTTP/1.1  24")
		equal(t, "the refusal", c.Whole(1).Status(), "403")
		c.Get(3, "/next")
		equal(t, "the next request", receive(t, lines), "GET /next HTTP/1.1  0")
		equal(t, "the next answer", c.Whole(3).Status(), "403")
	})
}

// Bodies of any size pass in both directions.
func TestH2LargeBodies(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	const size = 20 << 20
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		m := c.Head()
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			piece, err := m.ReadChunk(c.Reader)
			m.Chunks, m.Body = nil, ""
			if err != nil {
				t.Error(err)
				return
			}
			if piece == "" {
				c.Send("0\r\n\r\n")
				return
			}
			c.Send(fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
		}
	})
	w := framedThrough(t, origin)
	var p http.Protocols
	p.SetHTTP2(true)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), Protocols: &p}}
	defer c.CloseIdleConnections()
	sent, got := sha256.New(), sha256.New()
	r, err := c.Post("https://"+w.addr.String()+"/", "", io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sent))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	n, err := io.Copy(got, r.Body)
	if err != nil || n != size || string(got.Sum(nil)) != string(sent.Sum(nil)) {
		t.Errorf("%d bytes came back, %v", n, err)
	}
}

// Answers by length, some of which the client takes back, do not mix on their way through one connection.
func TestH2Downloads(t *testing.T) {
	t.Parallel()
	body := func(id, size int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%07d\n", id)), size/8) }
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			var id, size int
			fmt.Sscanf(c.Request().Target(), "/%d/%d", &id, &size)
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body(id, size)))
		}
	})
	w := framedThrough(t, origin)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), ForceAttemptHTTP2: true}}
	t.Cleanup(client.CloseIdleConnections)
	rounds := testkit.Rounds(20, 200)
	var wg sync.WaitGroup
	for k := range 16 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(k), 1))
			for i := range rounds {
				id, size := k*rounds+i, 8*random.IntN([...]int{200, 20_000, 60_000}[i%3])
				r, err := client.Get(fmt.Sprintf("https://%s/%d/%d", w.addr, id, size))
				if err != nil {
					t.Error(err)
					return
				}
				want, read := body(id, size), io.Reader(r.Body)
				if random.IntN(4) == 0 {
					want = want[:random.IntN(len(want)+1)]
					read = io.LimitReader(read, int64(len(want)))
				}
				if got, err := io.ReadAll(read); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of exchange %d: %v, or others came", len(want), id, err)
				}
				r.Body.Close()
			}
		})
	}
	wg.Wait()
}
