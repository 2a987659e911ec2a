package load

import (
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
	requests atomic.Int64

	mu         sync.Mutex
	latency    *hdrhistogram.Histogram
	errors     map[string]int64
	reconnects int64
}

func newTally() *tally {
	return &tally{latency: hdrhistogram.New(shortest, longest, digits)}
}

// answered counts an expected answer.
func (t *tally) answered(latency int64) {
	t.requests.Add(1)
	t.record(latency)
}

func (t *tally) record(latency int64) {
	latency = min(max(latency, shortest), longest)
	t.mu.Lock()
	err := t.latency.RecordValue(latency)
	t.mu.Unlock()
	if err != nil {
		panic("BUG: latency outside the histogram after clamping: " + err.Error())
	}
}

// failed counts n requests that ended for one cause.
func (t *tally) failed(cause string, n int64) {
	t.mu.Lock()
	if t.errors == nil {
		t.errors = make(map[string]int64)
	}
	t.errors[cause] += n
	t.mu.Unlock()
}

func (t *tally) reconnected() {
	t.mu.Lock()
	t.reconnects++
	t.mu.Unlock()
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
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return causeTimeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return causeReset
	case errors.Is(err, net.ErrClosed):
		return causeTimeout // only the watchdog closes a connection under its user
	}
	return err.Error()
}

// verdict says why an ended answer is not the expected one; "" means it is.
func verdict(r *response, opt *Options) string {
	if r.status != opt.Status {
		return "status " + strconv.Itoa(r.status)
	}
	if opt.Body >= 0 && r.body != opt.Body {
		return causeLength
	}
	return ""
}
