package sock

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Spool makes the writes of a PacedStream never wait: what the socket does not take at once is
// kept in memory, and Drain writes it at the pace of the peer. It is for connections whose
// reader also writes, and that bound by themselves how much they write. Its methods may be called
// from any goroutine, but Drain from one at a time. The zero value is ready.
type Spool struct {
	stream *Stream

	mu   sync.Mutex
	kept []byte
	// pooled is what kept was taken from; nil if nothing is kept.
	pooled *[]byte
	state  spoolState
}

// spoolState says who writes to the socket.
type spoolState uint8

const (
	// spoolOpen: Write does.
	spoolOpen spoolState = iota
	// spoolCorked: no goroutine does before Uncork.
	spoolCorked
	// spoolDraining: Drain does.
	spoolDraining
)

var spoolBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxSpoolBuffer is the largest buffer that is pooled.
const maxSpoolBuffer = 128 << 10

// SpoolTo makes the writes to s go through spool from now on.
func (s *PacedStream) SpoolTo(spool *Spool) {
	spool.stream = s.Stream
	s.spool = spool
}

// write takes all of p. An error is one of the socket.
func (s *Spool) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if s.state == spoolOpen && len(s.kept) == 0 {
		var err error
		if n, err = s.stream.WriteNow(p, nil); err != nil && !TimedOut(err) {
			return n, err
		}
	}
	if n < len(p) {
		s.keep(p[n:])
	}
	return len(p), nil
}

func (s *Spool) keep(p []byte) {
	if s.pooled == nil {
		s.pooled = spoolBuffers.Get().(*[]byte)
		s.kept = (*s.pooled)[:0]
	}
	s.kept = append(s.kept, p...)
}

// Cork gathers what is written until Uncork, which writes it in one system call.
func (s *Spool) Cork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == spoolOpen {
		s.state = spoolCorked
	}
}

// Uncork ends Cork.
func (s *Spool) Uncork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != spoolCorked {
		return nil
	}
	s.state = spoolOpen
	n, err := s.stream.WriteNow(s.kept, nil)
	if n == len(s.kept) {
		s.release()
	} else {
		s.kept = s.kept[:copy(s.kept, s.kept[n:])]
	}
	if TimedOut(err) {
		err = nil // a deadline that an earlier Drain has left
	}
	return err
}

// release gives the buffer back, of which nothing is needed.
func (s *Spool) release() {
	if s.pooled != nil {
		putSpoolBuffer(s.pooled, s.kept)
	}
	s.kept, s.pooled = nil, nil
}

func putSpoolBuffer(pooled *[]byte, p []byte) {
	if cap(p) <= maxSpoolBuffer {
		*pooled = p[:0]
		spoolBuffers.Put(pooled)
	}
}

// Kept is how many bytes are kept.
func (s *Spool) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept)
}

// Drain writes what is kept, until nothing is, at the pace of the peer.
func (s *Spool) Drain(p *Pace) error {
	for {
		s.mu.Lock()
		kept, pooled := s.kept, s.pooled
		if s.kept, s.pooled = nil, nil; len(kept) == 0 {
			s.state = spoolOpen
			s.mu.Unlock()
			if !p.armed.IsZero() {
				p.armed = time.Time{}
				s.stream.SetWriteDeadline(time.Time{})
			}
			return nil
		}
		s.state = spoolDraining
		s.mu.Unlock()
		_, err := s.stream.WritePaced(p, kept, nil)
		putSpoolBuffer(pooled, kept)
		if err != nil {
			return err
		}
	}
}

// LimitUnsent bounds what the kernel takes of writes and has not sent yet, so that what is
// written later need not wait behind much.
func (s *Stream) LimitUnsent(bytes int) error {
	var failed error
	if err := s.raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	}); err != nil {
		return err
	}
	return failed
}
