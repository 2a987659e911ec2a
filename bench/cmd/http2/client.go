package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/bench"
)

// client sends the frames that it is told to. A goroutine reads what comes back.
type client struct {
	*tls.Conn
	frames  *h2.Framer
	out     bytes.Buffer // frames that were not sent yet
	encoder *hpack.Encoder
	block   bytes.Buffer

	// deaf makes it read nothing, still makes it open no windows.
	deaf, still bool
	// resets are the requests that it has taken back, or made weir reset.
	resets int
	ended  chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when something came
	// bytes are those of bodies by stream; whole are the streams that have ended.
	bytes map[uint32]int
	whole map[uint32]bool
	code  h2.ErrCode // of the last GOAWAY
	left  bool       // a GOAWAY came
}

// dial connects and sends the preface with settings.
func (p *proxy) dial(deaf, still bool, settings ...h2.Setting) (*client, error) {
	c, err := p.dialSilent(deaf, still)
	if err != nil {
		return nil, err
	}
	c.out.WriteString(h2.ClientPreface)
	c.frames.WriteSettings(settings...)
	c.frames.WriteSettingsAck()
	return c, c.send()
}

// dialSilent connects and says nothing.
func (p *proxy) dialSilent(deaf, still bool) (*client, error) {
	conn, err := tls.Dial("tcp", p.address, p.secure)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, deaf: deaf, still: still, ended: make(chan struct{}), changed: make(chan struct{}), bytes: make(map[uint32]int), whole: make(map[uint32]bool)}
	if deaf {
		conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	c.frames = h2.NewFramer(&c.out, conn)
	c.frames.AllowIllegalWrites = true
	c.frames.SetMaxReadFrameSize(1 << 20)
	c.encoder = hpack.NewEncoder(&c.block)
	go c.read()
	return c, nil
}

func (c *client) read() {
	if c.deaf {
		return
	}
	defer close(c.ended)
	for {
		f, err := c.frames.ReadFrame()
		if err != nil && !errors.As(err, new(h2.StreamError)) {
			return
		}
		c.mu.Lock()
		stream, grant := uint32(0), 0
		switch f := f.(type) {
		case *h2.DataFrame:
			stream, grant = f.StreamID, int(f.Length)
			c.bytes[stream] += len(f.Data())
			c.whole[stream] = f.StreamEnded()
		case *h2.HeadersFrame:
			c.whole[f.StreamID] = f.StreamEnded()
		case *h2.RSTStreamFrame:
			c.whole[f.StreamID] = true
		case *h2.GoAwayFrame:
			c.code, c.left = f.ErrCode, true
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if grant > 0 && !c.still {
			var b bytes.Buffer
			f := h2.NewFramer(&b, nil)
			f.WriteWindowUpdate(0, uint32(grant))
			f.WriteWindowUpdate(stream, uint32(grant))
			c.Conn.Write(b.Bytes())
		}
	}
}

// send sends the frames that were written. It takes some seconds at most.
func (c *client) send() error {
	c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Conn.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// list encodes a header list of name and value in turn.
func (c *client) list(fields ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(c.block.Bytes())
}

// toReset is the path of requests that are taken back at once.
const toReset = "/reset"

// request writes a request.
func (c *client) request(stream uint32, method, path string, end bool, more ...string) {
	if path == toReset {
		c.resets++
	}
	fields := append([]string{":method", method, ":scheme", "https", ":authority", bench.CertificateName, ":path", path}, more...)
	c.headers(stream, end, c.list(fields...))
}

func (c *client) headers(stream uint32, end bool, block []byte) {
	c.frames.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, EndStream: end, EndHeaders: true, BlockFragment: block})
}

// await waits until done, which is called under the client's lock, says so, or the connection has ended.
func (c *client) await(ctx context.Context, limit time.Duration, done func() bool) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		c.mu.Lock()
		ok, changed := done(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-c.ended:
			return net.ErrClosed
		case <-timer.C:
			return os.ErrDeadlineExceeded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
