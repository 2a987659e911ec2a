package body

import (
	"time"

	"weir/internal/head"
	"weir/internal/sock"
)

// Source delivers one message body. It is used by one goroutine at a time.
type Source interface {
	// Next returns the next bytes of the body, at least one: a piece of the source's own
	// memory if some are there, else bytes that were read into buf. They are valid
	// until the next call. At the end it returns io.EOF without bytes. Every error
	// but ErrPaused is final.
	Next(buf []byte) ([]byte, error)
	// Ready says whether Next would return without waiting. Who sends the body on flushes
	// what was gathered before it calls Next on a source that is not ready.
	Ready() bool
	// Left is the number of bytes that are still to come; -1 if that is not known.
	Left() int64
	// Seen is the number of bytes that were delivered.
	Seen() int64
	// Whole says whether all that is left can be had without waiting.
	Whole() bool
	// Done says whether the end was reached.
	Done() bool
	// Proven says whether the end was reached and the framing vouches that nothing is
	// missing.
	Proven() bool
	// Trailer is the trailer section that followed the body; nil if there is no
	// trailer section, or as long as the end was not reached. It is valid as long as
	// the source.
	Trailer() *head.Head
	// Kernel says from where inside the kernel the rest of the body can be moved. The
	// zero value means that it must go through Next.
	Kernel() Kernel
	// Moved tells that n bytes were moved by what Kernel returned.
	Moved(n int64)
}

// Kernel is where the bytes of a body are that need not pass through the process.
// At most one of Socket and File is set.
type Kernel struct {
	// Socket is a connection whose next bytes are those of the body, and Wait bounds each
	// wait for them; 0 is no bound.
	Socket *sock.Stream
	Wait   time.Duration
	// File holds the bytes of the body.
	File *File
}

// File is an open file in memory (memfd_create) that holds the bytes of a body, where they do
// not change as long as they are sent. A file on a disk must not be used: the scheduler is not
// told of the calls that send a File. The code that opened it closes it.
type File struct {
	Descriptor int
	// Offset is where the next byte of the body is.
	Offset int64
}
