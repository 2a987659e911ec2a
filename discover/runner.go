package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"time"
)

const (
	// firstWait is the wait before what failed is run again; it doubles each time, up to
	// longestWait, until it has been well for a while; what has reported before it failed
	// waits for no longer than shortWait. What has failed for failingLong is run again after
	// restingWait.
	firstWait   = 250 * time.Millisecond
	shortWait   = 500 * time.Millisecond
	longestWait = time.Second
	failingLong = 5 * time.Minute
	restingWait = 10 * time.Second
	// logAgain is how often a failure is logged that goes on, or comes again and again, for the same reason.
	logAgain = time.Minute
	// calm is how long what runs must be well before its next failure is a new one: one that is waited for and
	// logged like the first.
	calm = 5 * time.Second
)

// runner runs a source, a catalog or documents again and again, and knows how they are.
type runner struct {
	name    string // in logs, without secrets
	log     *slog.Logger
	onPanic func(v any)

	mu      sync.Mutex
	seen    time.Time // of the last report; zero: none yet
	failing string    // why it fails; empty: it does not
	since   time.Time // when it began to fail
	well    time.Time // when it was well again for the first time since
	told    string    // the reason that was logged last
	logged  time.Time // when that was
	silent  bool      // that it fails now was not logged
	total   uint64    // failures
}

// newRunner returns the runner of what has this name; log and onPanic may be nil.
func newRunner(name string, log *slog.Logger, onPanic func(v any)) *runner {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if onPanic == nil {
		onPanic = func(any) {}
	}
	return &runner{name: name, log: log, onPanic: onPanic}
}

// keep calls run until it returns nil, which keep reports by true, or until ctx ends.
func (r *runner) keep(ctx context.Context, run func(ctx context.Context) error) (done bool) {
	wait := firstWait
	for {
		began := time.Now()
		err := r.once(ctx, run)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return true
		}
		seen, since := r.failed(err)
		reported := !seen.Before(began)
		longest := longestWait
		switch {
		case reported && time.Since(began) >= calm:
			wait = firstWait
		case reported:
			wait = min(wait, shortWait)
		case time.Since(since) > failingLong:
			longest = restingWait
		}
		// Half of it by chance, so that many upstreams do not ask a registry that is
		// back all at once.
		pause := wait/2 + rand.N(wait/2)
		if asked, ok := errors.AsType[*retryAfter](err); ok {
			pause = max(pause, min(asked.wait, restingWait))
		}
		if Sleep(ctx, pause) != nil {
			return false
		}
		wait = min(2*wait, longest)
	}
}

// retryAfter is an error of a server that says when to ask it again.
type retryAfter struct {
	error
	wait time.Duration
}

// RetryAfter returns err, after which a source is not run again before the time that a server names in its
// field Retry-After (RFC 9110 section 10.2.3), which may be empty: in seconds, and up to ten of them.
func RetryAfter(err error, field string) error {
	seconds, wrong := strconv.ParseUint(field, 10, 32)
	if wrong != nil {
		return err
	}
	return &retryAfter{err, time.Duration(seconds) * time.Second}
}

// once calls run. A panic is an error.
func (r *runner) once(ctx context.Context, run func(ctx context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			r.onPanic(v)
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return run(ctx)
}

// ownPort is the port of weir's side in an error of a connection, which is another one for each connection.
var ownPort = regexp.MustCompile(`:\d+->`)

// failed notes a failure, and logs it unless the same was logged a short time ago.
func (r *runner) failed(err error) (seen, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, reason := time.Now(), ownPort.ReplaceAllString(err.Error(), "->")
	r.total++
	began := r.failing == ""
	if began {
		r.since = now
	}
	if reason != r.told || now.Sub(r.logged) >= logAgain || began && now.Sub(r.well) >= calm {
		r.told, r.logged, r.silent = reason, now, false
		r.log.Warn("a source failed, what it found stays", "source", r.name, "error", err)
	} else if began {
		r.silent = true
	}
	r.failing = reason
	return r.seen, r.since
}

// confirmed notes a report.
func (r *runner) confirmed(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = now
	if r.failing != "" {
		r.failing, r.well = "", now
		if r.silent {
			return
		}
		r.log.Info("a source is well again", "source", r.name, "failed_for", now.Sub(r.since).Round(time.Millisecond))
	}
}

// SourceStatus is how a source is.
type SourceStatus struct {
	// Name is the source's, without secrets.
	Name string
	// Seen is when it last reported, changed or not; zero if it never did.
	Seen time.Time
	// Failing is why it fails since FailingSince; empty if it does not.
	Failing      string
	FailingSince time.Time
	// Failures counts its failures.
	Failures uint64
	// Endpoints is how many endpoints of its are in use, and Rejected how many of its last
	// report cannot be used.
	Endpoints, Rejected int
	// EmptySince is since when it finds nothing, which is not believed yet; zero if it is, or
	// if the source finds something.
	EmptySince time.Time
	// Restored says that the endpoints are from before the start.
	Restored bool
}

// status returns what the runner knows.
func (r *runner) status() SourceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := SourceStatus{Name: r.name, Seen: r.seen, Failing: r.failing, Failures: r.total}
	if r.failing != "" {
		s.FailingSince = r.since
	}
	return s
}

// Sleep waits for d. It returns the error of ctx if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
