package sock

import (
	"sync/atomic"
	"time"
)

// Pace bounds how slowly a peer may take what is written to a Stream. Only the time that
// a write has to wait counts, and what counts as taken is what the peer has
// acknowledged, not what the kernel still holds for it. The zero value lets no write wait:
// Reset comes first. One goroutine uses a Pace at a time.
type Pace struct {
	grace time.Duration
	rate  int64
	// behind is how far the peer is behind rate, silent how long it has taken nothing.
	behind, silent time.Duration
	armed          time.Time // the deadline that is set
	// since is when the running wait began, queued what the kernel held then.
	since  time.Time
	queued int64
}

// Reset makes p judge a peer anew: it may take nothing for grace, and be behind rate bytes
// per second by grace. A rate of 0 is no bound.
func (p *Pace) Reset(grace time.Duration, rate int64) {
	p.grace, p.rate, p.behind, p.silent = grace, rate, 0, 0
}

// Grace and Rate are the bounds.
func (p *Pace) Grace() time.Duration { return p.grace }

// Rate is in bytes per second.
func (p *Pace) Rate() int64 { return p.rate }

// looks is how often a peer that takes nothing is looked at before grace is over.
const looks = 8

// slowPeer is a peer that took too little. It is a net.Error.
type slowPeer string

func (e slowPeer) Error() string { return string(e) }

// Timeout implements net.Error.
func (slowPeer) Timeout() bool { return true }

// Temporary implements net.Error.
func (slowPeer) Temporary() bool { return false }

// The errors of peers that are slower than a Pace allows. Both are time-outs.
const (
	// ErrTookNothing: the peer took nothing for grace.
	ErrTookNothing slowPeer = "peer took nothing for too long"
	// ErrTookLittle: the peer was behind the rate by grace.
	ErrTookLittle slowPeer = "peer took too little for too long"
)

// wait calls write, which writes what is left and says how much that was, until all is
// written or the peer is too slow.
func (p *Pace) wait(s *Stream, write func() (int64, error)) error {
	for {
		p.begin(s)
		n, err := write()
		if err != nil && !TimedOut(err) {
			return err
		}
		if late := p.end(s, n); late != nil || err == nil {
			return late
		}
	}
}

// begin bounds a wait.
func (p *Pace) begin(s *Stream) {
	p.since, p.queued = time.Now(), s.queued()
	if d, set := Rearm(p.armed, p.since, max(p.grace/looks, time.Millisecond)); set {
		p.armed = d
		s.SetWriteDeadline(d)
	}
}

// end judges the peer after a wait in which n bytes were written.
func (p *Pace) end(s *Stream, n int64) error {
	waited := time.Since(p.since)
	taken := max(p.queued+n-s.queued(), 0)
	if p.silent += waited; taken > 0 {
		p.silent = 0
	}
	if p.rate > 0 {
		p.behind = max(0, p.behind+waited-time.Duration(taken)*time.Second/time.Duration(p.rate))
	}
	switch {
	case p.silent >= p.grace:
		return ErrTookNothing
	case p.behind >= p.grace:
		return ErrTookLittle
	}
	return nil
}

// queued is how many bytes the kernel holds that the peer has not acknowledged; 0 if the
// kernel does not say.
func (s *Stream) queued() int64 {
	s.held = 0
	if s.raw.Control(s.heldFn) != nil {
		return 0
	}
	return int64(s.held)
}

// WritePaced writes first and then more, at the pace of the peer. n is how much was written.
func (s *Stream) WritePaced(p *Pace, first, more []byte) (n int, err error) {
	// Most writes are taken at once and need neither a deadline nor the time. A deadline of
	// an earlier wait may have passed.
	n, err = s.WriteNow(first, more)
	if n == len(first)+len(more) || err != nil && !TimedOut(err) {
		return n, err
	}
	return s.writeRest(p, first, more, n)
}

// writeRest writes what is left after n bytes of first and more. It is a function of its own because few
// writes need it, and it needs more of the stack than the others.
func (s *Stream) writeRest(p *Pace, first, more []byte, n int) (int, error) {
	err := p.wait(s, func() (int64, error) {
		k := min(n, len(first))
		wrote, err := s.WriteBoth(first[k:], more[n-k:])
		n += wrote
		return int64(wrote), err
	})
	return n, err
}

// SendFilePaced is SendFile at the pace of the peer. n is how much was written.
func (s *Stream) SendFilePaced(p *Pace, head []byte, file int, offset, size int64) (n int64, err error) {
	all := int64(len(head)) + size
	n, err = s.SendFile(head, file, offset, size, true)
	if n == all || err != nil && !TimedOut(err) {
		return n, err
	}
	err = p.wait(s, func() (int64, error) {
		k := min(n, int64(len(head)))
		wrote, err := s.SendFile(head[k:], file, offset+n-k, size-(n-k), false)
		n += wrote
		return wrote, err
	})
	return n, err
}

// DrainPaced moves all that pipe holds to s, at the pace of the peer. After an error Held
// tells how much is left.
func (s *Stream) DrainPaced(p *Pace, pipe *Pipe) error {
	return p.wait(s, func() (int64, error) {
		held := pipe.Held()
		err := pipe.Drain(s)
		return int64(held - pipe.Held()), err
	})
}

// PacedStream is a Stream under something that writes by itself, such as TLS, and that
// cannot go on after a write has failed.
type PacedStream struct {
	*Stream
	pace atomic.Pointer[Pace]
	// spool and first are set before there are several goroutines; both may be nil.
	spool *Spool
	first *FirstRead
	// unread is what reads bring before what the connection has.
	unread []byte
	// records are those of TLS that reads have brought. The goroutine that reads owns them.
	records records
}

// Unread makes the next reads bring p again, which was read from the connection before TLS began. p belongs to
// s then.
func (s *PacedStream) Unread(p []byte) { s.unread = p }

// At makes writes go at the pace of the peer until Free. p is not to be used meanwhile.
func (s *PacedStream) At(p *Pace) { s.pace.Store(p) }

// Free ends At: writes are bounded by deadlines alone.
func (s *PacedStream) Free() {
	if p := s.pace.Swap(nil); p != nil && !p.armed.IsZero() {
		p.armed = time.Time{}
		s.SetWriteDeadline(time.Time{})
	}
}

// Write writes to the connection.
func (s *PacedStream) Write(b []byte) (int, error) {
	if s.spool != nil {
		return s.spool.write(b)
	}
	if p := s.pace.Load(); p != nil {
		return s.WritePaced(p, b, nil)
	}
	return s.Stream.Write(b)
}
