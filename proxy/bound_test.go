package proxy

import (
	"sync"
	"time"
)

// bound is a deadline of waits, which another goroutine may move while they last.
type bound struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{}
}

// set moves the deadline; the zero time stands for none.
func (b *bound) set(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	passed := b.passed
	if passed == nil || closed(passed) {
		passed = make(chan struct{})
		b.passed = passed
	}
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(passed)
	default:
		b.timer = time.AfterFunc(left, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.passed == passed && !closed(passed) {
				close(passed)
			}
		})
	}
}

// wait returns what is closed when the deadline has passed.
func (b *bound) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.passed == nil {
		b.passed = make(chan struct{})
	}
	return b.passed
}

// over says whether the deadline has passed and was not moved since: as with sockets,
// who waits does not notice a deadline that another one replaced at once.
func (b *bound) over() bool { return closed(b.wait()) }

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
