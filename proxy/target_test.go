package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/internal/transport"
)

// script is what a target does with one request. It runs on a goroutine of its
// own from the moment when the request's head was sent.
type script func(s *fakeStream)

// answer is the script that gives one answer and does not read the body. A head without a
// length announces that of the body.
func answer(text string, pieces ...string) script {
	return func(s *fakeStream) { s.answer(text, pieces...) }
}

// fakeTarget is a Transport to a target that lives in memory.
type fakeTarget struct {
	t    testing.TB
	name string
	// scripts are what the streams do, one after the other; the last one stays.
	scripts []script
	// open, if it is not nil, prepares a stream or says why there is no stream.
	open func(s *fakeStream) error
	// shares says that Share lends streams.
	shares bool

	mu       sync.Mutex
	streams  []*fakeStream
	running  sync.WaitGroup
	released int
	idle     atomic.Int32 // calls of CloseIdle
}

// Host implements transport.Transport.
func (f *fakeTarget) Host() string { return f.name + ".test" }

// Open implements transport.Transport.
func (f *fakeTarget) Open(time.Duration, transport.Version) (transport.Stream, error) {
	s, err := f.lend()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Share implements transport.Transport.
func (f *fakeTarget) Share(time.Duration, time.Duration) transport.Stream {
	if !f.shares {
		return nil
	}
	s, err := f.lend()
	if err != nil {
		return nil
	}
	s.shared = true
	return s
}

// Attended implements transport.Transport.
func (f *fakeTarget) Attended() transport.Attended { return nil }

func (f *fakeTarget) lend() (*fakeStream, error) {
	s := &fakeStream{
		target: f, heads: make(chan any, 100), cut: make(chan struct{}), gone: make(chan struct{}), body: newFeed(-1), upload: newFeed(-1),
	}
	s.body.bound = &s.read
	if f.open != nil {
		if err := f.open(s); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.streams)
	f.streams = append(f.streams, s)
	if s.script == nil {
		s.script = f.scripts[min(n, len(f.scripts)-1)]
	}
	return s, nil
}

// CloseIdle implements transport.Transport.
func (f *fakeTarget) CloseIdle() { f.idle.Add(1) }

// Conns implements transport.Transport.
func (f *fakeTarget) Conns() (open, idle int) { return 0, 0 }

// Pipelined implements transport.Transport.
func (f *fakeTarget) Pipelined() (p transport.Pipelined, ok bool) { return p, false }

// Retire implements transport.Transport.
func (f *fakeTarget) Retire() {}

// stream returns the stream number n, counted from 0.
func (f *fakeTarget) stream(n int) *fakeStream {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n >= len(f.streams) {
		f.t.Fatalf("target %s has %d streams, not number %d", f.name, len(f.streams), n)
	}
	return f.streams[n]
}

func (f *fakeTarget) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.streams)
}

// settled complains about streams that were not given back.
func (f *fakeTarget) settled() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released != len(f.streams) {
		f.t.Errorf("target %s lent %d streams and got %d back", f.name, len(f.streams), f.released)
	}
	for _, s := range f.streams {
		if !closed(s.gone) {
			close(s.gone) // so that the script ends
		}
	}
}

// fakeStream is a Stream. What it delivers is no text of HTTP/1.1.
type fakeStream struct {
	target *fakeTarget
	script script
	// What open may set: the stream was used before, what Send fails with, whether
	// writes of the body wait, and what they fail with.
	reused   bool
	sendErr  error
	blocks   bool
	writeErr error

	shared      bool
	read, write bound
	heads       chan any // string or error
	peeked      any
	body        *feed
	flaw        error // of what has come of body with the head
	upload      *feed
	head        string // the request's head
	call        bool   // the request is a call of gRPC
	held        string
	trailer     string
	sent        bool
	cutOnce     sync.Once
	cut         chan struct{}
	gone        chan struct{} // closed by Release
	reusable    bool
	tunnel      net.Conn
}

// use complains about a stream that is used after it was given back.
func (s *fakeStream) use(method string) {
	if closed(s.gone) {
		s.target.t.Errorf("%s of a stream that was given back", method)
	}
}

// Reused implements transport.Stream.
func (s *fakeStream) Reused() bool { return s.reused }

// Refuses implements transport.Stream.
func (s *fakeStream) Refuses() bool { return false }

// Version implements transport.Stream.
func (s *fakeStream) Version() head.Version { return head.HTTP11 }

// Expect implements transport.Stream.
func (s *fakeStream) Expect(prefetch.Regions) {}

// Send implements transport.Stream.
func (s *fakeStream) Send(r *transport.Request) (int, error) {
	s.use("Send")
	if s.sendErr != nil {
		return 0, s.sendErr
	}
	s.head, s.held, s.call, s.sent = string(r.Head.AppendTo(nil)), string(r.Held), r.Call, true
	if !r.Chunked {
		s.upload.is(max(r.Head.Length, 0))
	}
	if s.held != "" {
		s.upload.send(s.held)
	}
	if !r.More {
		if r.Trailer != nil {
			s.trailer = string(r.Trailer.AppendFields(nil))
		}
		s.upload.end()
	}
	s.target.running.Go(func() {
		s.script(s)
		s.over()
	})
	return len(s.head), nil
}

// over says that the target does nothing more.
func (s *fakeStream) over() {
	s.heads <- io.EOF
	s.body.fail(body.ErrTruncated)
}

// Sent implements transport.Stream.
func (s *fakeStream) Sent() bool { return s.sent }

// Await implements transport.Stream.
func (s *fakeStream) Await() error {
	s.use("Await")
	if s.peeked != nil {
		return nil
	}
	if closed(s.cut) {
		return net.ErrClosed
	}
	select { // what is there comes first
	case s.peeked = <-s.heads:
		return nil
	default:
	}
	for {
		select {
		case s.peeked = <-s.heads:
			if closed(s.cut) {
				return net.ErrClosed // nothing is read from a connection that is closed
			}
			return nil
		case <-s.read.wait():
			if s.read.over() {
				return os.ErrDeadlineExceeded
			}
		case <-s.cut:
			return net.ErrClosed
		}
	}
}

// ReadHead implements transport.Stream.
func (s *fakeStream) ReadHead(h *head.Head) (started bool, err error) {
	if err := s.Await(); err != nil {
		return false, err
	}
	next := s.peeked
	s.peeked = nil
	h.Reset()
	text, ok := next.(string)
	if !ok {
		s.heads <- next // it stays so
		return false, next.(error)
	}
	if err := h.ScanResponse([]byte(text)); err != nil {
		return true, err
	}
	return true, nil
}

// Response implements transport.Stream.
func (s *fakeStream) Response(_ *head.Head, bodyless bool, _ *body.Reader) (body.Source, error) {
	s.use("Response")
	if bodyless {
		return newFeed(0), nil
	}
	return s.body, s.flaw
}

// BodyWriter implements transport.Stream.
func (s *fakeStream) BodyWriter(bool, time.Duration) transport.BodyWriter { return fakeWriter{s} }

// Tunnel implements transport.Stream.
func (s *fakeStream) Tunnel() (net.Conn, []byte) {
	s.use("Tunnel")
	ours, theirs := net.Pipe()
	s.target.running.Go(func() { io.Copy(theirs, theirs) }) // an echo
	s.tunnel = halfPipe{ours, theirs}
	return s.tunnel, []byte("early ")
}

// halfPipe is one end of a net.Pipe, whose peer says nothing more once it hears nothing more.
type halfPipe struct {
	net.Conn
	peer net.Conn
}

func (p halfPipe) CloseWrite() error { return p.peer.Close() }

// LimitRead implements transport.Stream.
func (s *fakeStream) LimitRead(now time.Time, limit time.Duration) {
	if limit <= 0 {
		s.ReadUntil(time.Time{})
		return
	}
	s.ReadUntil(now.Add(limit))
}

// ReadUntil implements transport.Stream.
func (s *fakeStream) ReadUntil(t time.Time) {
	s.use("ReadUntil")
	s.read.set(t)
}

// LimitWrite implements transport.Stream.
func (s *fakeStream) LimitWrite(now time.Time, limit time.Duration) {
	s.use("LimitWrite")
	if limit <= 0 {
		s.write.set(time.Time{})
		return
	}
	s.write.set(now.Add(limit))
}

// Unlimit implements transport.Stream.
func (s *fakeStream) Unlimit() {
	s.ReadUntil(time.Time{})
	s.write.set(time.Time{})
}

// Interrupt implements transport.Stream.
func (s *fakeStream) Interrupt() {
	s.InterruptRead()
	s.InterruptWrite()
}

// InterruptRead implements transport.Stream.
func (s *fakeStream) InterruptRead() { s.ReadUntil(time.Unix(1, 0)) }

// InterruptWrite implements transport.Stream.
func (s *fakeStream) InterruptWrite() {
	s.use("InterruptWrite")
	s.write.set(time.Unix(1, 0))
}

// InterruptFrom implements transport.Stream.
func (s *fakeStream) InterruptFrom(t time.Time) { s.ReadUntil(t) }

// Cut implements transport.Stream.
func (s *fakeStream) Cut() {
	s.use("Cut")
	s.cutOnce.Do(func() {
		close(s.cut)
		s.upload.fail(io.ErrUnexpectedEOF)
	})
}

// Release implements transport.Stream.
func (s *fakeStream) Release(reusable bool) {
	s.use("Release")
	s.reusable = reusable
	close(s.gone)
	if s.tunnel != nil {
		s.tunnel.Close()
	}
	s.upload.fail(io.ErrUnexpectedEOF)
	s.target.mu.Lock()
	s.target.released++
	s.target.mu.Unlock()
}

// fakeWriter is the BodyWriter of a fakeStream.
type fakeWriter struct{ s *fakeStream }

// Write implements transport.BodyWriter.
func (w fakeWriter) Write(p []byte) error {
	s := w.s
	s.use("Write")
	switch {
	case closed(s.cut):
		return net.ErrClosed
	case s.writeErr != nil:
		return s.writeErr
	case s.blocks:
		for !s.write.over() {
			select {
			case <-s.write.wait():
			case <-s.cut:
				return net.ErrClosed
			}
		}
		return os.ErrDeadlineExceeded
	}
	s.upload.send(string(p))
	return nil
}

// Flush implements transport.BodyWriter.
func (w fakeWriter) Flush() error { return nil }

// Finish implements transport.BodyWriter.
func (w fakeWriter) Finish(trailer *head.Head) error {
	if trailer != nil {
		w.s.trailer = string(trailer.AppendFields(nil))
	}
	w.s.upload.end()
	return nil
}

// What scripts call.

// respond sends a head, "200" or "200\nName: value"; the body follows by s.body.
func (s *fakeStream) respond(text string) {
	first, fields, _ := strings.Cut(text, "\n")
	if fields != "" {
		fields += "\r\n"
	}
	raw := "HTTP/1.1 " + first + " \r\n" + strings.ReplaceAll(strings.ReplaceAll(fields, "\r\n", "\n"), "\n", "\r\n") + "\r\n"
	var h head.Head
	if err := h.ScanResponse([]byte(raw)); err == nil && h.Status >= 200 {
		s.body.is(max(h.Length, -1))
	}
	s.heads <- raw
}

// answer sends a whole response at once; a head without framing announces the length of the body.
func (s *fakeStream) answer(text string, pieces ...string) {
	all := strings.Join(pieces, "")
	if lower := strings.ToLower(text); !strings.Contains(lower, "content-length") && !strings.Contains(lower, "chunked") {
		text += fmt.Sprintf("\nContent-Length: %d", len(all))
	}
	s.body.send(pieces...).end()
	s.respond(text)
}

// fail ends the response with an error, in the head or the body.
func (s *fakeStream) fail(err error) {
	s.heads <- err
	s.body.fail(err)
}

// readAll reads the request's body to its end.
func (s *fakeStream) readAll() (string, error) {
	var all strings.Builder
	for {
		p, err := s.upload.Next(nil)
		all.Write(p)
		if err == io.EOF {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
	}
}

// silent is the script of a target that never answers.
func silent(s *fakeStream) { <-s.gone }

var errBroken = errors.New("the connection broke")
