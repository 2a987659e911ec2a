package frames

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"

	h2 "golang.org/x/net/http2"

	"weir/internal/sock"
)

const (
	// MaxFrame is the largest payload of a frame, in both directions: the smallest that RFC 9113
	// allows to announce, so that no stream waits long behind another.
	MaxFrame = 16 << 10
	// HeaderSize is the size of a frame's header.
	HeaderSize = 9
	// InitialWindow is every window before anything was said about it (RFC 9113 section 6.9.2).
	InitialWindow = 64<<10 - 1
	// HeaderTable is the size of the dynamic tables of header compression.
	HeaderTable = 4 << 10
)

// Reader reads frames. It borrows the buffer of each, which is valid until the next is read.
type Reader struct {
	*h2.Framer
	src io.Reader
}

// Read implements io.Reader, for the Framer.
func (r *Reader) Read(p []byte) (int, error) { return r.src.Read(p) }

// readers pools Readers, because each has a buffer of its own.
var readers = sync.Pool{New: func() any {
	r := new(Reader)
	r.Framer = h2.NewFramer(nil, r)
	r.SetReuseFrames()
	r.SetMaxReadFrameSize(MaxFrame)
	return r
}}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	r := readers.Get().(*Reader)
	r.src = src
	return r
}

// From makes src what r reads from.
func (r *Reader) From(src io.Reader) { r.src = src }

// Release gives r back. It is for connections that wait between two frames.
func (r *Reader) Release() {
	r.src = nil
	readers.Put(r)
}

// Here says whether br, which may be nil, holds a whole frame, or the beginning of one that is
// too large.
func Here(br *bufio.Reader) bool {
	if br == nil || br.Buffered() < HeaderSize {
		return false
	}
	b, _ := br.Peek(HeaderSize)
	size := sizeIn(b)
	return br.Buffered() >= HeaderSize+size || size > MaxFrame
}

// sizeIn is the size of the payload that a frame's header says.
func sizeIn(header []byte) int { return int(header[0])<<16 | int(header[1])<<8 | int(header[2]) }

// Headers is what a HEADERS frame says.
type Headers struct {
	Stream uint32
	Flags  h2.Flags
	// DependsOnItself says that the stream's priority is malformed (RFC 7540 section 5.3.1).
	DependsOnItself bool
	// Block is the header block, or its first fragment. It is valid until the next frame is read.
	Block []byte
}

// HeadersOf returns what f says.
func HeadersOf(f *h2.HeadersFrame) Headers {
	return Headers{f.StreamID, f.Flags, f.HasPriority() && f.Priority.StreamDep == f.StreamID, f.HeaderBlockFragment()}
}

// PlainHeaders reads the first frame of br, which must be Here, if it is a HEADERS frame with a whole block and nothing else, as
// most are, and as it may come where no CONTINUATION is to come. The Framer would make an object of each. All other frames are left to it.
func PlainHeaders(br *bufio.Reader) (h Headers, ok bool) {
	b, _ := br.Peek(HeaderSize)
	size := sizeIn(b)
	h.Stream, h.Flags = binary.BigEndian.Uint32(b[5:])&(1<<31-1), h2.Flags(b[4])
	if h2.FrameType(b[3]) != h2.FrameHeaders || h.Flags&^h2.FlagHeadersEndStream != h2.FlagHeadersEndHeaders || h.Stream == 0 || size > MaxFrame {
		return h, false
	}
	b, _ = br.Peek(HeaderSize + size)
	br.Discard(len(b))
	h.Block = b[HeaderSize:]
	return h, true
}

// Inputs pools the buffers that frames are read into, each with room for one of MaxFrame bytes
// and its header.
var Inputs = sock.NewBuffers(32 << 10)
