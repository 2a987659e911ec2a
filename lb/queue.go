package lb

import (
	"sync"
	"sync/atomic"
	"time"
)

// queue is where exchanges wait for a place, first come, first served.
type queue struct {
	waiting atomic.Int64 // how many wait or were woken and not served yet

	mu    sync.Mutex
	first *waiter
	last  *waiter
}

// waiter is one exchange in the queue.
type waiter struct {
	ready      chan struct{} // has room for one wake
	prev, next *waiter
	linked     bool
}

// queue waits until p gets a target, or the queue's limits end the wait.
func (u *Upstream) queue(p *Pick) (*Target, error) {
	q := &u.core.queue
	if q.waiting.Add(1) > int64(u.cfg.Limits.Queue) {
		q.waiting.Add(-1)
		return nil, ErrBusy
	}
	w := &waiter{ready: make(chan struct{}, 1)}
	timer := time.NewTimer(u.cfg.Limits.QueueTimeout.D())
	q.push(w, false)
	// No waiter was woken by a place that became free between the refusal and the
	// push.
	q.wake()
	t, err := u.wait(p, w, timer.C)
	timer.Stop()
	if !q.remove(w) && t == nil {
		q.wake() // the wake that this one got is the next one's
	}
	q.waiting.Add(-1)
	return t, err
}

func (u *Upstream) wait(p *Pick, w *waiter, timeout <-chan time.Time) (*Target, error) {
	for {
		select {
		case <-w.ready:
			t, err := u.acquire(p)
			if err != ErrBusy {
				return t, err
			}
			u.core.queue.push(w, true)
		case <-timeout:
			return nil, ErrBusy
		case <-p.Cancel:
			return nil, ErrCanceled
		}
	}
}

// push adds w at the end, or at the front.
func (q *queue) push(w *waiter, front bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.linked = true
	w.prev, w.next = q.last, nil
	if front {
		w.prev, w.next = nil, q.first
	}
	q.link(w.prev, w)
	q.link(w, w.next)
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

// remove takes w out and reports whether it was in.
func (q *queue) remove(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.removeLocked(w)
}

func (q *queue) removeLocked(w *waiter) bool {
	if w == nil || !w.linked {
		return false
	}
	w.linked = false
	q.link(w.prev, w.next)
	return true
}

// wake lets the first one try again.
func (q *queue) wake() {
	if q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if w := q.first; w != nil {
		q.removeLocked(w)
		w.ready <- struct{}{}
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
