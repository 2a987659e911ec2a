package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// Interrupter is something that an exchange waits for and that can be interrupted, by
// any goroutine, any number of times.
type Interrupter interface {
	Interrupt()
}

// Cancel ends an exchange whose client went away. Once canceled it stays so until
// Reset: a client that goes away between two waits is noticed by the next one. The
// zero value is ready.
type Cancel struct {
	canceled atomic.Bool
	mu       sync.Mutex
	// waiting is what the exchange waits for, since when; nil while it does not wait.
	waiting Interrupter
	since   time.Time
}

// Reset forgets that the last exchange was canceled. None may be waiting.
func (c *Cancel) Reset() { c.canceled.Store(false) }

// Cancel ends the exchange.
func (c *Cancel) Cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelLocked()
}

func (c *Cancel) cancelLocked() {
	c.canceled.Store(true)
	if c.waiting != nil {
		c.waiting.Interrupt()
	}
}

// Canceled says whether the exchange was canceled.
func (c *Cancel) Canceled() bool { return c.canceled.Load() }

// arm says that the exchange waits for w from now on, which is interrupted at once if
// the exchange was canceled before.
func (c *Cancel) arm(w Interrupter, now time.Time) {
	c.mu.Lock()
	c.waiting, c.since = w, now
	if c.canceled.Load() {
		w.Interrupt()
	}
	c.mu.Unlock()
}

// disarm says that the exchange does not wait any more, and reports whether it was
// canceled.
func (c *Cancel) disarm() bool {
	c.mu.Lock()
	c.waiting, c.since = nil, time.Time{}
	c.mu.Unlock()
	return c.canceled.Load()
}

// channel returns a channel that is closed when the exchange is canceled, until
// disarm.
func (c *Cancel) channel(now time.Time) <-chan struct{} {
	w := make(waitChannel)
	c.arm(w, now)
	return w
}

// waitChannel is closed when it is interrupted. The Cancel's lock is held.
type waitChannel chan struct{}

func (w waitChannel) Interrupt() {
	select {
	case <-w:
	default:
		close(w)
	}
}

// Check cancels the exchange if it has been waiting since before old and gone
// reports that the client went away; an exchange that was canceled before is
// interrupted again. Front ends that cannot be told when a client goes away call it
// every now and then; gone must not block.
func (c *Cancel) Check(old time.Time, gone func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil || c.since.After(old) {
		return
	}
	if c.canceled.Load() || gone() {
		c.cancelLocked()
	}
}
