package proxy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"weir/internal/head"
	"weir/internal/sock"
	"weir/internal/transport"
	"weir/lb"
)

// fault says who is to blame for a failed attempt.
type fault uint8

const (
	// The zero fault is that of the target, or of the way to it.
	_ fault = iota
	// faultClient: the client sent something wrong or went away; no other attempt helps.
	faultClient
	// faultOurs: a bug in weir or in a hook; no other attempt helps.
	faultOurs
	// faultLocal: weir lacks what an attempt takes, such as descriptors.
	faultLocal
)

// attemptError says how an attempt failed, and how far it had come.
type attemptError struct {
	cause Cause
	err   error
	fault fault
	// sent says that bytes of the request may have reached the target.
	sent bool
	// stale says that a pooled connection ended before it answered a byte: the
	// target may have closed it without any fault of this exchange.
	stale bool
	// status is that of a response that is to be tried again, else 0; retryAfter is
	// what it says.
	status     int
	retryAfter []byte
	retry      retry
}

// retry is another attempt that was allowed and taken from the budget.
type retry struct {
	granted bool
	at      int64 // when, in Monotonic time
	wait    time.Duration
}

// final says that no other attempt could help.
func (e *attemptError) final() bool { return e.fault == faultClient || e.fault == faultOurs }

func (e *attemptError) Error() string { return e.cause.String() + ": " + e.err.Error() }

func (e *attemptError) Unwrap() error { return e.err }

// dialFailure turns what Transport.Open returned into an attemptError.
func dialFailure(err error) *attemptError {
	e := &attemptError{cause: CauseConnect, err: err}
	var de *transport.DialError
	switch {
	case errors.Is(err, transport.ErrNoConn):
		e.cause = CauseBusy
	case exhausted(err):
		e.cause, e.fault = CauseBusy, faultLocal
	case errors.Is(err, transport.ErrVersion):
		e.fault = faultOurs // no target could do better
	case errors.As(err, &de) && de.Phase == "tls":
		e.cause = CauseTLS
	case errors.As(err, &de) && de.Timeout:
		e.cause = CauseConnectTimeout
	}
	return e
}

// exhausted says that weir itself lacks what a connection takes, descriptors or
// ports: no fault of the target, which must not be thought unreachable for it.
func exhausted(err error) bool {
	return sock.NoDescriptors(err) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// clientCause names why reading from or writing to a client failed.
func clientCause(err error) Cause {
	if d, ok := errors.AsType[*head.Defect](err); ok {
		return CauseOf(d)
	}
	switch {
	case sock.TimedOut(err):
		return CauseClientSlow
	case errors.Is(err, net.ErrClosed): // by us
		return CauseShutdown
	}
	return CauseClientGone
}

// status is what a client is told if an exchange ends for this reason before an
// answer began.
func (c Cause) status() int {
	switch c {
	case CauseNoTarget, CauseBusy, CauseBreaker:
		return 503
	case CauseConnectTimeout, CauseFirstByte, CauseWriteTimeout, CauseTotal:
		return 504
	case CauseClientSlow:
		return 408
	case CauseBodyTooLarge:
		return 413
	case CauseBadRequest, CauseClientGone:
		return 400
	case CausePanic:
		return 500
	}
	return 502
}

// headCause names why no response head could be read.
func headCause(err error, started bool) Cause {
	var d *head.Defect
	var op *net.OpError
	switch {
	case errors.As(err, &d):
		return CauseBadResponse
	case errors.As(err, &op) && op.Op == "remote error":
		// An alert: with TLS 1.3 a target that wants a certificate says so after the handshake.
		return CauseTLS
	case sock.TimedOut(err):
		return CauseFirstByte
	case started && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return CauseBadResponse
	}
	return CauseReset
}

// bodyCause names why the response's body broke off.
func (x *Exchange) bodyCause(err error) Cause {
	var d *head.Defect
	switch {
	case errors.As(err, &d):
		return CauseBadResponse
	case sock.TimedOut(err) && x.time.late(time.Now()):
		return CauseTotal
	case sock.TimedOut(err):
		return CauseStalled
	}
	return CauseTruncated
}

// outcome tells the balancer how an attempt went. A pooled connection that was
// closed while no exchange used it says nothing about its target.
func (e *attemptError) outcome() lb.Kind {
	if e.stale {
		return lb.Canceled
	}
	return e.kind()
}

// kind is what happened, for the retry policy.
func (e *attemptError) kind() lb.Kind {
	switch {
	case e.final():
		return lb.Canceled
	case e.fault == faultLocal:
		return lb.LocalError
	case e.status != 0:
		return lb.Success
	case e.cause == CauseConnect, e.cause == CauseConnectTimeout, e.cause == CauseTLS && !e.sent:
		return lb.ConnectFailed
	case e.cause == CauseBusy, e.cause == CauseTotal:
		return lb.Canceled
	case e.cause == CauseFirstByte, e.cause == CauseStalled, e.cause == CauseWriteTimeout:
		return lb.Timeout
	case e.cause == CauseBadResponse:
		return lb.BadResponse
	}
	return lb.Reset
}

// CauseOf names the cause for a defect of a request head.
func CauseOf(d *head.Defect) Cause {
	switch d.Status {
	case 405:
		return CauseMethod
	case 411:
		return CauseLengthRequired
	case 414:
		return CauseTargetTooLong
	case 431:
		return CauseHeadTooLarge
	case 501:
		return CauseCoding
	case 505:
		return CauseBadVersion
	}
	return CauseBadRequest
}
