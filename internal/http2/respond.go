package http2

import (
	"errors"
	"runtime"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/body"
	"weir/internal/frames"
	"weir/internal/head"
)

// enter locks the connection for a method of proxy.Front. It returns why the stream has ended.
func (s *stream) enter() error {
	s.c.mu.Lock()
	switch {
	case s.lost != nil:
		return s.lost
	case s.state >= streamAnswered:
		return errEnded
	}
	return nil
}

func (s *stream) leave() { s.c.mu.Unlock() }

// flush writes what is gathered, but for the reader, which does so when the batch ends.
func (s *stream) flush() {
	if !s.inline {
		s.c.Flush()
	}
}

// Inform implements proxy.Front.
func (s *stream) Inform(h *head.Head) error {
	err := s.enter()
	defer s.leave()
	if err != nil {
		return err
	}
	s.c.sendHead(s, h, h.Status, lengthUnsaid)
	s.flush()
	return nil
}

// Start implements proxy.Front.
func (s *stream) Start(h *head.Head, length int64, bodyless bool) error {
	err := s.enter()
	defer s.leave()
	if err != nil {
		return err
	}
	if s.tunnel && h.Status < 300 {
		h.SetStatus(501) // the client would take it for the tunnel (RFC 8441 section 4)
	}
	s.state, s.bodyless, s.left = streamAnswering, bodyless, length
	if bodyless {
		length = s.saidLength(h, length)
	}
	if s.unsent, s.unsentLength = h, length; !bodyless && s.left != 0 {
		s.sendUnsent()
	}
	return nil
}

// sendUnsent appends the head of the answer if that was not done yet. A head that the end most likely
// follows waits for the end: both are then one frame, also if other streams are written in between. A client of gRPC
// takes a head that does not end the stream for the begin of messages. c.mu is held.
func (s *stream) sendUnsent() {
	if s.unsent != nil {
		s.begun = true
		s.c.sendHead(s, s.unsent, s.unsent.Status, s.unsentLength)
		s.unsent = nil
	}
}

// lengthUnsaid says that a head has no content-length.
const lengthUnsaid = -1

// saidLength is what the head of an answer without body says of its length.
func (s *stream) saidLength(h *head.Head, length int64) int64 {
	switch {
	case h.Status == 204:
		return lengthUnsaid // RFC 9110 section 8.6
	case s.isHead && length > 0:
		return length
	case h.Has(transferEncoding) || !h.Has(contentLength):
		return lengthUnsaid
	case h.Length >= 0:
		return h.Length
	}
	return lengthUnsaid
}

var (
	transferEncoding = head.SetOf(head.TransferEncoding)
	contentLength    = head.SetOf(head.ContentLength)
)

// Room implements proxy.Front.
func (s *stream) Room() int {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lend(s, 0)
	c.lend(s, c.share(min(s.window, c.window)))
	return s.lent
}

// Write implements proxy.Front. It waits for the client and for streams that are more urgent,
// unless the reader calls it: then what has no room is kept.
func (s *stream) Write(p []byte) error {
	err := s.enter()
	defer s.leave()
	if err != nil || s.bodyless || len(p) == 0 {
		return err
	}
	if s.left >= 0 {
		if s.left -= int64(len(p)); s.left < 0 {
			panic("BUG: more bytes of a body than its head says")
		}
	}
	c := s.c
	if s.inline {
		s.keep(p)
		return nil
	}
	c.queue(s, p)
	c.Pump()
	for len(s.pending) > 0 {
		if !c.Writing() && len(c.Out) > 0 {
			c.Flush()
			continue
		}
		s.writable.Wait()
	}
	if s.left != 0 && !c.Room() {
		c.Flush() // the next bytes would find no room
	}
	return s.lost
}

// keep queues p, and keeps what has no room. c.mu is held.
func (s *stream) keep(p []byte) {
	if len(s.pending) > 0 {
		s.tail = append(append([]byte(nil), s.pending...), p...)
		s.pending = s.tail
		return
	}
	s.c.queue(s, p)
	s.c.Pump()
	if len(s.pending) > 0 {
		s.tail = append(s.tail[:0], s.pending...)
		s.pending = s.tail
	}
}

// sendData appends a frame with p. c.mu is held.
func (s *stream) sendData(p []byte) {
	c := s.c
	s.last, s.round = c.Data(s.id, p), c.Round
	n := int64(len(p))
	s.window -= n
	c.window -= n
	s.delivered += n
	if s.behind > 0 && s.rate > 0 {
		s.behind = max(0, s.behind-time.Duration(n)*time.Second/time.Duration(s.rate))
	}
	c.bounds.moved()
	c.bounds.sent = min(c.bounds.sent+len(p), 16<<20)
}

// Move implements proxy.Front: frames leave no way inside the kernel.
func (s *stream) Move(body.Kernel, int64) (int64, error, error) {
	return 0, nil, errors.ErrUnsupported
}

// Flush implements proxy.Front.
func (s *stream) Flush() error {
	err := s.enter()
	defer s.leave()
	if err == nil {
		s.sendUnsent()
		s.c.releaseLater(s)
		s.flush()
	}
	return err
}

// Finish implements proxy.Front. Other streams whose answers are there too may add them before
// all are written at once.
func (s *stream) Finish(trailer *head.Head) error {
	writes, err := s.finishAnswer(trailer)
	if !writes {
		return err
	}
	runtime.Gosched()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathering = false
	c.Pump()
	c.Flush()
	return nil
}

// finishAnswer does the work of Finish. It says whether s is to write what is gathered.
func (s *stream) finishAnswer(trailer *head.Head) (writes bool, err error) {
	err = s.enter()
	defer s.leave()
	if err != nil {
		return false, err
	}
	s.sendUnsent()
	c := s.c
	c.refilled(s)
	c.lend(s, 0)
	if s.left > 0 && !s.bodyless {
		panic("BUG: fewer bytes of a body than its head says")
	}
	if trailer != nil && !s.bodyless {
		trailer.DelFunc(func(f head.Field) bool { return !head.MayTrail(f.Name) })
		s.trailer = frames.TrailerBlock(trailer)
	}
	s.state = streamAnswered
	if len(s.pending) == 0 {
		s.finish()
	}
	if s.inline || c.gathering {
		return false, nil
	}
	c.gathering = true
	return true, nil
}

// Delivered implements proxy.Front.
func (s *stream) Delivered() (int64, bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.joined {
		return 0, true
	}
	return s.delivered + int64(len(s.pending)), s.begun
}

// Abort implements proxy.Front: the stream is reset. A call of gRPC whose deadline has passed is canceled: its client takes
// that for DEADLINE_EXCEEDED, and any other code for a fault.
func (s *stream) Abort() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	code := h2.ErrCodeInternal
	if s.Result.GRPC.DeadlineExceeded() {
		code = h2.ErrCodeCancel
	}
	s.reset(code, errEnded)
	s.flush()
}

// CloseAfter implements proxy.Front: other streams go on, and the end of this one
// says whether the client may stop sending.
func (s *stream) CloseAfter() {}

// PauseReading implements proxy.Front.
func (s *stream) PauseReading() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.in.paused = true
	s.in.readable.Broadcast()
}

// ResumeReading implements proxy.Front.
func (s *stream) ResumeReading() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.in.paused = false
}

// BePatient implements proxy.Front.
func (s *stream) BePatient(grace time.Duration, anyRate bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if grace > 0 {
		s.grace = grace
	}
	if anyRate {
		s.rate = 0
	}
}
