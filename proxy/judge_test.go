package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/transport"
	"weir/lb"
)

// Each way to fail has its cause, its status and its meaning for the balancer.
func TestJudge(t *testing.T) {
	check := func(cause Cause, want Cause, status int, kind lb.Kind) {
		t.Helper()
		if cause != want {
			t.Errorf("cause is %v, want %v", cause, want)
		}
		if got := cause.status(); got != status {
			t.Errorf("%v: status is %d, want %d", cause, got, status)
		}
		if got := (&attemptError{cause: cause}).outcome(); got != kind {
			t.Errorf("%v: outcome is %v, want %v", cause, got, kind)
		}
	}
	dial := func(err error) Cause { return dialFailure(err).cause }
	refused := &transport.DialError{Phase: "connect", Refused: true, Err: syscall.ECONNREFUSED}
	check(dial(refused), CauseConnect, 502, lb.ConnectFailed)
	check(dial(fmt.Errorf("more: %w", refused)), CauseConnect, 502, lb.ConnectFailed)
	check(dial(&transport.DialError{Phase: "connect", Timeout: true, Err: os.ErrDeadlineExceeded}), CauseConnectTimeout, 504, lb.ConnectFailed)
	check(dial(&transport.DialError{Phase: "resolve", Err: errors.New("no such host")}), CauseConnect, 502, lb.ConnectFailed)
	check(dial(&transport.DialError{Phase: "tls", Timeout: true, Err: os.ErrDeadlineExceeded}), CauseTLS, 502, lb.ConnectFailed)
	check(dial(transport.ErrNoConn), CauseBusy, 503, lb.Canceled)

	check(headCause(io.EOF, false), CauseReset, 502, lb.Reset)
	check(headCause(syscall.ECONNRESET, false), CauseReset, 502, lb.Reset)
	check(headCause(io.ErrUnexpectedEOF, true), CauseBadResponse, 502, lb.BadResponse)
	check(headCause(head.DefectBareLF, true), CauseBadResponse, 502, lb.BadResponse)
	check(headCause(os.ErrDeadlineExceeded, false), CauseFirstByte, 504, lb.Timeout)
	check(headCause(os.ErrDeadlineExceeded, true), CauseFirstByte, 504, lb.Timeout)

	bodyCause := NewExchange().bodyCause
	check(bodyCause(body.ErrTruncated), CauseTruncated, 502, lb.Reset)
	check(bodyCause(syscall.ECONNRESET), CauseTruncated, 502, lb.Reset)
	check(bodyCause(body.DefectChunk), CauseBadResponse, 502, lb.BadResponse)
	check(bodyCause(os.ErrDeadlineExceeded), CauseStalled, 502, lb.Timeout)
}

// Every cause has a name of its own.
func TestCauseNames(t *testing.T) {
	seen := map[string]bool{}
	for i, name := range Causes() {
		if name == "" || seen[name] {
			t.Errorf("cause %d has the name %q", i, name)
		}
		seen[name] = true
	}
}
