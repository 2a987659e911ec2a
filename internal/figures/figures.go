package figures

import (
	"sync/atomic"
	"time"
)

// Phase is a part of the time of an exchange. The phases follow each other, and their times
// are together that of the exchange.
type Phase uint8

const (
	// Waiting: until the attempt began whose answer the client got, or, without one, until the
	// answer began: routing, reading what must be read whole, queues, failed attempts before, the
	// fetch of another exchange.
	Waiting Phase = iota
	// Connecting: until the attempt had a connection; 0 for one that was open.
	Connecting
	// FirstByte: from the request, or the end of its body, to the head of the target's response.
	FirstByte
	// Body: the rest, in which bodies move, both ways.
	Body

	PhaseCount
)

var phaseNames = [PhaseCount]string{Waiting: "waiting", Connecting: "connecting", FirstByte: "first_byte", Body: "body"}

// String returns the name of the phase in metrics and the admin API.
func (p Phase) String() string { return phaseNames[p] }

// Phases are the times of all phases.
type Phases [PhaseCount]time.Duration

// Sample is one exchange that has ended.
type Sample struct {
	// Failed says that the exchange failed, and not because of the client.
	Failed bool
	// Untimed says that its time says nothing, because it was a tunnel.
	Untimed           bool
	BytesIn, BytesOut int64
	Duration          time.Duration
	Phases            Phases
}

// Figures count exchanges. The zero value is ready.
type Figures struct {
	count, errors     atomic.Uint64
	bytesIn, bytesOut atomic.Int64
	longest           atomic.Int64 // nanoseconds
	phases            [PhaseCount]atomic.Int64
	durations         Histogram
}

// Add counts an exchange.
func (f *Figures) Add(s *Sample) {
	f.count.Add(1)
	if s.Failed {
		f.errors.Add(1)
	}
	if s.BytesIn > 0 {
		f.bytesIn.Add(s.BytesIn)
	}
	if s.BytesOut > 0 {
		f.bytesOut.Add(s.BytesOut)
	}
	if s.Untimed {
		return
	}
	f.durations.Observe(s.Duration)
	for i, d := range s.Phases {
		if d > 0 {
			f.phases[i].Add(int64(d))
		}
	}
	f.noteLongest(s.Duration)
}

// Merge adds what other figures have counted.
func (f *Figures) Merge(s *Snapshot) {
	f.count.Add(s.Count)
	f.errors.Add(s.Errors)
	f.bytesIn.Add(s.BytesIn)
	f.bytesOut.Add(s.BytesOut)
	for i, d := range s.Phases {
		f.phases[i].Add(int64(d))
	}
	f.durations.merge(&s.Durations)
	f.noteLongest(s.Longest)
}

// noteLongest notes d if it is the longest.
func (f *Figures) noteLongest(d time.Duration) {
	for {
		longest := f.longest.Load()
		if int64(d) <= longest || f.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// Snapshot is what Figures have counted, or a difference or sum of that.
type Snapshot struct {
	Count, Errors     uint64
	BytesIn, BytesOut int64
	// Longest is the longest duration. A difference has that of the later snapshot.
	Longest   time.Duration
	Phases    Phases
	Durations Counts
}

// Snapshot returns what f has counted.
func (f *Figures) Snapshot() Snapshot {
	s := Snapshot{
		Count: f.count.Load(), Errors: f.errors.Load(), BytesIn: f.bytesIn.Load(), BytesOut: f.bytesOut.Load(),
		Longest: time.Duration(f.longest.Load()), Durations: f.durations.Counts(),
	}
	for i := range s.Phases {
		s.Phases[i] = time.Duration(f.phases[i].Load())
	}
	return s
}

// Plus adds b, which it does not change.
func (s *Snapshot) Plus(b *Snapshot) {
	s.combine(b, func(x, y uint64) uint64 { return x + y })
	s.Longest = max(s.Longest, b.Longest)
}

// Minus takes away b, an earlier snapshot of the same figures, which it does not change. No number
// becomes less than 0.
func (s *Snapshot) Minus(b *Snapshot) {
	s.combine(b, func(x, y uint64) uint64 { return x - min(x, y) })
}

func (s *Snapshot) combine(b *Snapshot, op func(x, y uint64) uint64) {
	s.Count, s.Errors = op(s.Count, b.Count), op(s.Errors, b.Errors)
	s.BytesIn, s.BytesOut = int64(op(uint64(s.BytesIn), uint64(b.BytesIn))), int64(op(uint64(s.BytesOut), uint64(b.BytesOut)))
	for i := range s.Phases {
		s.Phases[i] = time.Duration(op(uint64(s.Phases[i]), uint64(b.Phases[i])))
	}
	s.Durations.combine(&b.Durations, op)
}
