package server

import (
	"runtime/metrics"
	"sync"
	"syscall"
	"time"

	"weir/admin"
	"weir/proxy"
)

// A history keeps a point each historyInterval, and the last historyPoints of them.
const (
	historyInterval = 2 * time.Second
	historyPoints   = 15 * 60 / int(historyInterval/time.Second)
)

// history is how the server was in the last minutes, for the charts of the admin page.
type history struct {
	mu     sync.Mutex
	points []point // the oldest first
	before sample  // the last one
}

// sample is what is read off the server at one time.
type sample struct {
	at                   time.Time
	totals               proxy.Totals
	running, connections int
	cpu                  time.Duration
	memory               uint64
}

// point is what a History has of one time.
type point struct {
	at                               time.Time
	requests, clientErrs, serverErrs float64
	quantiles                        [3]float64
	in, out                          float64
	running, connections             float64
	asked, hits                      float64
	cpu, memory                      float64
}

// remember adds a point to the history while there is an admin page that could ask for it.
func (s *Server) remember(now time.Time) {
	if s.current.Load().config.Admin.Address == "" {
		s.history.forget()
		return
	}
	next := sample{at: now, totals: s.metrics.Totals(), cpu: processorTime(), memory: residentMemory()}
	s.mu.Lock()
	next.running = s.runningExchanges()
	for _, r := range s.running() {
		next.connections += r.Stats().Open
	}
	s.mu.Unlock()
	s.history.add(next)
}

func (h *history) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.points, h.before = nil, sample{}
}

func (h *history) add(next sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.before.at.IsZero() && next.at.After(h.before.at) {
		if len(h.points) == historyPoints {
			copy(h.points, h.points[1:])
			h.points = h.points[:historyPoints-1]
		}
		h.points = append(h.points, between(&h.before, &next))
	}
	h.before = next
}

// between is the point of the time between two samples.
func between(a, b *sample) point {
	seconds := b.at.Sub(a.at).Seconds()
	late := b.totals.All
	late.Minus(&a.totals.All)
	rate := func(before, after uint64) float64 { return float64(grown(before, after)) / seconds }
	p := point{
		at: b.at, running: float64(b.running), connections: float64(b.connections), memory: float64(b.memory),
		in: float64(late.BytesIn) / seconds, out: float64(late.BytesOut) / seconds,
		cpu: (b.cpu - a.cpu).Seconds() / seconds, serverErrs: float64(late.Errors) / seconds,
	}
	for class := range b.totals.Requests {
		n := rate(a.totals.Requests[class], b.totals.Requests[class])
		p.requests += n
		if class == 4 {
			p.clientErrs += n
		}
	}
	p.asked = rate(a.totals.Cache.Asked(), b.totals.Cache.Asked())
	p.hits = rate(a.totals.Cache.Answered(), b.totals.Cache.Answered())
	for i, q := range [...]float64{0.5, 0.9, 0.99} {
		p.quantiles[i] = late.Durations.Quantile(q).Seconds()
	}
	return p
}

// grown is by how much a counter grew; nothing if it began anew, or lost what was dropped.
func grown(before, after uint64) uint64 {
	if after < before {
		return 0
	}
	return after - before
}

// since returns the points after a time.
func (h *history) since(t time.Time) admin.History {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := 0
	for i < len(h.points) && !h.points[i].at.After(t.Add(time.Millisecond)) { // a time in JSON is rounded
		i++
	}
	list := h.points[i:]
	column := func(of func(*point) float64) []float64 {
		values := make([]float64, len(list))
		for i := range list {
			values[i] = of(&list[i])
		}
		return values
	}
	return admin.History{
		Interval:     historyInterval.Seconds(),
		Time:         column(func(p *point) float64 { return float64(p.at.UnixMilli()) / 1000 }),
		Requests:     column(func(p *point) float64 { return p.requests }),
		ClientErrors: column(func(p *point) float64 { return p.clientErrs }),
		ServerErrors: column(func(p *point) float64 { return p.serverErrs }),
		P50:          column(func(p *point) float64 { return p.quantiles[0] }),
		P90:          column(func(p *point) float64 { return p.quantiles[1] }),
		P99:          column(func(p *point) float64 { return p.quantiles[2] }),
		BytesIn:      column(func(p *point) float64 { return p.in }),
		BytesOut:     column(func(p *point) float64 { return p.out }),
		Running:      column(func(p *point) float64 { return p.running }),
		Connections:  column(func(p *point) float64 { return p.connections }),
		CacheAsked:   column(func(p *point) float64 { return p.asked }),
		CacheHits:    column(func(p *point) float64 { return p.hits }),
		CPU:          column(func(p *point) float64 { return p.cpu }),
		Memory:       column(func(p *point) float64 { return p.memory }),
	}
}

// History returns how the server was after a time, as far as it is remembered.
func (o operator) History(since time.Time) admin.History { return o.s.history.since(since) }

// processorTime is what the process has used; 0 if the system does not say.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentMemory is what the Go runtime holds of the machine's memory, in bytes.
func residentMemory() uint64 {
	figures := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(figures)
	return figures[0].Value.Uint64() - figures[1].Value.Uint64()
}
