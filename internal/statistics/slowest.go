package statistics

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/figures"
	"weir/proxy"
)

const (
	// slowestKept is how many slow exchanges are kept of each path, for slowestFor.
	slowestKept = 3
	slowestFor  = 10 * time.Minute
	// maxText bounds the texts of clients that are kept.
	maxText = 200
)

// Slow is an exchange that was slow.
type Slow struct {
	// Start is when its first byte came.
	Start    time.Time
	Duration time.Duration
	Phases   figures.Phases
	// Method, Path, without the query, and RequestID are as the client sent them, at most 200
	// bytes of each.
	Method, Path, RequestID string
	// Template is the path template that it was counted for.
	Template string
	Status   int
	// Cause is the name of why it ended as it did.
	Cause string
	// Target is the name of the target; empty without one.
	Target string
}

// slowest are the slowest exchanges of late. The zero value is ready.
type slowest struct {
	// least is the duration that exchanges must exceed to be kept, until expires, in Unix
	// nanoseconds, when one that is kept is too old. Both are 0 while there is room.
	least, expires atomic.Int64

	mu   sync.Mutex
	list []Slow // by duration, the slowest first
}

// offer keeps x if it is among the slowest. now is its end.
func (s *slowest) offer(x *proxy.Exchange, template string, d time.Duration) {
	now := x.Result.End
	if int64(d) <= s.least.Load() && now.UnixNano() < s.expires.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropOld(now)
	if len(s.list) == slowestKept {
		if d <= s.list[slowestKept-1].Duration {
			return
		}
		s.list = s.list[:slowestKept-1]
	}
	r := Slow{
		Start: x.Start, Duration: d, Phases: x.Result.Phases, Template: template, Status: x.Result.Status, Cause: x.Result.Cause.String(),
		Method: text(x.Request.Method()), Path: text(x.Path), RequestID: text(x.RequestID),
	}
	if t := x.Result.Target; t != nil {
		r.Target = t.Name()
	}
	at, _ := slices.BinarySearchFunc(s.list, d, func(r Slow, d time.Duration) int { return cmp.Compare(d, r.Duration) })
	s.list = slices.Insert(s.list, at, r)
	if len(s.list) < slowestKept {
		return
	}
	oldest := int64(math.MaxInt64)
	for _, r := range s.list {
		oldest = min(oldest, r.Start.Add(r.Duration).UnixNano())
	}
	s.expires.Store(oldest + int64(slowestFor))
	s.least.Store(int64(s.list[slowestKept-1].Duration))
}

// dropOld drops what is too old at now. s.mu is held.
func (s *slowest) dropOld(now time.Time) {
	s.list = slices.DeleteFunc(s.list, func(r Slow) bool { return now.Sub(r.Start.Add(r.Duration)) >= slowestFor })
}

// at returns what is kept and not too old at now, the slowest first.
func (s *slowest) at(now time.Time) []Slow {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropOld(now)
	if len(s.list) < slowestKept {
		s.least.Store(0)
		s.expires.Store(0)
	}
	return slices.Clone(s.list)
}

func text(b []byte) string { return string(b[:min(len(b), maxText)]) }
