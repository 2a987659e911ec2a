package lb

import (
	"sync"
	"sync/atomic"
	"time"
)

// queue is where exchanges wait for a place, first come, first served. Only the first one
// looks for places, and leaves when it has one; so no place is lost, and none is overtaken.
type queue struct {
	waiting atomic.Int64 // how many wait

	mu    sync.Mutex
	first *waiter
	last  *waiter
	// freed is how many places have become free, as far as is known, since the first one
	// looked last.
	freed int
}

// waiter is one exchange in the queue.
type waiter struct {
	look       chan struct{} // has room for one wake
	prev, next *waiter
}

// queue waits until p gets a target, or the queue's limits end the wait.
func (u *Upstream) queue(p *Pick) (*Target, error) {
	q := &u.core.queue
	p.Queued = true
	if q.waiting.Add(1) > int64(u.cfg.Limits.Queue) {
		q.waiting.Add(-1)
		return nil, ErrBusy
	}
	w := &waiter{look: make(chan struct{}, 1)}
	timer := time.NewTimer(u.cfg.Limits.QueueTimeout.D())
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
			freed := q.known()
			p.now = u.now()
			t, err := u.acquire(p)
			if err != ErrBusy {
				return t, err
			}
			q.used(freed)
		case <-timeout:
			return nil, ErrBusy
		case <-p.Cancel:
			return nil, ErrCanceled
		}
	}
}

// enter adds w at the end. If w is the first one it is to look at once, for a place that
// became free after it was refused and before it was here.
func (q *queue) enter(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.prev = q.last
	q.link(w.prev, w)
	q.link(w, nil)
	if q.first == w {
		q.tell()
	}
}

// leave takes w out, which has got a place if err is nil. The next one looks if more
// places have become free, or if there may be no target for any of them.
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

// known returns how many places have become free.
func (q *queue) known() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.freed
}

// used says that so many of the places are taken by others.
func (q *queue) used(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
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

// tell lets the first one look. mu must be held.
func (q *queue) tell() {
	if q.first == nil {
		q.freed = 0
		return
	}
	select {
	case q.first.look <- struct{}{}:
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
