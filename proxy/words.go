package proxy

import (
	"errors"
	"fmt"
	"io"
	"time"

	"weir/internal/sock"
	"weir/internal/transport"
)

// worded is an error in words for operators, who need not know what the system calls it.
type worded struct {
	text string
	err  error
}

func (e *worded) Error() string { return e.text }

func (e *worded) Unwrap() error { return e.err }

// inWords says why an attempt failed, where the system's error does not: which limit has passed, or that the target closed
// the connection.
func (x *Exchange) inWords(e *attemptError) *attemptError {
	if text := x.reason(e.cause, e.err); text != "" {
		e.err = &worded{text, e.err}
	}
	return e
}

// fairly takes the blame from the target if all that has passed is a deadline that the client has set, and the target takes no
// longer than it usually does: else any client could have targets ejected by asking for answers in no time.
func (a *attempt) fairly(e *attemptError) *attemptError {
	now := time.Now()
	if e.cause == CauseFirstByte && a.x.time.late(now) && a.impatient(now.Sub(a.asked)) {
		e.cause = CauseTotal
	}
	return e
}

// fairlyDialed takes the blame from a target that had no time to take a connection: what was left of the exchange's time was
// a deadline of the client's below a second, or a small rest of it. One failed connect takes a target out for all.
func (a *attempt) fairlyDialed(e *attemptError, left time.Duration) *attemptError {
	x := a.x
	if cutShort(e.err) && (x.hasOwnDeadline() && left < time.Second || left < x.time.limits.total/2) {
		e.cause = CauseTotal
		e.err = &worded{x.lateness() + " before there was a connection", e.err}
	}
	return e
}

// cutShort says that connecting ended because the exchange's time was over.
func cutShort(err error) bool {
	d, ok := errors.AsType[*transport.DialError](err)
	return ok && d.Cut
}

// impatient says that the client has set a deadline of its own, and that the target is not late when it has taken so long.
func (a *attempt) impatient(took time.Duration) bool {
	return a.x != nil && a.x.hasOwnDeadline() && !a.upstream.Set.Overdue(a.target, took)
}

// bodyError says why the response's body broke off, as inWords does.
func (x *Exchange) bodyError(cause Cause, err error) error {
	if text := x.reason(cause, err); text != "" {
		return &worded{text, err}
	}
	return err
}

// reason is what inWords says; empty if err says it better.
func (x *Exchange) reason(cause Cause, err error) string {
	l := &x.time.limits
	switch late := sock.TimedOut(err); {
	case late && x.time.late(time.Now()):
		return x.lateness()
	case late && cause == CauseFirstByte && l.head() == l.try:
		return fmt.Sprintf("the target did not answer within %s (retry.try_timeout)", l.try)
	case late && cause == CauseFirstByte:
		return fmt.Sprintf("the target did not answer within %s (timeouts.first_byte)", l.firstByte)
	case late && cause == CauseStalled:
		return fmt.Sprintf("the target sent nothing more for %s (timeouts.idle)", l.idle)
	case late && cause == CauseWriteTimeout:
		return fmt.Sprintf("the target took nothing of the request for %s (timeouts.write)", x.Upstream.write)
	case cause == CauseReset && err == io.EOF:
		return "the target closed the connection without an answer"
	case cause == CauseBadResponse && (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)):
		return "the target closed the connection before its response had a whole head"
	}
	return ""
}

// lateness says which limit of the whole exchange has passed.
func (x *Exchange) lateness() string {
	if x.hasOwnDeadline() {
		return fmt.Sprintf("the deadline that the client has set has passed (grpc-timeout, %s)", x.time.limits.total)
	}
	return fmt.Sprintf("the exchange has taken %s (timeouts.total)", x.time.limits.total)
}
