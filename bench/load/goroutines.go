package load

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// goroutines drives each request at a time with a goroutine of its own.
type goroutines struct {
	opt     Options
	workers []*worker
	next    atomic.Int64 // request
}

// lane is the part of a connection that has one request at a time.
type lane interface {
	// exchange sends request number k and reads the whole answer. closed says that the
	// connection has ended with it.
	exchange(k int64) (a answer, closed bool, err error)
	// renew replaces the connection.
	renew() error
	// interrupt makes a running exchange fail, from another goroutine.
	interrupt()
	close()
}

type worker struct {
	lane lane
	opt  *Options
	next *atomic.Int64
	sent atomic.Int64 // when the running exchange began, in nanoseconds from base; 0: none
	base time.Time
	used bool // the connection has had its request, with Options.Fresh
}

func newGoroutines(opt Options) (driver, error) {
	g := &goroutines{opt: opt}
	open := newLane1
	if opt.Protocol == HTTP2 {
		open = newLanes2
	}
	base := time.Now()
	for range opt.Connections {
		lanes, err := open(&g.opt)
		if err != nil {
			g.close()
			return nil, err
		}
		for _, l := range lanes {
			g.workers = append(g.workers, &worker{lane: l, opt: &g.opt, next: &g.next, base: base})
		}
	}
	return g, nil
}

func (g *goroutines) close() {
	for _, w := range g.workers {
		w.lane.close()
	}
}

// run starts the workers, feeds them, and waits for them.
func (g *goroutines) run(p Phase, out *tally) time.Duration {
	start := time.Now()
	source := &source{limit: p.Requests}
	if p.Duration > 0 {
		source.until = start.Add(p.Duration)
	}
	stop := make(chan struct{})
	var pacer sync.WaitGroup
	if p.Rate > 0 {
		// Wide enough that the pacer rarely waits; if it does, the moments it
		// hands out are still the intended ones.
		source.due = make(chan time.Time, 1<<14)
		pacer.Go(func() { pace(start, p, source.due, stop) })
	}
	var workers sync.WaitGroup
	for _, w := range g.workers {
		workers.Go(func() { w.run(source, out, stop) })
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	gaveUp := g.watch(out, p, done, stop)
	pacer.Wait()
	if gaveUp && p.Rate > 0 {
		// All that the phase still owed has failed; what was due has waited.
		for k := source.issued.Load(); k < p.Requests; k++ {
			out.failed(causeTimeout)
			if waited := time.Since(dueAt(start, p, k)); waited >= 0 {
				out.record(int64(waited))
			}
		}
	}
	return time.Since(start)
}

// watch waits for the workers, and closes stop when they should start no more. It interrupts
// exchanges that wait too long, ends a phase that makes no progress for the length of a timeout
// (gaveUp), and one that the caller ends.
func (g *goroutines) watch(out *tally, p Phase, done <-chan struct{}, stop chan<- struct{}) (gaveUp bool) {
	tick := time.NewTicker(max(g.opt.Timeout/4, time.Millisecond))
	defer tick.Stop()
	seen, since := int64(-1), time.Now()
	callerStop, stopped := p.Stop, false
	end := func() {
		if !stopped {
			close(stop)
			stopped = true
		}
	}
	for {
		select {
		case <-done:
			end()
			return gaveUp
		case <-callerStop:
			callerStop = nil
			end()
		case <-p.Abandon:
			out.abandon()
			end()
			g.interrupt(0)
			<-done
			return false
		case <-tick.C:
			g.interrupt(g.opt.Timeout)
			if n := out.progress.Load(); n != seen {
				seen, since = n, time.Now()
			} else if !p.Persist && !stopped && time.Since(since) >= g.opt.Timeout {
				gaveUp = true
				end()
				g.interrupt(0)
			}
		}
	}
}

// interrupt interrupts the exchanges that are older than that.
func (g *goroutines) interrupt(age time.Duration) {
	for _, w := range g.workers {
		if sent := w.sent.Load(); sent != 0 && time.Since(w.base)-time.Duration(sent) >= age {
			w.lane.interrupt()
		}
	}
}

// source hands out requests to the workers of one phase.
type source struct {
	until  time.Time // zero: no end
	limit  int64     // 0: no bound
	issued atomic.Int64
	due    chan time.Time // open phases
}

// take gives the moment from which the next request counts.
func (s *source) take(stop <-chan struct{}) (time.Time, bool) {
	select {
	case <-stop:
		return time.Time{}, false
	default:
	}
	if s.due != nil {
		at, ok := <-s.due
		if ok {
			s.issued.Add(1)
		}
		return at, ok
	}
	if s.limit > 0 && s.issued.Add(1) > s.limit {
		return time.Time{}, false
	}
	now := time.Now()
	return now, s.until.IsZero() || now.Before(s.until)
}

// dueAt is when request k of an open phase should start.
func dueAt(start time.Time, p Phase, k int64) time.Time {
	return start.Add(time.Duration(float64(k) * 1e9 / p.Rate))
}

// pace hands out the intended starts of an open phase, on time.
func pace(start time.Time, p Phase, due chan<- time.Time, stop <-chan struct{}) {
	runtime.LockOSThread() // never unlocked: the thread's sharper timers end with it
	sharpen()
	defer close(due)
	for k := range p.Requests {
		at := dueAt(start, p, k)
		for wait := time.Until(at); wait > 0; wait = time.Until(at) {
			nap(wait)
		}
		select {
		case due <- at:
		case <-stop:
			return
		}
	}
}

func (w *worker) run(s *source, out *tally, stop <-chan struct{}) {
	for {
		at, ok := s.take(stop)
		if !ok {
			return
		}
		if w.used && w.lane.renew() != nil {
			out.failed(causeConnect)
			if !pause(stop) {
				return
			}
			continue
		}
		w.used = w.opt.Fresh
		w.sent.Store(max(int64(time.Since(w.base)), 1))
		a, closed, err := w.lane.exchange(w.next.Add(1) - 1)
		w.sent.Store(0)
		latency := int64(time.Since(at))
		if err == nil {
			out.answered(a, latency)
			if !closed || w.opt.Fresh {
				continue
			}
			out.reconnected()
		} else {
			cause := causeOf(err)
			out.failed(cause)
			if cause == causeTimeout {
				out.record(latency)
			}
			if w.opt.Fresh {
				continue
			}
		}
		select {
		case <-stop:
			return
		default:
		}
		for w.lane.renew() != nil {
			// The server is gone: this connection's share of the phase fails.
			if !pause(stop) {
				return
			}
			if _, ok := s.take(stop); !ok {
				return
			}
			out.failed(causeConnect)
		}
	}
}

// pause waits a little after a connect that failed; false if the phase ends.
func pause(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	case <-time.After(10 * time.Millisecond):
		return true
	}
}
