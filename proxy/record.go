package proxy

import (
	"time"

	"weir/internal/head"
	"weir/lb"
)

// Record is told what no hook sees of an exchange that is recorded.
type Record interface {
	// Tried is called when an attempt has ended, on the exchange's goroutine. A hedge that lost
	// is not told: it may end after the exchange.
	Tried(t Tried)
}

// Tried is an attempt that has ended. Target and Request are borrowed for the call.
type Tried struct {
	Target *lb.Target
	// Request is the head that the target got, or was to get.
	Request *head.Head
	// Began is when the attempt began, Opened when it had its connection; zero if it got none. Asked is
	// when the last byte of a body was sent that went on while it came, else Began.
	Began, Opened, Asked time.Time
	// FirstByte is how long it took from Asked to the response's head; 0 if none came.
	FirstByte time.Duration
	// Reused says that the connection was there before the attempt, and Version what is spoken on it; HTTP/1.1 without
	// a connection.
	Reused  bool
	Version head.Version
	// Status is that of the response; 0 if none came. Cause says how the attempt ended, and Err
	// why; it may be nil.
	Status int
	Cause  Cause
	Err    error
	// Trace is what the attempt is in traces, and Upstream where its target belongs.
	Trace    AttemptTrace
	Upstream *Upstream
}

// tried says how a has ended.
func (a *attempt) tried(e *ending) Tried {
	t := Tried{
		Target: a.target, Request: a.request, Began: a.began, Opened: a.opened, Asked: a.asked, FirstByte: a.firstByte,
		Status: e.status, Cause: e.cause, Err: e.err, Trace: a.trace, Upstream: a.upstream,
	}
	if a.stream != nil {
		t.Reused, t.Version = a.connecting == 0, a.stream.Version()
	}
	return t
}
