// Package origin is the smallest HTTP/1.1 origin that a proxy can be measured
// against: it answers GET /bytes/N with N bytes that may be cached for an
// hour, GET /text/N with text instead, GET /page/N and /entry/N with N bytes and the fields of a web page and of
// a file, and POST to any path with the 2 bytes "ok" once it has read the body.
// It allocates nothing per request, checks nothing, and must never serve
// any client but a benchmark. The benchmarks of bench run it in their process,
// bench/cmd/peers as one of its own where nginx is missing.
package origin

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Largest is the largest N of /bytes/N.
const Largest = 16 << 20

// Server answers on one or several listeners.
type Server struct {
	// Delay is how long it waits before each answer. It must not change once it serves.
	Delay time.Duration

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	running   sync.WaitGroup

	requests atomic.Int64

	kinds   []kind
	buffers sync.Pool // *[]byte: hold what is thrown away
}

// New makes a server that serves nothing yet.
func New() *Server {
	return &Server{
		conns:   make(map[net.Conn]struct{}),
		kinds:   kinds(),
		buffers: sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }},
	}
}

// Serve accepts from ln, in the background, until Close.
func (s *Server) Serve(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = ln.Close() // too late to serve it
		return
	}
	s.listeners = append(s.listeners, ln)
	s.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if !s.track(conn) {
				_ = conn.Close() // arrived while closing
				return
			}
			s.running.Go(func() {
				s.serve(conn)
				s.untrack(conn)
			})
		}
	})
}

// Requests is the number of requests that were answered so far.
func (s *Server) Requests() int64 { return s.requests.Load() }

// Close closes listeners and connections and waits for their goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, ln := range s.listeners {
		_ = ln.Close() // no more to accept either way
	}
	for conn := range s.conns {
		_ = conn.Close() // its goroutine ends by this
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) untrack(conn net.Conn) {
	_ = conn.Close() // done with it
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

var (
	headEnd  = []byte("\r\n\r\n")
	post     = []byte("POST ")
	notFound = []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	accepted = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok")
)

func (s *Server) serve(conn net.Conn) {
	buf := make([]byte, 16<<10)
	have := 0
	for {
		end := bytes.Index(buf[:have], headEnd)
		for end < 0 {
			if have == len(buf) {
				return // no benchmark sends such a head
			}
			n, err := conn.Read(buf[have:])
			if err != nil {
				return
			}
			from := max(have-3, 0)
			have += n
			if end = bytes.Index(buf[from:have], headEnd); end >= 0 {
				end += from
			}
		}
		head := buf[:end+2]
		answer := notFound
		used := end + 4
		if bytes.HasPrefix(head, post) {
			rest, ok := s.discard(conn, head, buf[used:have])
			if !ok {
				return
			}
			used = have - rest
			answer = accepted
		} else if k, n, ok := s.asked(head); ok {
			answer = k.answer(n)
		}
		s.requests.Add(1)
		if s.Delay > 0 {
			time.Sleep(s.Delay)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
		have = copy(buf, buf[used:have])
	}
}

// discard reads a body whose first bytes are in have; rest is how many of
// those belong to the next request.
func (s *Server) discard(conn net.Conn, head, have []byte) (rest int, ok bool) {
	if n, found := contentLength(head); found {
		if n <= int64(len(have)) {
			return len(have) - int(n), true
		}
		return 0, s.drain(conn, n-int64(len(have)))
	}
	return s.discardChunked(conn, have)
}

func (s *Server) drain(conn net.Conn, n int64) bool {
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	for n > 0 {
		m, err := conn.Read((*buf)[:min(n, int64(len(*buf)))])
		if err != nil {
			return false
		}
		n -= int64(m)
	}
	return true
}

// discardChunked waits for the last chunk's end: enough for bodies of a
// proxy that sends no trailers and does not pipeline.
func (s *Server) discardChunked(conn net.Conn, have []byte) (rest int, ok bool) {
	last := []byte("\r\n0\r\n\r\n")
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	// Keeps the end of what came before, in case the mark is split; an empty
	// body begins with the mark less its first two bytes.
	tail := append(make([]byte, 0, 32), "\r\n"...)
	n := copy(*buf, have)
	for {
		piece := (*buf)[:n]
		if bytes.HasSuffix(append(tail, piece[max(len(piece)-8, 0):]...), last) {
			return 0, true
		}
		tail = append(tail, piece[max(len(piece)-8, 0):]...)
		tail = tail[:copy(tail, tail[max(len(tail)-8, 0):])]
		var err error
		if n, err = conn.Read(*buf); err != nil {
			return 0, false
		}
	}
}

func contentLength(head []byte) (int64, bool) {
	name := []byte("\ncontent-length:")
	for i := 0; i+len(name) < len(head); i++ {
		j := bytes.IndexByte(head[i:], '\n')
		if j < 0 {
			break
		}
		i += j
		if i+len(name) < len(head) && bytes.EqualFold(head[i:i+len(name)], name) {
			var n int64
			for _, c := range bytes.TrimLeft(head[i+len(name):], " \t") {
				if c < '0' || c > '9' {
					break
				}
				n = n*10 + int64(c-'0')
			}
			return n, true
		}
	}
	return 0, false
}
