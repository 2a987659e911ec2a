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
	// Gone looks whether the client has left, for front ends that are not told; half says that one
	// which has closed its sending side may count as gone. It must not block, and is not called
	// twice at once. nil means that the front end calls Cancel.
	Gone func(half bool) bool

	canceled atomic.Bool
	mu       sync.Mutex
	// waiting is what the exchange waits for, since when; nil while it does not wait.
	waiting Interrupter
	since   time.Time
	// why is what the front end knows of the reason; nil for nothing.
	why error
}

// Reset forgets that the last exchange was canceled. None may be waiting.
func (c *Cancel) Reset() {
	if c.canceled.Load() {
		c.why = nil
		c.canceled.Store(false)
	}
}

// Cancel ends the exchange, because the client went away.
func (c *Cancel) Cancel() { c.CancelFor(nil) }

// CancelFor ends the exchange. why is what is known of the reason: a *head.Defect if the client has broken a rule; nil
// for nothing.
func (c *Cancel) CancelFor(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.canceled.Load() {
		c.why = why
	}
	c.cancelLocked()
}

// reason is why the exchange was canceled, as far as the front end has said.
func (c *Cancel) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
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

// noticeGone is disarm after a wait in which the client may have left unnoticed: a target is about to work for
// that client, so noticeGone looks for it.
func (c *Cancel) noticeGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	half := time.Since(c.since) >= CheckAfter
	c.waiting, c.since = nil, time.Time{}
	if c.Gone != nil && c.Gone(half) {
		c.canceled.Store(true)
	}
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

// CheckAfter is how long an exchange must have waited before Check looks at its client; shorter ones
// are over before a look would help.
const CheckAfter = time.Second

// Check cancels the exchange if it has been waiting for CheckAfter now and its client has left; an
// exchange that was canceled before is interrupted again. Front ends that set Gone call it every
// now and then.
func (c *Cancel) Check(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil || now.Sub(c.since) < CheckAfter {
		return
	}
	if c.canceled.Load() || c.Gone(true) {
		c.cancelLocked()
	}
}
