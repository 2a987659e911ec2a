package lb

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// queue is where exchanges wait for a place, first come, first served, later attempts before
// all first ones. The first exchange in the queue looks for places, and leaves when it has one.
// A later attempt that finds none lets the next exchange look, because a later attempt takes no
// place at a target that it has tried. So no place is lost, and no first attempt overtakes
// another.
type queue struct {
	waiting atomic.Int64 // how many wait

	mu    sync.Mutex
	first *waiter
	last  *waiter
	// freed is how many places have become free, as far as is known, since the first
	// exchange looked last.
	freed int
}

// waiter is one exchange in the queue.
type waiter struct {
	look       chan struct{} // has room for one wake
	later      bool          // it has had a target
	prev, next *waiter
}

var (
	errQueueFull    = fmt.Errorf("%w, and the queue is full (limits.queue)", ErrBusy)
	errQueueTimeout = fmt.Errorf("%w, and no place became free in time (limits.queue_timeout)", ErrBusy)
)

// queue waits until p gets a target, or the queue's limits end the wait.
func (u *Upstream) queue(p *Pick) (*Target, error) {
	q := &u.core.queue
	p.Queued = true
	later, room := p.stage != stageFirst, u.cfg.Limits.Queue
	if later {
		room *= 2 // a queue full of first attempts refuses no other
	}
	if q.waiting.Add(1) > int64(room) {
		q.waiting.Add(-1)
		return nil, errQueueFull
	}
	w := &waiter{look: make(chan struct{}, 1), later: later}
	limit := u.cfg.Limits.QueueTimeout.D()
	if p.Within > 0 {
		limit = min(limit, p.Within)
	}
	timer := time.NewTimer(limit)
	q.enter(w)
	t, err := u.wait(p, w, timer.C)
	timer.Stop()
	q.leave(w, err)
	q.waiting.Add(-1)
	return t, err
}

func (u *Upstream) wait(p *Pick, w *waiter, timeout <-chan time.Time) (*Target, error) {
	q := &u.core.queue
	for {
		select {
		case <-w.look:
			freed := q.places()
			p.now = u.now()
			t, err := u.acquire(p)
			if err != ErrBusy {
				return t, err
			}
			q.foundNone(w, freed)
		case <-timeout:
			return nil, errQueueTimeout
		case <-p.Cancel:
			return nil, ErrCanceled
		}
	}
}

// enter adds w at the end, or behind the last later attempt if w is one itself. If only later
// attempts are before w, or nothing is, w looks at once: a place may have become free after w
// was refused and before it was in the queue.
func (q *queue) enter(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	prev, next := q.last, (*waiter)(nil)
	if w.later {
		prev, next = nil, q.first
		for next != nil && next.later {
			prev, next = next, next.next
		}
	}
	q.link(prev, w)
	q.link(w, next)
	if prev == nil || prev.later {
		q.freed = max(q.freed, 1) // if w does not look after all, the next one does
		w.tell()
	}
}

// leave takes w out of the queue; w has a place if err is nil. The next exchange looks if
// more places have become free, or if there may be no target for anyone.
func (q *queue) leave(w *waiter, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.link(w.prev, w.next)
	if err == nil {
		q.freed = max(0, q.freed-1)
	}
	if q.freed > 0 || err == ErrNoTarget {
		q.tell()
	}
}

// link makes b follow a; nil stands for the ends of the queue.
func (q *queue) link(a, b *waiter) {
	if a == nil {
		q.first = b
	} else {
		a.next = b
	}
	if b == nil {
		q.last = a
	} else {
		b.prev = a
	}
}

// places returns how many places have become free.
func (q *queue) places() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.freed
}

// foundNone says that w has looked for n places that had become free, and has found none. A
// later attempt lets the next exchange look; after a first attempt, others have taken the places.
func (q *queue) foundNone(w *waiter, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.later && w.next != nil {
		w.next.tell()
		return
	}
	q.freed = max(0, q.freed-n)
}

// wake says that up to so many places have become free.
func (q *queue) wake(places int) {
	if places == 0 || q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == nil {
		return // the one that is about to enter will look
	}
	q.freed += places
	q.tell()
}

// wakeAll says that any number of places may have become free.
func (q *queue) wakeAll() { q.wake(int(q.waiting.Load())) }

// tell lets the first exchange look. mu must be held.
func (q *queue) tell() {
	if q.first == nil {
		q.freed = 0
		return
	}
	q.first.tell()
}

// tell lets w look. The queue's mu must be held.
func (w *waiter) tell() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

// RetryAfter returns what a 503 for ErrBusy and ErrBreakerOpen tells the client
// to wait, in whole seconds; at least 1.
func (u *Upstream) RetryAfter() int {
	d := u.cfg.Limits.RetryAfter.D()
	return max(1, int((d+time.Second-1)/time.Second))
}

// Queued returns how many exchanges wait for a place.
func (u *Upstream) Queued() int { return int(u.core.queue.waiting.Load()) }
