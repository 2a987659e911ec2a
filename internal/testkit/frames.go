package testkit

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Frames is a client of HTTP/2 that sends the frames that a test says. A goroutine reads what comes
// back; unless Still is set it lets every body go on. The methods that send may be called from
// any goroutine, one at a time, and do not fail: a test sees by what comes back whether the
// connection has ended.
type Frames struct {
	net.Conn
	// Framer writes frames, such as those that have no method of their own.
	Framer *h2.Framer

	t       testing.TB
	block   bytes.Buffer
	encoder *hpack.Encoder

	mu       sync.Mutex
	changed  *sync.Cond
	writing  sync.Mutex
	answers  map[uint32]*Answered
	goAways  []*GoAway
	settings map[h2.SettingID]uint32
	pings    int
	acks     int
	still    bool
	deaf     bool
	quiet    bool
	// unanswered are the pings that came while the client was quiet.
	unanswered [][8]byte
	closed     chan struct{}
	end        error
}

// Answered is what has come of an answer.
type Answered struct {
	// Informs and Head are header lists, as lines of "name: value". Interim responses have a
	// status below 200.
	Informs []string
	Head    string
	Body    string
	Trailer string
	// Reset is the code of a RST_STREAM, -1 if there was none. Ended says that the answer is
	// whole.
	Reset int
	Ended bool
	body  *strings.Builder
}

// GoAway is a GOAWAY frame.
type GoAway struct {
	Last uint32
	Code h2.ErrCode
	Text string
}

// Status is the status of the answer as text; empty if there is none.
func (a Answered) Status() string {
	status, _, _ := strings.Cut(strings.TrimPrefix(a.Head, ":status: "), "\n")
	return status
}

// Field is the value of the first field of a name; empty without such a field.
func (a Answered) Field(name string) string {
	_, rest, _ := strings.Cut("\n"+a.Head, "\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// DialFrames connects by TLS and ALPN, or, with a nil configuration, by prior knowledge without TLS.
func DialFrames(t testing.TB, addr net.Addr, cfg *tls.Config, settings ...h2.Setting) *Frames {
	t.Helper()
	f := DialSilent(t, addr, cfg)
	f.Conn.Write([]byte(h2.ClientPreface))
	f.Framer.WriteSettings(settings...)
	f.Framer.WriteSettingsAck()
	return f
}

// DialSilent is DialFrames, but sends nothing.
func DialSilent(t testing.TB, addr net.Addr, cfg *tls.Config) *Frames {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		cfg = cfg.Clone()
		cfg.NextProtos = []string{"h2"}
		secure := tls.Client(c, cfg)
		if err := secure.Handshake(); err != nil {
			c.Close()
			t.Fatal(err)
		}
		if p := secure.ConnectionState().NegotiatedProtocol; p != "h2" {
			t.Fatalf("ALPN has chosen %q", p)
		}
		c = secure
	}
	f := &Frames{Conn: c, t: t, answers: make(map[uint32]*Answered), settings: make(map[h2.SettingID]uint32), closed: make(chan struct{})}
	f.changed = sync.NewCond(&f.mu)
	f.Framer = h2.NewFramer(c, c)
	f.Framer.AllowIllegalWrites = true
	f.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.encoder = hpack.NewEncoder(&f.block)
	read := make(chan struct{})
	go func() {
		defer close(read)
		f.read()
	}()
	t.Cleanup(func() {
		close(f.closed)
		c.Close()
		<-read
	})
	return f
}

// Still makes the client update no windows, or begin to do so again.
func (f *Frames) Still(still bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.still = still
}

// Quiet makes the client answer no ping, or answer those that came meanwhile.
func (f *Frames) Quiet(quiet bool) {
	f.mu.Lock()
	f.quiet = quiet
	late := f.unanswered
	f.unanswered = nil
	f.mu.Unlock()
	for _, data := range late {
		f.locked(func() { f.Framer.WritePing(true, data) })
	}
}

// Deaf makes the client read nothing more until the test ends, but for what it reads at the moment.
func (f *Frames) Deaf() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deaf = true
}

func (f *Frames) read() {
	for {
		f.mu.Lock()
		deaf := f.deaf
		f.mu.Unlock()
		if deaf {
			<-f.closed
		}
		frame, err := f.Framer.ReadFrame()
		f.mu.Lock()
		if err != nil {
			f.end = err
			f.changed.Broadcast()
			f.mu.Unlock()
			return
		}
		grant := f.took(frame)
		f.changed.Broadcast()
		f.mu.Unlock()
		if grant > 0 {
			f.locked(func() {
				f.Framer.WriteWindowUpdate(0, uint32(grant))
				f.Framer.WriteWindowUpdate(frame.Header().StreamID, uint32(grant))
			})
		}
	}
}

func (f *Frames) locked(do func()) {
	f.writing.Lock()
	defer f.writing.Unlock()
	do()
}

// took notes a frame, and returns by how much windows are to grow.
func (f *Frames) took(frame h2.Frame) (grant int) {
	id := frame.Header().StreamID
	a := f.answers[id]
	if a == nil && id != 0 {
		a = &Answered{Reset: -1, body: new(strings.Builder)}
		f.answers[id] = a
	}
	switch frame := frame.(type) {
	case *h2.MetaHeadersFrame:
		list := ""
		for _, field := range frame.Fields {
			list += field.Name + ": " + field.Value + "\n"
		}
		switch {
		case strings.HasPrefix(list, ":status: 1"):
			a.Informs = append(a.Informs, list)
		case a.Head == "":
			a.Head = list
		default:
			a.Trailer = list
		}
		a.Ended = a.Ended || frame.StreamEnded()
	case *h2.DataFrame:
		a.body.Write(frame.Data())
		a.Body = a.body.String()
		a.Ended = a.Ended || frame.StreamEnded()
		if !f.still {
			grant = len(frame.Data())
		}
	case *h2.RSTStreamFrame:
		a.Reset = int(frame.ErrCode)
	case *h2.GoAwayFrame:
		f.goAways = append(f.goAways, &GoAway{frame.LastStreamID, frame.ErrCode, string(frame.DebugData())})
	case *h2.SettingsFrame:
		if frame.IsAck() {
			f.acks++
		}
		frame.ForeachSetting(func(s h2.Setting) error {
			f.settings[s.ID] = s.Val
			return nil
		})
	case *h2.PingFrame:
		if frame.IsAck() {
			f.pings++
		} else if f.quiet {
			f.unanswered = append(f.unanswered, frame.Data)
		} else {
			go f.locked(func() { f.Framer.WritePing(true, frame.Data) })
		}
	}
	return grant
}

// Block returns the header block of fields, each "name: value".
func (f *Frames) Block(fields ...string) []byte {
	f.block.Reset()
	for _, field := range fields {
		colon := strings.Index(field[min(1, len(field)):], ":") + 1
		f.encoder.WriteField(hpack.HeaderField{Name: field[:colon], Value: strings.TrimPrefix(field[colon+1:], " ")})
	}
	return bytes.Clone(f.block.Bytes())
}

// Headers sends a header list in one frame.
func (f *Frames) Headers(stream uint32, end bool, fields ...string) {
	f.locked(func() {
		f.Framer.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, EndStream: end, EndHeaders: true, BlockFragment: f.Block(fields...)})
	})
}

// Get sends a GET request.
func (f *Frames) Get(stream uint32, path string, more ...string) {
	f.ask(stream, true, "GET", path, more)
}

// Post sends the head of a POST request.
func (f *Frames) Post(stream uint32, path string, more ...string) {
	f.ask(stream, false, "POST", path, more)
}

func (f *Frames) ask(stream uint32, end bool, method, path string, more []string) {
	scheme := "http"
	if _, ok := f.Conn.(*tls.Conn); ok {
		scheme = "https"
	}
	f.Headers(stream, end, append([]string{":method: " + method, ":scheme: " + scheme, ":authority: weir.test", ":path: " + path}, more...)...)
}

// Data sends a part of a body.
func (f *Frames) Data(stream uint32, end bool, text string) {
	f.locked(func() { f.Framer.WriteData(stream, end, []byte(text)) })
}

// Reset resets a stream.
func (f *Frames) Reset(stream uint32, code h2.ErrCode) {
	f.locked(func() { f.Framer.WriteRSTStream(stream, code) })
}

// Grant lets a body and all bodies go on by n bytes.
func (f *Frames) Grant(stream uint32, n int) {
	f.locked(func() {
		f.Framer.WriteWindowUpdate(0, uint32(n))
		f.Framer.WriteWindowUpdate(stream, uint32(n))
	})
}

// Write sends bytes that were made before.
func (f *Frames) Write(p []byte) (n int, err error) {
	f.locked(func() { n, err = f.Conn.Write(p) })
	return n, err
}

// Settings asks for the client's own settings and waits until they are in force.
func (f *Frames) Settings(settings ...h2.Setting) {
	f.t.Helper()
	f.mu.Lock()
	before := f.acks
	f.mu.Unlock()
	f.locked(func() { f.Framer.WriteSettings(settings...) })
	f.wait("the settings are acknowledged", func() bool { return f.acks > before })
}

// Ping waits until all that was sent before has been dealt with.
func (f *Frames) Ping() {
	f.t.Helper()
	f.mu.Lock()
	before := f.pings
	f.mu.Unlock()
	f.locked(func() { f.Framer.WritePing(false, [8]byte{}) })
	f.wait("the ping is answered", func() bool { return f.pings > before })
}

// wait waits until ok, which is called with f.mu held.
func (f *Frames) wait(what string, ok func() bool) {
	f.t.Helper()
	late := time.AfterFunc(Limit, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.end = fmt.Errorf("nothing for %v", Limit)
		f.changed.Broadcast()
	})
	defer late.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !ok() {
		if f.end != nil {
			f.t.Fatalf("in vain waited until %s: %v, GOAWAY %v", what, f.end, f.goAwayTexts())
		}
		f.changed.Wait()
	}
}

func (f *Frames) goAwayTexts() (list []string) {
	for _, g := range f.goAways {
		list = append(list, fmt.Sprintf("%d %v %q", g.Last, g.Code, g.Text))
	}
	return list
}

// Until waits until ok says that enough of an answer has come, and returns what has.
func (f *Frames) Until(stream uint32, what string, ok func(a *Answered) bool) Answered {
	f.t.Helper()
	var got Answered
	f.wait(fmt.Sprintf("on stream %d %s", stream, what), func() bool {
		a := f.answers[stream]
		if a == nil || !ok(a) {
			return false
		}
		got = *a
		return true
	})
	return got
}

// Whole waits until an answer is whole, or reset.
func (f *Frames) Whole(stream uint32) Answered {
	f.t.Helper()
	return f.Until(stream, "the answer ends", func(a *Answered) bool { return a.Ended || a.Reset >= 0 })
}

// Setting is what the server has asked for; it waits for its settings.
func (f *Frames) Setting(id h2.SettingID) uint32 {
	f.t.Helper()
	f.wait("the settings come", func() bool { return len(f.settings) > 0 })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settings[id]
}

// Left waits for a GOAWAY frame with this code.
func (f *Frames) Left(code h2.ErrCode) *GoAway {
	f.t.Helper()
	var found *GoAway
	f.wait(fmt.Sprintf("a GOAWAY of %v comes", code), func() bool {
		for _, g := range f.goAways {
			if g.Code == code {
				found = g
			}
		}
		return found != nil
	})
	return found
}

// GoAways waits until the connection has ended, and returns the GOAWAY frames.
func (f *Frames) GoAways() []*GoAway {
	f.t.Helper()
	f.wait("the connection ends", func() bool { return f.end != nil })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.goAways
}
