package load

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The histogram keeps three digits between a microsecond and two minutes.
const (
	shortest = int64(time.Microsecond)
	longest  = int64(2 * time.Minute)
	digits   = 3
)

// tally collects a phase. The goroutine engine calls it from many goroutines.
type tally struct {
	opt   *Options
	every time.Duration // 0: no intervals
	start time.Time

	progress atomic.Int64 // whole answers

	mu         sync.Mutex
	abandoned  bool // nothing counts any more
	requests   int64
	bytes      int64
	latency    *hdrhistogram.Histogram
	errors     map[string]int64
	statuses   map[int]int64
	reconnects int64
	piece      Interval // the one that is running
	pieces     []Interval
	short      *hdrhistogram.Histogram // latency of the running interval
}

func newTally(opt *Options, every time.Duration) *tally {
	t := &tally{
		opt: opt, every: every, start: time.Now(), latency: hdrhistogram.New(shortest, longest, digits),
		statuses: make(map[int]int64),
	}
	if every > 0 {
		t.short = hdrhistogram.New(shortest, longest, digits)
	}
	return t
}

// answer is a whole answer.
type answer struct {
	status int
	body   int64 // bytes
}

// answered counts a whole answer, expected or not.
func (t *tally) answered(a answer, latency int64) {
	t.progress.Add(1)
	cause := verdict(a, t.opt)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return
	}
	t.roll()
	t.statuses[a.status]++
	t.bytes += a.body
	t.recordLocked(latency)
	if cause != "" {
		t.failLocked(cause)
		return
	}
	t.requests++
	t.piece.Requests++
}

// record takes in the time that a request waited in vain.
func (t *tally) record(latency int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.abandoned {
		t.roll()
		t.recordLocked(latency)
	}
}

func (t *tally) recordLocked(latency int64) {
	h := t.latency
	if t.every > 0 {
		h = t.short
	}
	if err := h.RecordValue(min(max(latency, shortest), longest)); err != nil {
		panic("BUG: latency outside the histogram after clamping: " + err.Error())
	}
}

// failed counts a request that ended for a cause.
func (t *tally) failed(cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.abandoned {
		t.roll()
		t.failLocked(cause)
	}
}

func (t *tally) failLocked(cause string) {
	if t.errors == nil {
		t.errors = make(map[string]int64)
	}
	t.errors[cause]++
	t.piece.Failed++
}

func (t *tally) reconnected() {
	t.mu.Lock()
	t.reconnects++
	t.mu.Unlock()
}

// abandon makes that nothing counts from now on.
func (t *tally) abandon() {
	t.mu.Lock()
	t.abandoned = true
	t.mu.Unlock()
}

// roll ends the intervals that are over.
func (t *tally) roll() {
	if t.every == 0 {
		return
	}
	for now := time.Since(t.start); now >= t.piece.Start+t.every; {
		t.end(t.every)
	}
}

// end ends the running interval and begins the next one.
func (t *tally) end(length time.Duration) {
	p, at := &t.piece, func(q float64) time.Duration { return time.Duration(t.short.ValueAtQuantile(q)) }
	p.Length = length
	if t.short.TotalCount() > 0 {
		p.P50, p.P90, p.P99, p.P999, p.Max = at(50), at(90), at(99), at(99.9), time.Duration(t.short.Max())
		t.latency.Merge(t.short)
		t.short.Reset()
	}
	t.pieces = append(t.pieces, *p)
	*p = Interval{Start: p.Start + length}
}

// result is what was collected by the end of a phase.
func (t *tally) result(elapsed time.Duration) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.every > 0 {
		t.roll()
		if rest := time.Since(t.start) - t.piece.Start; t.piece.Requests+t.piece.Failed > 0 || rest >= t.every/2 {
			t.end(rest)
		}
	}
	return Result{
		Requests: t.requests, Errors: t.errors, Statuses: t.statuses, Bytes: t.bytes, Reconnects: t.reconnects,
		Elapsed: elapsed, Latency: t.latency, Intervals: t.pieces,
	}
}

// Causes of failed requests, next to "status NNN" and what response.feed says.
const (
	causeTimeout = "timeout"
	causeConnect = "connect"
	causeReset   = "reset"
	causeEOF     = "closed before the answer's end"
	causeLength  = "body of another length"
	causeExtra   = "bytes after the answer"
)

// causeOf names an error of a connection.
func causeOf(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return causeEOF
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return causeTimeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return causeReset
	case errors.Is(err, net.ErrClosed):
		return causeTimeout // only the watchdog closes a connection under its user
	}
	return err.Error()
}

// verdict says why a whole answer is not the expected one; "" means it is.
func verdict(a answer, opt *Options) string {
	if opt.Status < 0 && a.status >= 400 || opt.Status > 0 && a.status != opt.Status {
		return "status " + strconv.Itoa(a.status)
	}
	if opt.Body >= 0 && a.body != opt.Body {
		return causeLength
	}
	return ""
}
