package http2

import "sync"

// maxIdle is how many goroutines wait for streams at most.
const maxIdle = 256

// workers are goroutines that serve streams, one after the other: the stack of one that has
// served some is large enough, which that of a new one is not.
type workers struct {
	mu   sync.Mutex
	idle []chan *stream
	// least is how many were idle at all times since the last trim.
	least  int
	closed bool
}

// serve serves s on a goroutine that waits, or on a new one.
func (w *workers) serve(s *stream) {
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(s)
		return
	}
	next := w.idle[n-1]
	w.idle = w.idle[:n-1]
	w.least = min(w.least, n-1)
	w.mu.Unlock()
	next <- s
}

func (w *workers) work(s *stream) {
	next := make(chan *stream, 1)
	for s != nil {
		s.Continue()
		if !w.rest(next) {
			return
		}
		s = <-next
	}
}

// rest makes a goroutine idle, and reports whether there is room for it.
func (w *workers) rest(next chan *stream) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) == maxIdle {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// trim ends half of those that had nothing to do since the last call.
func (w *workers) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLocked((w.least + 1) / 2)
	w.least = len(w.idle)
}

// close ends all, and those that work once they have nothing to do.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.endLocked(len(w.idle))
}

func (w *workers) endLocked(n int) {
	for _, next := range w.idle[:n] {
		next <- nil
	}
	w.idle = append(w.idle[:0], w.idle[n:]...)
	w.least = min(w.least, len(w.idle))
}
