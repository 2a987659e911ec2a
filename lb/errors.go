package lb

import "errors"

// The reasons why Acquire has no target. The exchange is answered with 503.
var (
	// ErrNoTarget says that no target is usable: all are out, or were tried.
	ErrNoTarget = errors.New("no usable target")
	// ErrBusy says that the limits of running exchanges are reached, and the
	// queue is full, or the wait in it was too long.
	ErrBusy = errors.New("too many running exchanges")
	// ErrBreakerOpen says that the circuit breaker lets nothing through now.
	ErrBreakerOpen = errors.New("circuit breaker open")
	// ErrCanceled says that Pick.Cancel ended the wait in the queue.
	ErrCanceled = errors.New("canceled while waiting for a target")
)
