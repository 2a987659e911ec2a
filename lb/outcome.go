package lb

import (
	"errors"
	"strconv"
	"time"
)

// Kind is how an attempt ended, as far as its target is concerned.
type Kind uint8

// The ways an attempt can end.
const (
	// Success is a response, whatever its status: that is judged on its own.
	Success Kind = iota
	// ConnectFailed is a connection that could not be made: nothing was sent.
	ConnectFailed
	// Reset is a connection that ended before the response's head was complete.
	Reset
	// Timeout is a response that did not begin, or go on, in time.
	Timeout
	// BadResponse is bytes that are no response, or a response whose body broke off.
	BadResponse
	// Canceled is an attempt that the client or weir ended: it says nothing about the target.
	Canceled
	// LocalError is a failure on weir's side, such as no file descriptors left:
	// it says nothing about the target.
	LocalError
	// AlreadyReported is what Release is given if Report was called already.
	AlreadyReported
)

// String returns the kind's name, which retry.on uses too.
func (k Kind) String() string {
	switch k {
	case Success:
		return "success"
	case ConnectFailed:
		return "connect"
	case Reset:
		return "reset"
	case Timeout:
		return "timeout"
	case BadResponse:
		return "bad_response"
	case Canceled:
		return "canceled"
	case LocalError:
		return "local"
	case AlreadyReported:
		return "already_reported"
	}
	panic("BUG: an outcome has no name")
}

// Outcome is what one attempt says about its target.
type Outcome struct {
	Kind Kind
	// Status is the response's status; 0 means that there was none.
	Status int
	// Latency is the time from the attempt's start, or from the last byte of a body that
	// was streamed, to the response's head; or from the start to the failure.
	Latency time.Duration
	// Err is why the attempt failed, for people; nil if it did not, or if there is no more to say
	// than Kind and Status do.
	Err error
}

// explain appends why the attempt failed to what is said of it.
func (o Outcome) explain(what string) string {
	if o.Err == nil {
		return what
	}
	return what + ": " + o.Err.Error()
}

// String says how the attempt ended.
func (o Outcome) String() string {
	if o.Kind == Success {
		return "status " + strconv.Itoa(o.Status)
	}
	return o.explain(o.Kind.String())
}

// verdict is what an outcome counts as.
type verdict uint8

const (
	unjudged verdict = iota
	succeeded
	// erred is a status that speaks of a fault, but perhaps one of the page and not of the
	// target: it counts in shares of failures, and not among failures in a row.
	erred
	failed
)

// judge says what o counts as. Of the statuses, those are failures that the configuration
// says. The others by which a server says that it cannot answer are errors; 501 and 505 are
// about the request.
func (o Outcome) judge(failures *statusSet) verdict {
	switch o.Kind {
	case Success:
		if failures.has(o.Status) {
			return failed
		}
		switch o.Status {
		case 500, 502, 503, 504:
			return erred
		}
		return succeeded
	case ConnectFailed, Reset, Timeout, BadResponse:
		return failed
	}
	return unjudged
}

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
