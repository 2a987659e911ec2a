package transport_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/config"
	"weir/internal/head"
	"weir/internal/testkit"
	"weir/internal/transport"
)

// framePeer is a server's end of an HTTP/2 connection, which may do whatever it likes.
type framePeer struct {
	*testkit.Conn
	*h2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// listenFrames starts a server that calls script for each connection, after the SETTINGS of both sides,
// and returns its URL.
func listenFrames(t *testing.T, settings []h2.Setting, script func(p *framePeer)) string {
	t.Helper()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		p := &framePeer{Conn: c}
		preface := make([]byte, len(h2.ClientPreface))
		if _, err := io.ReadFull(c.Reader, preface); err != nil || string(preface) != h2.ClientPreface {
			t.Errorf("the connection begins with %q (%v)", preface, err)
			return
		}
		p.Framer = h2.NewFramer(c.Conn, c.Reader)
		p.AllowIllegalWrites = true
		p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		p.encoder = hpack.NewEncoder(&p.block)
		p.WriteSettings(settings...)
		script(p)
	})
	return strings.Replace(origin.URL, "http:", "h2c:", 1)
}

// next returns the next frame that is no matter of the connection; nil at the connection's end.
func (p *framePeer) next() h2.Frame {
	for {
		f, err := p.ReadFrame()
		switch f := f.(type) {
		case nil:
			if err != nil {
				return nil
			}
		case *h2.SettingsFrame:
			if !f.IsAck() {
				p.WriteSettingsAck()
			}
		case *h2.PingFrame:
			if !f.IsAck() {
				p.WritePing(true, f.Data)
			}
		case *h2.WindowUpdateFrame:
		default:
			return f
		}
	}
}

// request returns the next request's stream; 0 at the connection's end.
func (p *framePeer) request() uint32 {
	for {
		switch f := p.next().(type) {
		case nil:
			return 0
		case *h2.MetaHeadersFrame:
			return f.StreamID
		}
	}
}

// reset reads until a stream was reset, or the connection ends.
func (p *framePeer) reset() {
	for {
		switch p.next().(type) {
		case nil, *h2.RSTStreamFrame:
			return
		}
	}
}

// gone reads until the connection ends, and returns the code of the GOAWAY that came before, -1 if none
// came.
func (p *framePeer) gone() int {
	code := -1
	for {
		switch f := p.next().(type) {
		case nil:
			return code
		case *h2.GoAwayFrame:
			code = int(f.ErrCode)
		}
	}
}

// fields is a header block; each field is "name: value".
func (p *framePeer) fields(list ...string) []byte {
	p.block.Reset()
	for _, field := range list {
		colon := strings.Index(field[min(1, len(field)):], ":") + 1
		p.encoder.WriteField(hpack.HeaderField{Name: field[:colon], Value: strings.TrimPrefix(field[colon+1:], " ")})
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *framePeer) headers(stream uint32, end bool, list ...string) {
	p.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, EndStream: end, EndHeaders: true, BlockFragment: p.fields(list...)})
}

// framed returns the connections to a server of frames.
func framed(t *testing.T, url string, change func(*config.Upstream)) transport.Transport {
	t.Helper()
	cfg := config.DefaultUpstream()
	cfg.Connections.Wait = config.Duration(testkit.Limit)
	if change != nil {
		change(&cfg)
	}
	tr, err := transport.New(url, &cfg, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Retire)
	return tr
}

// asked is an exchange whose request was sent.
type asked struct {
	transport.Stream
	head head.Head
	sent error
}

// request sends a request, with a whole body if it is not empty.
func request(t *testing.T, tr transport.Transport, method, body string) *asked {
	t.Helper()
	s, err := tr.Open(testkit.Limit, transport.AnyVersion)
	if err != nil {
		t.Fatal(err)
	}
	a := &asked{Stream: s}
	var h head.Head
	h.StartRequest(head.HTTP11, []byte(method), []byte("/x"))
	h.Add(head.Host, []byte("a.test"))
	if body != "" {
		h.SetFraming(int64(len(body)))
	}
	s.ReadUntil(time.Now().Add(testkit.Limit))
	_, a.sent = s.Send(&transport.Request{Head: &h, Held: []byte(body)})
	return a
}

// answer reads the response: "status body", or what went wrong.
func (a *asked) answer() (string, error) {
	if a.sent != nil {
		return "", a.sent
	}
	for {
		if _, err := a.ReadHead(&a.head); err != nil {
			return "", err
		}
		if a.head.Status >= 200 {
			break
		}
	}
	body, _ := a.Response(&a.head, false, nil)
	text := fmt.Sprint(a.head.Status, " ")
	for {
		piece, err := body.Next(nil)
		text += string(piece)
		if err == io.EOF {
			return text, nil
		}
		if err != nil {
			return text, err
		}
	}
}

// wants complains unless the answer is that, or the error has that text.
func (a *asked) wants(t *testing.T, what, want string) {
	t.Helper()
	got, err := a.answer()
	if err != nil {
		got = err.Error()
	}
	if !strings.Contains(got, want) {
		t.Errorf("%s: %.200q, want %q", what, got, want)
	}
}

const ok = ":status: 200"

// What servers must not do ends the stream, or the connection, with an error that says so, and
// the next request is served.
func TestH2Misbehaving(t *testing.T) {
	t.Parallel()
	const defect = "malformed HTTP/2 response"
	flood := func(frame func(p *framePeer)) func(*framePeer, uint32) {
		return func(p *framePeer, _ uint32) {
			for range 5000 {
				frame(p)
			}
		}
	}
	cases := []struct {
		name, want string
		// code is that of the GOAWAY that ends the connection, -1 if it goes on.
		code int
		do   func(p *framePeer, id uint32)
	}{
		{"push", "PUSH_PROMISE", int(h2.ErrCodeProtocol), func(p *framePeer, id uint32) {
			p.WritePushPromise(h2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true, BlockFragment: p.fields(":method: GET")})
		}},
		{"headers of no stream", "not begun", int(h2.ErrCodeProtocol), func(p *framePeer, id uint32) { p.headers(id+2, true, ok) }},
		{"headers of an even stream", "not begun", int(h2.ErrCodeProtocol), func(p *framePeer, _ uint32) { p.headers(2, true, ok) }},
		{"data of no stream", "not begun", int(h2.ErrCodeProtocol), func(p *framePeer, id uint32) { p.WriteData(id+2, true, []byte("x")) }},
		{"window of no stream", "not begun", int(h2.ErrCodeProtocol), func(p *framePeer, id uint32) { p.WriteWindowUpdate(id+2, 1) }},
		{"reset of no stream", "not begun", int(h2.ErrCodeProtocol), func(p *framePeer, id uint32) { p.WriteRSTStream(id+2, h2.ErrCodeCancel) }},
		{"data before the head", defect, -1, func(p *framePeer, id uint32) { p.WriteData(id, false, []byte("x")) }},
		{"longer than it says", "Content-Length does not agree", -1, func(p *framePeer, id uint32) {
			p.headers(id, false, ok, "content-length: 2")
			p.WriteData(id, true, []byte("abc"))
		}},
		{"shorter than it says", "Content-Length does not agree", -1, func(p *framePeer, id uint32) {
			p.headers(id, false, ok, "content-length: 4")
			p.WriteData(id, true, []byte("abc"))
		}},
		{"no body though it says so", "Content-Length does not agree", -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "content-length: 4") }},
		{"data beyond the stream's window", defect, -1, func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			for range 20 {
				p.WriteData(id, false, make([]byte, 16<<10))
			}
			p.reset()
		}},
		{"no status", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, "a: b") }},
		{"two statuses", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, ok) }},
		{"a late status", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, "a: b", ok) }},
		{"a bad status", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ":status: 2x0") }},
		{"101", defect, -1, func(p *framePeer, id uint32) { p.headers(id, false, ":status: 101") }},
		{"an interim head at the end", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ":status: 103") }},
		{"another pseudo-field", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, ":path: /") }},
		{"upper case", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "A: b") }},
		{"connection", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "connection: close") }},
		{"transfer-encoding", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "transfer-encoding: chunked") }},
		{"two lines in one", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "a: b\r\nc: d") }},
		{"a name with a space", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "a b: c") }},
		{"two lengths", defect, -1, func(p *framePeer, id uint32) { p.headers(id, true, ok, "content-length: 0", "content-length: 1") }},
		{"trailers that do not end", defect, -1, func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			p.headers(id, false, "a: b")
		}},
		{"a pseudo-field among the trailers", defect, -1, func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			p.headers(id, true, ok)
		}},
		{"headers after the end", "", int(h2.ErrCodeStreamClosed), func(p *framePeer, id uint32) {
			p.headers(id, true, ok)
			p.headers(id, true, ok)
		}},
		{"a large header list", head.DefectHeadSize.Name, -1, func(p *framePeer, id uint32) {
			list := []string{ok}
			for range 100 {
				list = append(list, "x: "+strings.Repeat("y", 1000))
			}
			block := p.fields(list...)
			p.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block[:100], EndStream: true})
			for block = block[100:]; len(block) > 16000; block = block[16000:] {
				p.WriteContinuation(id, false, block[:16000])
			}
			p.WriteContinuation(id, true, block)
		}},
		{"interim heads without end", "", -1, func(p *framePeer, id uint32) {
			for range 10 {
				p.headers(id, false, ":status: 103", "link: "+strings.Repeat("y", 10000))
			}
			p.headers(id, true, ok)
		}},
		{"continuations without end", "too many frames", int(h2.ErrCodeEnhanceYourCalm), func(p *framePeer, id uint32) {
			p.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(ok)})
			for range 100 {
				p.WriteContinuation(id, false, nil)
			}
		}},
		{"another frame among continuations", "", int(h2.ErrCodeProtocol), func(p *framePeer, id uint32) {
			p.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(ok)})
			p.WritePing(false, [8]byte{})
		}},
		{"a broken header block", "malformed header block", int(h2.ErrCodeCompression), func(p *framePeer, id uint32) {
			p.WriteHeaders(h2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: []byte{0xff, 0xff, 0xff}})
		}},
		{"settings without end", "move nothing", int(h2.ErrCodeEnhanceYourCalm), flood(func(p *framePeer) { p.WriteSettings() })},
		{"pings without end", "move nothing", int(h2.ErrCodeEnhanceYourCalm), flood(func(p *framePeer) { p.WritePing(true, [8]byte{}) })},
		{"windows without end", "move nothing", int(h2.ErrCodeEnhanceYourCalm), flood(func(p *framePeer) { p.WriteWindowUpdate(0, 1) })},
		{"unknown frames without end", "move nothing", int(h2.ErrCodeEnhanceYourCalm), flood(func(p *framePeer) { p.WriteRawFrame(0xfa, 0, 0, nil) })},
		{"empty data without end", "move nothing", int(h2.ErrCodeEnhanceYourCalm), func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			for range 5000 {
				p.WriteData(id, false, nil)
			}
		}},
		{"a window that is too large", "window of the connection", int(h2.ErrCodeFlowControl), func(p *framePeer, _ uint32) { p.WriteWindowUpdate(0, 1<<31-1) }},
		{"a stream's window that is too large", defect, -1, func(p *framePeer, id uint32) { p.WriteWindowUpdate(id, 1<<31-1) }},
		{"a window update of nothing", defect, -1, func(p *framePeer, id uint32) { p.WriteWindowUpdate(id, 0) }},
		{"settings that allow pushes", "invalid SETTINGS", int(h2.ErrCodeProtocol), func(p *framePeer, _ uint32) {
			p.WriteSettings(h2.Setting{ID: h2.SettingEnablePush, Val: 1})
		}},
		{"settings that take extended CONNECT back", "invalid SETTINGS", int(h2.ErrCodeProtocol), func(p *framePeer, _ uint32) {
			p.WriteSettings(h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 1})
			p.WriteSettings(h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 0})
		}},
		{"settings that change priorities", "invalid SETTINGS", int(h2.ErrCodeProtocol), func(p *framePeer, _ uint32) {
			p.WriteSettings(h2.Setting{ID: h2.SettingNoRFC7540Priorities, Val: 1})
		}},
		{"a bad setting", "malformed frame", int(h2.ErrCodeFlowControl), func(p *framePeer, _ uint32) {
			p.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"a large frame", "larger than was announced", int(h2.ErrCodeFrameSize), func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			p.WriteData(id, false, make([]byte, 17<<10))
		}},
		{"no frames", "", -2, func(p *framePeer, _ uint32) { p.TrySend(strings.Repeat("x", 100)) }},
		{"a reset", "reset the stream: INTERNAL_ERROR", -1, func(p *framePeer, id uint32) { p.WriteRSTStream(id, h2.ErrCodeInternal) }},
		{"a reset in the body", "reset the stream: NO_ERROR", -1, func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			p.WriteData(id, false, []byte("abc"))
			p.WriteRSTStream(id, h2.ErrCodeNo)
		}},
		{"the end in the body", "EOF", -2, func(p *framePeer, id uint32) {
			p.headers(id, false, ok)
			p.WriteData(id, false, []byte("abc"))
			p.CloseWrite()
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			codes := make(chan int, 10)
			done := make(chan struct{})
			first := true
			var mu sync.Mutex
			tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
				for id := p.request(); id != 0; id = p.request() {
					mu.Lock()
					misbehaves := first
					first = false
					mu.Unlock()
					if !misbehaves {
						p.headers(id, true, ":status: 204")
						continue
					}
					c.do(p, id)
					close(done)
					if c.code != -1 {
						codes <- p.gone()
						return
					}
				}
			}), nil)
			a := request(t, tr, "GET", "")
			<-done // or reading would enlarge the windows
			a.wants(t, "the answer", c.want)
			if c.code >= 0 {
				if got := <-codes; got != c.code {
					t.Errorf("the connection ended by %v, want %v", h2.ErrCode(got), h2.ErrCode(c.code))
				}
			}
			a.Release(false)
			a = request(t, tr, "GET", "")
			got, err := a.answer()
			if err != nil && strings.Contains(err.Error(), "DATA of a stream that was reset") {
				// So late it ends the connection, which had this request by then.
				a.Release(false)
				a = request(t, tr, "GET", "")
				got, err = a.answer()
			}
			if !strings.HasPrefix(got, "204") || err != nil {
				t.Errorf("the next answer: %q, %v", got, err)
			}
			a.Release(true)
		})
	}
}

// What a server does before, or in place of, its SETTINGS makes no connection.
func TestH2NoConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want   string
		script func(c *testkit.Conn)
	}{
		"HTTP/1.1": {"does not speak HTTP/2", func(c *testkit.Conn) {
			c.Take(len(h2.ClientPreface))
			c.Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		}},
		"another frame": {"does not speak HTTP/2", func(c *testkit.Conn) {
			c.Send("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678")
		}},
		"the end": {"EOF", func(c *testkit.Conn) { c.Take(len(h2.ClientPreface)) }},
		"silence": {"no SETTINGS in time", func(c *testkit.Conn) { c.Hold() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := testkit.Listen(t, c.script)
			tr := framed(t, strings.Replace(origin.URL, "http:", "h2c:", 1), func(cfg *config.Upstream) {
				if name == "silence" {
					cfg.Timeouts.TLS = config.Duration(50 * time.Millisecond)
				}
			})
			_, err := tr.Open(testkit.Limit, transport.AnyVersion)
			var de *transport.DialError
			if !errors.As(err, &de) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			testkit.Eventually(t, "no connection is left", func() bool { open, _ := tr.Conns(); return open == 0 })
		})
	}
}

// Requests that the target has not looked at may be sent again, others may not.
func TestH2Refused(t *testing.T) {
	t.Parallel()
	check := func(name string, sent, reused bool, do func(p *framePeer, id uint32)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
				id := p.request()
				p.headers(id, true, ":status: 204")
				if id = p.request(); id != 0 {
					do(p, id)
				}
				p.gone()
			}), nil)
			a := request(t, tr, "GET", "")
			a.wants(t, "the first answer", "204")
			a.Release(true)
			a = request(t, tr, "POST", "x")
			if _, err := a.answer(); err == nil {
				t.Error("it was answered")
			}
			if a.Sent() != sent || a.Reused() != reused {
				t.Errorf("sent is %v, want %v; reused is %v, want %v", a.Sent(), sent, a.Reused(), reused)
			}
			a.Release(false)
		})
	}
	check("refused", false, true, func(p *framePeer, id uint32) { p.WriteRSTStream(id, h2.ErrCodeRefusedStream) })
	check("needs HTTP/1.1", false, true, func(p *framePeer, id uint32) { p.WriteRSTStream(id, h2.ErrCodeHTTP11Required) })
	check("above the last stream", false, true, func(p *framePeer, id uint32) { p.WriteGoAway(id-2, h2.ErrCodeNo, nil) })
	check("the last stream", true, false, func(p *framePeer, id uint32) {
		p.WriteGoAway(id, h2.ErrCodeNo, nil)
		p.CloseWrite()
	})
	check("closed without a word", true, true, func(p *framePeer, _ uint32) { p.CloseWrite() })
	check("reset", true, false, func(p *framePeer, id uint32) { p.WriteRSTStream(id, h2.ErrCodeCancel) })
}

// A target that has refused exchanges after others on the same connection gets no more than those on the next ones,
// until one lasts longer.
func TestH2ConnectionsThatEnd(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		first := conns.Add(1) == 1
		id := p.request()
		if first {
			p.request()
			p.WriteGoAway(id, h2.ErrCodeNo, nil)
		}
		for ; id != 0; id = p.request() {
			p.headers(id, true, ":status: 204")
		}
	}), nil)
	pair := func(want string) {
		t.Helper()
		a, b := request(t, tr, "GET", ""), request(t, tr, "GET", "")
		a.wants(t, "the first answer", "204")
		b.wants(t, "the second answer", want)
		a.Release(true)
		b.Release(true)
	}
	pair("refused")
	pair("204")
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want one that was ended and one for each exchange after it", n)
	}
	pair("204")
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want none beside those that have lasted", n)
	}
}

// All exchanges that wait for a connection learn that it cannot be made, also those that it would not have served.
func TestH2NoConnectionForMany(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Take(len(h2.ClientPreface)) })
	tr := framed(t, strings.Replace(origin.URL, "http:", "h2c:", 1), func(cfg *config.Upstream) {
		cfg.Connections.Max, cfg.Connections.Streams = 1, 1
	})
	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := tr.Open(testkit.Limit, transport.AnyVersion)
			errs <- err
		}()
	}
	for range 20 {
		var de *transport.DialError
		if err := <-errs; !errors.As(err, &de) || de.Phase != "http2" {
			t.Errorf("the error is %v, want how the connection ended", err)
		}
	}
}

// A head that ends the stream, and says that a body follows, is not passed on.
func TestH2LengthWithoutBody(t *testing.T) {
	t.Parallel()
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		p.headers(p.request(), true, ok, "content-length: 4")
		p.gone()
	}), nil)
	a := request(t, tr, "GET", "")
	if _, err := a.ReadHead(&a.head); err == nil || !strings.Contains(err.Error(), "Content-Length does not agree") {
		t.Errorf("the head came, with error %v", err)
	}
	a.Release(false)
}

// No connection gets more exchanges than the target and the settings allow, and those that wait
// are served as others end.
func TestH2Streams(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var mu sync.Mutex
	running, most := map[*framePeer]int{}, 0
	url := listenFrames(t, []h2.Setting{{ID: h2.SettingMaxConcurrentStreams, Val: 3}}, func(p *framePeer) {
		var answers sync.WaitGroup
		var writing sync.Mutex
		for id := p.request(); id != 0; id = p.request() {
			mu.Lock()
			running[p]++
			most = max(most, running[p])
			mu.Unlock()
			answers.Go(func() {
				p.Wait(release)
				mu.Lock()
				running[p]--
				mu.Unlock()
				writing.Lock()
				defer writing.Unlock()
				p.headers(id, true, ":status: 204")
			})
		}
		answers.Wait()
	})
	tr := framed(t, url, func(cfg *config.Upstream) { cfg.Connections.Max = 2 })
	var exchanges sync.WaitGroup
	for range 20 {
		exchanges.Go(func() {
			a := request(t, tr, "GET", "")
			a.wants(t, "the answer", "204")
			a.Release(true)
		})
	}
	testkit.Eventually(t, "six exchanges run", func() bool {
		mu.Lock()
		defer mu.Unlock()
		sum := 0
		for _, n := range running {
			sum += n
		}
		return sum == 6
	})
	if open, _ := tr.Conns(); open != 2 {
		t.Errorf("%d connections, want 2", open)
	}
	close(release)
	exchanges.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most > 3 {
		t.Errorf("%d exchanges on a connection, want 3", most)
	}
}

// A connection that the target ends, on which an exchange goes on for long, keeps no others from another one; but there
// are never more than twice as many as are allowed.
func TestH2Leaving(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := listenFrames(t, nil, func(p *framePeer) {
		id := p.request()
		if id == 0 {
			return
		}
		p.WriteGoAway(id, h2.ErrCodeNo, nil)
		p.headers(id, false, ":status: 200")
		p.Wait(release)
		p.WriteData(id, true, nil)
		p.gone()
	})
	tr := framed(t, url, func(cfg *config.Upstream) { cfg.Connections.Max = 1 })
	begin := func() *asked {
		a := request(t, tr, "GET", "")
		if _, err := a.ReadHead(&a.head); err != nil {
			t.Fatal(err)
		}
		return a
	}
	first, second := begin(), begin()
	if open, _ := tr.Conns(); open != 2 {
		t.Errorf("%d connections, want 2", open)
	}
	if s, err := tr.Open(time.Millisecond, transport.AnyVersion); err == nil {
		s.Release(false)
		t.Error("there is a third connection")
	}
	close(release)
	for _, a := range []*asked{first, second} {
		body, _ := a.Response(&a.head, false, nil)
		if _, err := body.Next(nil); err != io.EOF {
			t.Error(err)
		}
		a.Release(true)
	}
	third := request(t, tr, "GET", "")
	third.wants(t, "the answer after others have ended", "200")
	third.Release(true)
}

// An exchange for which a connection was made that has no room for it waits no longer than one that finds all full.
func TestH2NoRoom(t *testing.T) {
	t.Parallel()
	for _, streams := range []uint32{0, 1} {
		url := listenFrames(t, []h2.Setting{{ID: h2.SettingMaxConcurrentStreams, Val: streams}}, func(p *framePeer) { p.gone() })
		tr := framed(t, url, func(cfg *config.Upstream) {
			cfg.Connections.Max, cfg.Connections.Wait = 1, config.Duration(time.Millisecond)
		})
		ends := make(chan error)
		for range 3 {
			go func() {
				_, err := tr.Open(0, transport.AnyVersion)
				ends <- err
			}()
		}
		open := uint32(0)
		for range 3 {
			select {
			case err := <-ends:
				if err == nil {
					open++
				} else if err != transport.ErrNoConn {
					t.Errorf("the error is %v, want that all connections are full", err)
				}
			case <-time.After(testkit.Limit):
				t.Fatal("an exchange waits for any time")
			}
		}
		if open != streams {
			t.Errorf("%d exchanges have places, want %d", open, streams)
		}
	}
}

// A connection that is silent is asked whether the target is there, and given up if no answer comes;
// one that answers goes on.
func TestH2Ping(t *testing.T) {
	t.Parallel()
	after := func(d time.Duration) func(*config.Upstream) {
		return func(cfg *config.Upstream) { cfg.Connections.Ping = config.Duration(d) }
	}
	t.Run("dead", func(t *testing.T) {
		t.Parallel()
		tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
			p.request()
			p.Hold()
		}), after(20*time.Millisecond))
		a := request(t, tr, "GET", "")
		a.wants(t, "the answer", "no PING in time")
		a.Release(false)
		testkit.Eventually(t, "no connection is left", func() bool { open, _ := tr.Conns(); return open == 0 })
	})
	t.Run("alive", func(t *testing.T) {
		t.Parallel()
		tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
			id := p.request()
			for {
				f, err := p.ReadFrame()
				if err != nil {
					return
				}
				if f, ok := f.(*h2.PingFrame); ok {
					p.WritePing(true, f.Data)
					p.headers(id, true, ":status: 204")
					p.gone()
					return
				}
			}
		}), after(time.Second)) // a busy machine answers late
		a := request(t, tr, "GET", "")
		a.wants(t, "the answer", "204")
		a.Release(true)
	})
}

// A body leaves as far as the target's windows let it, and no frame is larger than is allowed.
func TestH2UploadWindows(t *testing.T) {
	t.Parallel()
	const size = 300 << 10
	tr := framed(t, listenFrames(t, []h2.Setting{{ID: h2.SettingInitialWindowSize, Val: 10}}, func(p *framePeer) {
		id := p.request()
		got, window := 0, 10
		for got < size {
			f, _ := p.next().(*h2.DataFrame)
			if f == nil {
				return
			}
			if got += len(f.Data()); got > window || len(f.Data()) > 16<<10 {
				t.Errorf("%d bytes came of %d that were allowed, the last %d at once", got, window, len(f.Data()))
			}
			if got < window || got == size {
				continue
			}
			switch {
			case got == 10: // by the settings
				window = 1000
				p.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1000})
			default:
				n := min(size-window, 40000)
				window += n
				p.WriteWindowUpdate(id, uint32(n))
				p.WriteWindowUpdate(0, uint32(n))
			}
		}
		p.headers(id, true, ":status: 204")
		p.gone()
	}), nil)
	a := request(t, tr, "POST", strings.Repeat("x", size))
	a.wants(t, "the answer", "204")
	a.Release(true)
}

// A target may update both windows as often as Go's server does: for each 4 KiB of a body.
func TestH2ManyWindowUpdates(t *testing.T) {
	t.Parallel()
	const size, each = 8 << 20, 4 << 10
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		id := p.request()
		for got, told := 0, 0; got < size; {
			f, _ := p.next().(*h2.DataFrame)
			if f == nil {
				return
			}
			for got += len(f.Data()); told+each <= got; told += each {
				p.WriteWindowUpdate(0, each)
				p.WriteWindowUpdate(id, each)
			}
		}
		p.headers(id, true, ":status: 204")
		p.gone()
	}), nil)
	a := request(t, tr, "POST", strings.Repeat("x", size))
	a.wants(t, "the answer", "204")
	a.Release(true)
}

// What is at hand of a body goes before the rest and the trailer section, also if the windows let it leave late.
func TestH2UploadGoesOn(t *testing.T) {
	t.Parallel()
	held, rest := strings.Repeat("held", 10), strings.Repeat("rest", 10)
	got := make(chan string, 1)
	tr := framed(t, listenFrames(t, []h2.Setting{{ID: h2.SettingInitialWindowSize, Val: 10}}, func(p *framePeer) {
		for id := p.request(); id != 0; id = p.request() {
			text := ""
			for ended := false; !ended; {
				switch f := p.next().(type) {
				case nil:
					return
				case *h2.DataFrame:
					text, ended = text+string(f.Data()), f.StreamEnded()
					p.WriteWindowUpdate(id, uint32(max(1, len(f.Data()))))
				case *h2.MetaHeadersFrame:
					text, ended = text+"|"+f.Fields[0].Value, true
				}
			}
			got <- text
			p.headers(id, true, ":status: 204")
		}
	}), nil)
	check := func(what string, length int64, rest string, trailer *head.Head, want string) {
		t.Helper()
		s, err := tr.Open(testkit.Limit, transport.AnyVersion)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Release(true)
		var h head.Head
		h.StartRequest(head.HTTP11, []byte("PUT"), []byte("/"))
		h.Add(head.Host, []byte("a.test"))
		h.SetFraming(length)
		if _, err := s.Send(&transport.Request{Head: &h, Held: []byte(held), Chunked: length < 0, More: true}); err != nil {
			t.Fatal(err)
		}
		w := s.BodyWriter(length < 0, testkit.Limit)
		err = w.Write([]byte(rest))
		if err == nil && length < 0 {
			err = w.Finish(trailer)
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-got:
			if text != want {
				t.Errorf("%s: the target got %q, want %q", what, text, want)
			}
		case <-time.After(testkit.Limit):
			t.Errorf("%s: the target got no whole body", what)
		}
	}
	var trailer head.Head
	trailer.Add(head.NewName("x-sum"), []byte("1"))
	check("by length", int64(len(held+rest)), rest, nil, held+rest)
	check("of unknown length", head.LengthChunked, rest, nil, held+rest)
	check("with a trailer section", head.LengthChunked, rest, &trailer, held+rest+"|1")
	check("nothing but a trailer section", head.LengthChunked, "", &trailer, held+"|1")
}

// A target that makes its HPACK table smaller while a body is sent is told before the trailer section that the
// table is (RFC 7541 section 4.2).
func TestH2TrailerAfterTableSize(t *testing.T) {
	t.Parallel()
	smaller, block := make(chan struct{}), make(chan []byte, 1)
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		p.ReadMetaHeaders = nil
		for acks := 0; ; {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *h2.SettingsFrame:
				if !f.IsAck() {
					continue
				}
				if acks++; acks == 2 { // of the first SETTINGS, and of those below
					close(smaller)
				}
			case *h2.HeadersFrame:
				if f.StreamEnded() {
					block <- bytes.Clone(f.HeaderBlockFragment())
					p.headers(f.StreamID, true, ":status: 204")
					continue
				}
				p.WriteSettings(h2.Setting{ID: h2.SettingHeaderTableSize, Val: 0})
			}
		}
	}), nil)
	s, err := tr.Open(testkit.Limit, transport.AnyVersion)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release(true)
	var h, trailer head.Head
	h.StartRequest(head.HTTP11, []byte("PUT"), []byte("/"))
	h.Add(head.Host, []byte("a.test"))
	h.SetFraming(head.LengthChunked)
	trailer.Add(head.NewName("x-sum"), []byte("1"))
	if _, err := s.Send(&transport.Request{Head: &h, Held: []byte("a"), Chunked: true, More: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-smaller:
	case <-time.After(testkit.Limit):
		t.Fatal("the target's SETTINGS are not acknowledged")
	}
	if err := s.BodyWriter(true, testkit.Limit).Finish(&trailer); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-block:
		if want := "\x20\x20\x00\x05x-sum\x011"; string(got) != want {
			t.Errorf("the trailer section is %q, want %q", got, want)
		}
	case <-time.After(testkit.Limit):
		t.Error("the target got no trailer section")
	}
}

// What arrives and is not wanted is bounded, stalls no other stream, and all of it is there when it
// is wanted.
func TestH2ResponseWindows(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	var sent sync.Map // stream: bytes
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		windows := map[uint32]int{}
		all := 64<<10 - 1
		left := map[uint32]int{}
		write := func() {
			for id := range left {
				for left[id] > 0 && windows[id] > 0 && all > 0 {
					n := min(left[id], windows[id], all, 16<<10)
					left[id] -= n
					windows[id] -= n
					all -= n
					sent.Store(id, size-left[id])
					p.WriteData(id, left[id] == 0, make([]byte, n))
				}
			}
		}
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *h2.MetaHeadersFrame:
				windows[f.StreamID], left[f.StreamID] = 64<<10, size
				p.headers(f.StreamID, false, ok)
			case *h2.WindowUpdateFrame:
				if f.StreamID == 0 {
					all += int(f.Increment)
				} else {
					windows[f.StreamID] += int(f.Increment)
				}
			}
			write()
		}
	}), nil)
	still := request(t, tr, "GET", "")
	for range 3 {
		a := request(t, tr, "GET", "")
		text, err := a.answer()
		if err != nil || len(text) != size+4 {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		a.Release(true)
	}
	if n, _ := sent.Load(uint32(1)); n.(int) > 64<<10 {
		t.Errorf("%d bytes came that no one wanted", n)
	}
	if text, err := still.answer(); err != nil || len(text) != size+4 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	still.Release(true)
}

// Padding takes room in the windows as data does, and is taken at once, also where no byte of data comes between.
func TestH2Padding(t *testing.T) {
	t.Parallel()
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		id := p.request()
		p.headers(id, false, ok)
		for range 900 {
			p.WriteDataPadded(id, false, nil, make([]byte, 255))
		}
		p.WriteData(id, true, []byte("end"))
		p.gone()
	}), nil)
	a := request(t, tr, "GET", "")
	a.wants(t, "the answer", "200 end")
	a.Release(true)
}

// A stream that is given back before its end is reset, and what still comes of it harms no other.
func TestH2Cancel(t *testing.T) {
	t.Parallel()
	reset := make(chan h2.ErrCode, 1)
	tr := framed(t, listenFrames(t, nil, func(p *framePeer) {
		first := p.request()
		p.headers(first, false, ok)
		for {
			switch f := p.next().(type) {
			case nil:
				return
			case *h2.RSTStreamFrame:
				reset <- f.ErrCode
				p.WriteData(first, false, make([]byte, 16<<10)) // was on its way
				p.headers(first, true, "x: y")
			case *h2.MetaHeadersFrame:
				p.headers(f.StreamID, true, ":status: 204")
			}
		}
	}), nil)
	a := request(t, tr, "GET", "")
	if _, err := a.ReadHead(&a.head); err != nil {
		t.Fatal(err)
	}
	a.Release(false)
	if code := <-reset; code != h2.ErrCodeCancel {
		t.Errorf("the reset's code is %v", code)
	}
	a = request(t, tr, "GET", "")
	a.wants(t, "the next answer", "204")
	a.Release(true)
	if open, _ := tr.Conns(); open != 1 {
		t.Errorf("%d connections, want 1", open)
	}
}

// Interruptions and limits end waits, as those of a connection do.
func TestH2Interruptions(t *testing.T) {
	t.Parallel()
	tr := framed(t, listenFrames(t, []h2.Setting{{ID: h2.SettingInitialWindowSize, Val: 0}}, func(p *framePeer) { p.gone() }), nil)
	timedOut := func(what string, err error) {
		t.Helper()
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v, want a time-out", what, err)
		}
	}
	a := request(t, tr, "GET", "")
	a.LimitRead(time.Now(), time.Millisecond)
	timedOut("a limit", a.Await())
	a.ReadUntil(time.Time{})
	time.AfterFunc(time.Millisecond, a.Interrupt)
	timedOut("an interruption", a.Await())
	a.Release(false)

	s, err := tr.Open(testkit.Limit, transport.AnyVersion)
	if err != nil {
		t.Fatal(err)
	}
	var h head.Head
	h.StartRequest(head.HTTP11, []byte("POST"), []byte("/"))
	h.Add(head.Host, []byte("a.test"))
	if _, err := s.Send(&transport.Request{Head: &h, Chunked: true, More: true}); err != nil {
		t.Fatal(err)
	}
	timedOut("a write without a window", s.BodyWriter(true, time.Millisecond).Write([]byte("x")))
	s.Release(false)
}
