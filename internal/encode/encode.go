// Package encode compresses bodies with content codings (RFC 9110 section 8.4.1) and decodes
// them, and chooses among the codings that a request accepts.
package encode

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir/internal/field"
	"weir/internal/head"
)

// Coding is a content coding.
type Coding uint8

// The codings. Identity is none.
const (
	Identity Coding = iota
	Zstd
	Brotli
	Gzip
	Codings // how many there are
)

var names = [...]string{Identity: "identity", Zstd: "zstd", Brotli: "br", Gzip: "gzip"}

// String is the coding's name in fields.
func (c Coding) String() string { return names[c] }

// Named is the coding of that name; Identity if there is none.
func Named(name string) Coding { return Coding(max(slices.Index(names[:], name), 0)) }

// Choose returns the coding in offered that a request likes best (RFC 9110 section 12.5.3), of
// those that it likes alike the first. It is Identity if the request accepts none of them, or
// would rather have none.
func Choose(h *head.Head, offered []Coding) Coding {
	var weights [Codings]int // plus 1, so that 0 stands for nothing said
	for line := range h.Lines(head.AcceptEncoding) {
		for name, weight := range field.Weighted(line) {
			for c := range weights {
				if field.EqualFold(name, names[c]) {
					weights[c] = weight + 1
				}
			}
		}
	}
	best, most := Identity, max(weights[Identity], 1)
	for _, c := range offered {
		if w := weights[c]; w > most || w == most && best == Identity && w > 1 {
			best, most = c, w
		}
	}
	return best
}

// maxRunning bounds how many bodies are compressed at once: each takes memory, some 1 MiB.
const maxRunning = 128

var running atomic.Int32

// compressor is what the libraries have in common.
type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// pools keep compressors, whose tables are large, for the next body.
var pools = [Codings]sync.Pool{
	Zstd: {New: func() any {
		// Without goroutines of its own, and with a window that each client accepts.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
		return must(w, err)
	}},
	Brotli: {New: func() any { return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: 4, LGWin: 18}) }},
	Gzip:   {New: func() any { w, err := gzip.NewWriterLevel(nil, 5); return must(w, err) }},
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("BUG: a compressor refuses its options: " + err.Error())
	}
	return v
}

// Encoder compresses one body. It belongs to one goroutine.
type Encoder struct {
	coding  Coding
	w       compressor
	out     buffer
	pending bool // bytes were written since the last flush
}

// buffer takes what a compressor writes.
type buffer struct{ b []byte }

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// New begins to compress a body that passes. It is nil if too many such bodies are compressed at
// this moment. Release must be called in the end.
func New(c Coding) *Encoder {
	if running.Add(1) > maxRunning {
		running.Add(-1)
		return nil
	}
	return begin(c)
}

func begin(c Coding) *Encoder {
	e := &Encoder{coding: c, w: pools[c].Get().(compressor)}
	e.w.Reset(&e.out)
	return e
}

// Release gives back what e holds, whether its body was whole or not.
func (e *Encoder) Release() {
	e.end()
	running.Add(-1)
}

func (e *Encoder) end() {
	e.w.Reset(io.Discard)
	pools[e.coding].Put(e.w)
	e.w = nil
}

// Pending says that Flush has something to return.
func (e *Encoder) Pending() bool { return e.pending }

// Write compresses p and returns what is to be sent now, perhaps nothing. That is valid until
// the next call.
func (e *Encoder) Write(p []byte) []byte {
	e.out.b = e.out.b[:0]
	e.pending = e.pending || len(p) > 0
	e.check(e.w.Write(p))
	return e.out.b
}

// Flush returns what the reader needs to see all that was written so far.
func (e *Encoder) Flush() []byte {
	e.out.b = e.out.b[:0]
	if e.pending {
		e.pending = false
		e.check(0, e.w.Flush())
	}
	return e.out.b
}

// End returns the end of the compressed body.
func (e *Encoder) End() []byte {
	e.out.b = e.out.b[:0]
	e.check(0, e.w.Close())
	return e.out.b
}

func (e *Encoder) check(_ int, err error) {
	if err != nil {
		panic("BUG: cannot compress into memory: " + err.Error())
	}
}

// All compresses a whole body into memory of its own. It is nil if the result would not be
// smaller.
func All(c Coding, body []byte) []byte {
	e := begin(c)
	defer e.end()
	e.check(e.w.Write(body))
	e.check(0, e.w.Close())
	if len(e.out.b) >= len(body) {
		return nil
	}
	return append(make([]byte, 0, len(e.out.b)), e.out.b...)
}
