package proxy

import (
	"sync"
	"sync/atomic"
)

// Fetches are the exchanges that go on when the client leaves: those in the
// background, and those that move a body into the cache. All generations of a
// server share one. The zero value is ready.
type Fetches struct {
	mu      sync.Mutex
	running map[*detached]struct{}
}

// detached is what it takes to end one of them.
type detached struct {
	cancel Cancel
	// stop makes the body end early.
	stop atomic.Bool
}

func (d *detached) reset() {
	d.cancel.Reset()
	d.stop.Store(false)
}

func (f *Fetches) add(d *detached) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		f.running = make(map[*detached]struct{})
	}
	f.running[d] = struct{}{}
}

func (f *Fetches) remove(d *detached) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, d)
}

// Cut ends all of them, and returns how many there are. Server.Close calls it until none
// is left.
func (f *Fetches) Cut() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d := range f.running {
		d.stop.Store(true)
		d.cancel.Cancel()
	}
	return len(f.running)
}
