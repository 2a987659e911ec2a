package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// Fetches are the exchanges that no client's going away ends: those in the
// background, and those that move a body into the cache. All generations of a
// server share one. The zero value is ready.
type Fetches struct {
	mu      sync.Mutex
	running map[*fetch]struct{}
}

// fetch is what it takes to end one of them.
type fetch struct {
	Watch
	// stop makes the body end early.
	stop atomic.Bool
}

func (f *Fetches) add(r *fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		f.running = make(map[*fetch]struct{})
	}
	f.running[r] = struct{}{}
}

func (f *Fetches) remove(r *fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, r)
}

// Cut interrupts all of them, and returns how many there are. One that is
// between two waits may need it again.
func (f *Fetches) Cut() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.running {
		r.stop.Store(true)
		r.Check(time.Now().Add(time.Hour), func() bool { return true })
	}
	return len(f.running)
}
