package proxy_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
)

// The frames of HTTP/2 that the sketch of a front end and its clients use (RFC 9113 section
// 6). Header blocks are of one kind only: literal fields without indexing and without Huffman coding
// (RFC 7541 section 6.2.2), in one frame.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameWindowUpdate = 0x8

	flagEndStream  = 0x1
	flagEndHeaders = 0x4

	// window is how much of a body may be sent before the other side asks for more. Those of
	// connections are left out.
	window = 64<<10 - 1
)

// The error codes of RST_STREAM (RFC 9113 section 7).
const (
	codeNone     = 0x0
	codeProtocol = 0x1
	codeInternal = 0x2
	codeCancel   = 0x8
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func (f *frame) ends() bool { return f.flags&flagEndStream != 0 }

func writeFrame(w io.Writer, f frame) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(f.payload))<<8|uint32(f.kind))
	b = binary.BigEndian.AppendUint32(append(b, f.flags), f.stream)
	_, err := w.Write(append(b, f.payload...))
	return err
}

func readFrame(r io.Reader) (f frame, err error) {
	var b [9]byte
	if _, err = io.ReadFull(r, b[:]); err != nil {
		return f, err
	}
	f = frame{kind: b[3], flags: b[4], stream: binary.BigEndian.Uint32(b[5:])}
	f.payload = make([]byte, binary.BigEndian.Uint32(b[:])>>8)
	_, err = io.ReadFull(r, f.payload)
	return f, err
}

// field is a field, or a pseudo-field, of a header block.
type field struct{ name, value string }

func appendField(b []byte, name, value string) []byte {
	b = append(b, 0)
	for _, text := range [...]string{name, value} {
		if n := len(text); n < 127 {
			b = append(b, byte(n))
		} else {
			b = binary.AppendUvarint(append(b, 127), uint64(n-127)) // the same form as in HPACK
		}
		b = append(b, text...)
	}
	return b
}

var errBlock = errors.New("a header block of another kind")

func parseFields(b []byte) (fields []field, err error) {
	text := func() string {
		if len(b) == 0 || b[0] > 127 {
			err = errBlock
			return ""
		}
		n := int(b[0])
		b = b[1:]
		if n == 127 {
			more, size := binary.Uvarint(b)
			n += int(more)
			b = b[max(size, 0):]
		}
		if n > len(b) {
			err = errBlock
			return ""
		}
		t := string(b[:n])
		b = b[n:]
		return t
	}
	for len(b) > 0 && err == nil {
		if b[0] != 0 {
			return nil, errBlock
		}
		b = b[1:]
		fields = append(fields, field{text(), text()})
	}
	return fields, err
}

// h2client is a client of the sketch.
type h2client struct {
	t  testing.TB
	nc net.Conn

	writing sync.Mutex
	mu      sync.Mutex
	answers map[uint32]*h2answer
}

// h2answer is what a client got on a stream.
type h2answer struct {
	informs []string // heads as text, a field a line
	head    string
	body    string
	trailer string
	ended   bool
	reset   int // an error code; -1: none
}

func newH2Client(t testing.TB, nc net.Conn) *h2client {
	c := &h2client{t: t, nc: nc, answers: map[uint32]*h2answer{}}
	read := make(chan struct{})
	t.Cleanup(func() { nc.Close(); <-read })
	go func() {
		defer close(read)
		for {
			f, err := readFrame(nc)
			if err != nil {
				return
			}
			c.take(f)
		}
	}()
	return c
}

func (c *h2client) take(f frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.answers[f.stream]
	if a == nil {
		c.t.Errorf("a frame on stream %d, which was not begun", f.stream)
		return
	}
	if a.ended && f.kind != frameReset && f.kind != frameWindowUpdate {
		c.t.Errorf("a frame of kind %d on stream %d, which has ended", f.kind, f.stream)
	}
	switch f.kind {
	case frameData:
		a.body += string(f.payload)
	case frameHeaders:
		fields, err := parseFields(f.payload)
		if err != nil {
			c.t.Error(err)
		}
		var text strings.Builder
		for _, field := range fields {
			if field.name != strings.ToLower(field.name) {
				c.t.Errorf("field %q", field.name)
			}
			text.WriteString(field.name + ": " + field.value + "\n")
		}
		switch {
		case a.head != "":
			a.trailer = text.String()
		case strings.HasPrefix(text.String(), ":status: 1"):
			a.informs = append(a.informs, text.String())
		default:
			a.head = text.String()
		}
	case frameReset:
		a.reset = int(binary.BigEndian.Uint32(f.payload))
	}
	a.ended = a.ended || f.kind <= frameHeaders && f.ends()
}

func (c *h2client) write(f frame) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := writeFrame(c.nc, f); err != nil {
		c.t.Errorf("the client cannot write: %v", err)
	}
}

// open begins a stream; lines are "name: value", pseudo-fields included.
func (c *h2client) open(stream uint32, end bool, lines ...string) {
	c.mu.Lock()
	c.answers[stream] = &h2answer{reset: -1}
	c.mu.Unlock()
	c.headers(stream, end, lines...)
}

// headers sends a header block.
func (c *h2client) headers(stream uint32, end bool, lines ...string) {
	f := frame{kind: frameHeaders, flags: flagEndHeaders, stream: stream}
	for _, line := range lines {
		at := 1 + strings.Index(line[1:], ": ")
		f.payload = appendField(f.payload, line[:at], line[at+2:])
	}
	if end {
		f.flags |= flagEndStream
	}
	c.write(f)
}

// get begins and ends a stream.
func (c *h2client) get(stream uint32, path string, lines ...string) {
	c.open(stream, true, append([]string{":method: GET", ":scheme: https", ":authority: weir.test", ":path: " + path}, lines...)...)
}

// post begins a stream that data follows.
func (c *h2client) post(stream uint32, path string, lines ...string) {
	c.open(stream, false, append([]string{":method: POST", ":scheme: https", ":authority: weir.test", ":path: " + path}, lines...)...)
}

func (c *h2client) data(stream uint32, end bool, text string) {
	f := frame{kind: frameData, stream: stream, payload: []byte(text)}
	if end {
		f.flags = flagEndStream
	}
	c.write(f)
}

func (c *h2client) reset(stream uint32) {
	c.write(frame{kind: frameReset, stream: stream, payload: binary.BigEndian.AppendUint32(nil, codeCancel)})
}

func (c *h2client) grant(stream uint32, n uint32) {
	c.write(frame{kind: frameWindowUpdate, stream: stream, payload: binary.BigEndian.AppendUint32(nil, n)})
}

// until waits until what came on a stream is as ok wants it, and returns that.
func (c *h2client) until(stream uint32, what string, ok func(a *h2answer) bool) h2answer {
	c.t.Helper()
	var got h2answer
	testkit.Eventually(c.t, what, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		got = *c.answers[stream]
		return ok(&got)
	})
	return got
}

// whole waits for the end of an answer.
func (c *h2client) whole(stream uint32) h2answer {
	c.t.Helper()
	return c.until(stream, "an answer ends", func(a *h2answer) bool { return a.ended || a.reset >= 0 })
}
