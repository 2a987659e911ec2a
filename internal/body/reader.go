package body

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"weir/internal/head"
	"weir/internal/sock"
)

// ErrTruncated says that a body ended before its framing said so. A message
// that ends like this must not look complete to its receiver.
var ErrTruncated = errors.New("body ended before its framing did")

// ErrPaused says that a body is not read on for now. It is the only error of Next that is not final:
// the body goes on where it was.
var ErrPaused = errors.New("body is not read on for now")

// MaxChunkLine bounds a chunk-size line with its extensions.
const MaxChunkLine = 4096

// maxChunkOverhead bounds the framing bytes that a chunked body may have
// beyond 16 bytes and its own length again for each chunk, so that a sender
// cannot make us read much to forward little.
const maxChunkOverhead = 16 << 10

// maxTrailer bounds a trailer section in bytes.
const maxTrailer = 16 << 10

// Framing is how a body's end is known (RFC 9112 section 6.3).
type Framing uint8

// The framings of a body.
const (
	// FramingNone is no body at all.
	FramingNone Framing = iota
	// FramingLength is a Content-Length.
	FramingLength
	// FramingChunked is chunked transfer coding.
	FramingChunked
	// FramingClose is read until the connection closes (responses only); its
	// end is never proven.
	FramingClose
)

// Reader is the Source of a body of HTTP/1.1. It reads from a buffered reader that
// it shares with what comes after the message, and never consumes a byte after the
// end of the body. A Reader is reused with Reset.
type Reader struct {
	br       *bufio.Reader
	socket   *sock.Stream
	left     int64 // bytes left of the body or of the current chunk
	seen     int64 // payload bytes handed out
	overhead int64
	trailer  head.Head
	// trailerSize is the number of bytes of the trailer section so far.
	trailerSize int
	err         error // sticky, io.EOF after the end
	// ended says that err is io.EOF.
	ended bool
	// filled says that the last read found as much as it had room for, so that more may have come.
	filled  bool
	framing Framing
	part    chunkPart
}

// chunkPart is what of chunked coding comes next.
type chunkPart uint8

const (
	// partSize: a line with the size of a chunk.
	partSize chunkPart = iota
	// partData: the rest of a chunk, and its CRLF.
	partData
	// partTrailer: the trailer section.
	partTrailer
)

// Reset makes b read a body of the given framing from br. length counts for
// FramingLength only.
func (b *Reader) Reset(br *bufio.Reader, framing Framing, length int64) {
	b.br, b.socket, b.left, b.seen, b.overhead, b.err = br, nil, 0, 0, 0, nil
	b.ended, b.filled = false, false
	b.framing, b.part = framing, partSize
	if b.trailerSize > 0 {
		b.trailer.Reset()
		b.trailerSize = 0
	}
	switch framing {
	case FramingNone:
		b.end()
	case FramingLength:
		b.left = length
		if length == 0 {
			b.end()
		}
	}
}

// end notes that the end of the body was reached.
func (b *Reader) end() { b.err, b.ended = io.EOF, true }

// OnSocket tells that br reads from s without anything in between, so that what has come can be read without a wait,
// and the rest of a body by length can be moved inside the kernel once br holds nothing of it. s may be nil.
func (b *Reader) OnSocket(s *sock.Stream) { b.socket = s }

// Framing tells how the body's end is known.
func (b *Reader) Framing() Framing { return b.framing }

// Done reports whether the end of the body was reached; for FramingClose that
// is the end of the connection.
func (b *Reader) Done() bool { return b.ended }

// Proven reports whether the end was reached and the framing vouches for it.
func (b *Reader) Proven() bool { return b.ended && b.framing != FramingClose }

// Seen is the number of payload bytes that Next has returned.
func (b *Reader) Seen() int64 { return b.seen }

// Left is the number of bytes that a FramingLength body still has; -1 for
// bodies whose length is not known.
func (b *Reader) Left() int64 {
	switch b.framing {
	case FramingNone:
		return 0
	case FramingLength:
		return b.left
	}
	return -1
}

// Ready reports whether Next would return without reading from the connection.
// Code that forwards the body must flush what it has written when Ready is false.
func (b *Reader) Ready() bool {
	n := 0
	switch {
	case b.err != nil:
		return true
	case b.framing != FramingChunked || b.left > 0:
		return b.br.Buffered() > 0
	case b.part == partTrailer:
		return false
	case b.part == partData:
		n = len("\r\n")
	}
	// The next chunk line must be there, with a byte of data behind it or the
	// whole trailer section.
	p, _ := b.br.Peek(b.br.Buffered())
	if len(p) <= n {
		return false
	}
	p = p[n:]
	end := bytes.IndexByte(p, '\n')
	if end < 1 {
		return end == 0 // malformed: Next will say so
	}
	if p[0] == '0' {
		return bytes.Contains(p[end-1:], []byte("\r\n\r\n"))
	}
	return len(p) > end+1
}

// Whole reports whether all of the body is already in the reader.
func (b *Reader) Whole() bool {
	return b.ended || b.framing == FramingLength && b.left <= int64(b.br.Buffered())
}

// Flaw returns what is wrong with that part of a body in chunks that is already in the reader: what Next will return
// after the bytes before it. Call it before the first Next.
func (b *Reader) Flaw() error {
	if b.framing != FramingChunked {
		return nil
	}
	p, _ := b.br.Peek(b.br.Buffered())
	overhead, trails := int64(0), false
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			return nil
		}
		if end == 0 || p[end-1] != '\r' {
			return DefectChunk
		}
		line := p[:end-1]
		p = p[end+1:]
		if trails {
			if len(line) == 0 {
				return nil
			}
			if _, err := head.TrailerName(line); err != nil {
				return err
			}
			continue
		}
		size, err := chunkLine(line, &overhead)
		if err != nil {
			return err
		}
		if trails = size == 0; trails {
			continue
		}
		if int64(len(p)) < size+2 {
			return nil
		}
		if p[size] != '\r' || p[size+1] != '\n' {
			return DefectChunk
		}
		p = p[size+2:]
	}
}

// Trailer implements Source.
func (b *Reader) Trailer() *head.Head {
	if b.trailerSize == 0 || !b.Done() {
		return nil
	}
	return &b.trailer
}

// Kernel implements Source.
func (b *Reader) Kernel() Kernel {
	if b.socket == nil || b.framing != FramingLength || b.br.Buffered() > 0 {
		return Kernel{}
	}
	return Kernel{Socket: b.socket}
}

// Moved implements Source. Next and NextHere call it for what they hand out.
func (b *Reader) Moved(n int64) {
	b.seen += n
	if b.framing == FramingClose {
		return
	}
	b.left -= n
	if b.left == 0 && b.framing == FramingLength {
		b.end()
	}
}

// Next returns the next bytes of the payload: a borrowed piece of the reader's
// buffer if something is there, else freshly read into buf. The bytes are valid
// until the next call. It returns io.EOF, without bytes, at the end; ErrTruncated
// if the connection ended first; a *head.Defect for broken chunked coding; else the
// read error. Every error but ErrPaused, which reads from the connection may end with, is final.
func (b *Reader) Next(buf []byte) ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	if b.framing == FramingChunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return nil, b.failed(err)
		}
	}
	p, err := b.piece(buf)
	if err != nil {
		return nil, b.failed(b.cut(err))
	}
	b.Moved(int64(len(p)))
	return p, nil
}

// More says whether more has most likely come, which NextHere can read, although Ready says that Next would wait.
func (b *Reader) More() bool {
	if b.socket == nil || b.err != nil || b.Ready() {
		return false
	}
	p, _ := b.br.Peek(b.br.Buffered())
	if len(p) == 0 {
		return b.filled
	}
	return len(p) == cap(p) // up to the end of the reader's buffer
}

// NextHere is Next after More without a wait: if too little has come, it returns sock.ErrAgain, which is not final.
func (b *Reader) NextHere(buf []byte) ([]byte, error) {
	if b.left == 0 || b.br.Buffered() > 0 {
		return b.fill(buf)
	}
	buf = buf[:min(int64(len(buf)), b.left)]
	n, err := b.socket.ReadHere(buf)
	if b.filled = n == len(buf); err != nil {
		return nil, b.failedHere(err)
	}
	b.Moved(int64(n))
	return buf[:n], nil
}

// fill is NextHere in chunked coding, where the line of a chunk or the end comes next.
func (b *Reader) fill(buf []byte) ([]byte, error) {
	b.filled = false
	b.socket.Hasten(true)
	_, err := b.br.Peek(b.br.Buffered() + 1)
	b.socket.Hasten(false)
	switch {
	case err == bufio.ErrBufferFull:
		return nil, sock.ErrAgain // Next says what that means
	case err != nil:
		return nil, b.failedHere(err)
	case !b.Ready():
		return nil, sock.ErrAgain
	}
	return b.Next(buf)
}

// failedHere is failed for a read that does not wait.
func (b *Reader) failedHere(err error) error {
	if err == sock.ErrAgain {
		return err
	}
	return b.failed(b.cut(err))
}

// cut says what the error of a read in the middle of the body means.
func (b *Reader) cut(err error) error {
	if err == io.EOF && b.framing != FramingClose {
		return ErrTruncated
	}
	return err
}

// failed notes why the body does not go on, and returns that.
func (b *Reader) failed(err error) error {
	if err != ErrPaused {
		b.err, b.ended = err, err == io.EOF
	}
	return err
}

// piece returns at least one and at most b.left bytes.
func (b *Reader) piece(buf []byte) ([]byte, error) {
	if n := b.br.Buffered(); n > 0 {
		if b.framing != FramingClose && int64(n) > b.left {
			n = int(b.left)
		}
		p, _ := b.br.Peek(n)
		b.filled = n == cap(p) // up to the end of the reader's buffer
		b.br.Discard(n)
		return p, nil
	}
	if b.framing != FramingClose && int64(len(buf)) > b.left {
		buf = buf[:b.left]
	}
	for range 100 {
		n, err := b.br.Read(buf)
		if n > 0 {
			b.filled = n == len(buf)
			return buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, io.ErrNoProgress
}

// nextChunk reads the next chunk-size line; after the last chunk it reads the
// trailer section and returns io.EOF. It can be called again after ErrPaused.
func (b *Reader) nextChunk() error {
	if b.part == partData {
		if err := b.chunkEnd(); err != nil {
			return err
		}
		b.part = partSize
	}
	if b.part == partSize {
		line, err := b.readLine(MaxChunkLine, DefectChunk)
		if err != nil {
			return err
		}
		size, err := chunkLine(line, &b.overhead)
		if err != nil {
			return err
		}
		if size > 0 {
			b.left, b.part = size, partData
			return nil
		}
		b.part = partTrailer
	}
	for {
		line, err := b.readLine(maxTrailer, DefectTrailerSize)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
		if b.trailerSize += len(line) + 2; b.trailerSize > maxTrailer {
			return DefectTrailerSize
		}
		if err := b.trailer.ScanTrailer(line); err != nil {
			return err
		}
	}
}

func (b *Reader) chunkEnd() error {
	p, err := b.br.Peek(2)
	if err != nil {
		if err == io.EOF {
			err = ErrTruncated
		}
		return err
	}
	if p[0] != '\r' || p[1] != '\n' {
		return DefectChunk
	}
	b.br.Discard(2)
	return nil
}

// readLine reads a line that ends in CRLF and returns it without. It takes nothing of a line that is
// not there whole.
func (b *Reader) readLine(limit int, tooLong *head.Defect) ([]byte, error) {
	for seen := 0; ; {
		p, _ := b.br.Peek(b.br.Buffered())
		n := bytes.IndexByte(p[seen:], '\n')
		if n >= 0 {
			p = p[:seen+n+1]
		}
		seen = len(p)
		switch {
		case seen > limit:
			return nil, tooLong
		case n >= 0 && (seen < 2 || p[seen-2] != '\r'):
			return nil, DefectChunk
		case n >= 0:
			b.br.Discard(seen)
			return p[:seen-2], nil
		}
		switch _, err := b.br.Peek(seen + 1); err {
		case nil:
		case io.EOF:
			return nil, ErrTruncated
		case bufio.ErrBufferFull:
			return nil, tooLong
		default:
			return nil, err
		}
	}
}

// chunkLine returns the size that the line of a chunk says, and counts the chunk's framing.
func chunkLine(line []byte, overhead *int64) (size int64, err error) {
	if size, err = parseChunkLine(line); err != nil {
		return 0, err
	}
	*overhead = max(*overhead+int64(len(line))+4-16-2*min(size, 1<<20), 0)
	if *overhead > maxChunkOverhead {
		return 0, DefectChunkOverhead
	}
	return size, nil
}

// parseChunkLine parses "HEX [BWS ;ext]" (RFC 9112 section 7.1). Extensions are
// ignored, but must not hold control bytes.
func parseChunkLine(line []byte) (int64, error) {
	var n int64
	i := 0
	for ; i < len(line) && hexDigit(line[i]); i++ {
		if i == 15 {
			return 0, DefectChunk
		}
		c := line[i]
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		n = n<<4 | int64(c)
	}
	if i == 0 {
		return 0, DefectChunk
	}
	rest := line[i:]
	if len(rest) == 0 {
		return n, nil
	}
	if rest = bytes.TrimLeft(rest, " \t"); len(rest) > 0 && rest[0] != ';' {
		return 0, DefectChunk
	}
	for _, c := range rest {
		if c < ' ' && c != '\t' || c == 0x7f {
			return 0, DefectChunk
		}
	}
	return n, nil
}

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// The defects of chunked bodies.
var (
	DefectChunk         = &head.Defect{Status: 400, Name: "malformed chunk"}
	DefectChunkOverhead = &head.Defect{Status: 400, Name: "too much chunk overhead"}
	DefectTrailerSize   = &head.Defect{Status: 431, Name: "trailer section is too large"}
)
