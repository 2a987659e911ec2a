package load

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// goroutines drives each connection with a goroutine of its own.
type goroutines struct {
	opt     Options
	workers []*worker
	next    atomic.Int64 // request
}

type worker struct {
	opt  *Options
	mu   sync.Mutex // guards conn against the watchdog
	conn net.Conn
	resp response
	buf  []byte
	next *atomic.Int64
}

func newGoroutines(opt Options) (driver, error) {
	g := &goroutines{opt: opt}
	for range opt.Connections {
		w := &worker{opt: &g.opt, buf: make([]byte, 32<<10), next: &g.next}
		conn, err := w.dial()
		if err != nil {
			g.close()
			return nil, err
		}
		w.conn = conn
		g.workers = append(g.workers, w)
	}
	return g, nil
}

func (g *goroutines) close() {
	for _, w := range g.workers {
		if w.conn != nil {
			_ = w.conn.Close() // nothing is in flight that could be lost
		}
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
	gaveUp := g.watch(out, p.Stop, done, stop)
	pacer.Wait()
	if gaveUp && p.Rate > 0 {
		// All that the phase still owed has failed; what was due has waited.
		for k := source.issued.Load(); k < p.Requests; k++ {
			out.failed(causeTimeout, 1)
			if waited := time.Since(dueAt(start, p, k)); waited >= 0 {
				out.record(int64(waited))
			}
		}
	}
	return time.Since(start)
}

// watch waits for the workers. It ends a phase that makes no progress for the
// length of a timeout (gaveUp), and one that the caller stops.
func (g *goroutines) watch(out *tally, callerStop, done <-chan struct{}, stop chan<- struct{}) (gaveUp bool) {
	tick := time.NewTicker(g.opt.Timeout)
	defer tick.Stop()
	last := int64(-1)
	for {
		select {
		case <-done:
			close(stop)
			return false
		case <-callerStop:
			close(stop)
			select {
			case <-done:
				return false
			case <-tick.C:
			}
		case <-tick.C:
			if n := out.requests.Load(); n != last {
				last = n
				continue
			}
			close(stop)
			gaveUp = true
		}
		for _, w := range g.workers {
			w.interrupt()
		}
		<-done
		return gaveUp
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

func (w *worker) dial() (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", w.opt.Address, w.opt.Timeout)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %q: %w", w.opt.Address, err)
	}
	if w.opt.TLS == nil {
		return conn, nil
	}
	secure := tls.Client(conn, w.opt.TLS)
	err = conn.SetDeadline(time.Now().Add(w.opt.Timeout))
	if err == nil {
		err = secure.Handshake()
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close() // the first error tells
		return nil, fmt.Errorf("cannot do a TLS handshake with %q: %w", w.opt.Address, err)
	}
	return secure, nil
}

func (w *worker) interrupt() {
	w.mu.Lock()
	if w.conn != nil {
		_ = w.conn.SetDeadline(time.Unix(1, 0)) // an already closed one needs none
	}
	w.mu.Unlock()
}

func (w *worker) redial() error {
	_ = w.conn.Close() // replaced whatever it says
	conn, err := w.dial()
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.conn = conn
	w.mu.Unlock()
	return nil
}

func (w *worker) run(s *source, out *tally, stop <-chan struct{}) {
	for {
		at, ok := s.take(stop)
		if !ok {
			return
		}
		cause := w.exchange()
		latency := int64(time.Since(at))
		if cause == "" {
			out.answered(latency)
			if !w.resp.closing {
				continue
			}
			out.reconnected()
		} else {
			out.failed(cause, 1)
			if cause == causeTimeout {
				out.record(latency)
			}
		}
		select {
		case <-stop:
			return
		default:
		}
		for w.redial() != nil {
			// The server is gone: this connection's share of the phase fails.
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			if _, ok := s.take(stop); !ok {
				return
			}
			out.failed(causeConnect, 1)
		}
	}
}

// exchange sends the next request and reads its answer; "" means as expected.
func (w *worker) exchange() string {
	req := w.opt.Requests[0]
	if n := int64(len(w.opt.Requests)); n > 1 {
		req = w.opt.Requests[(w.next.Add(1)-1)%n]
	}
	w.resp.reset()
	if _, err := w.conn.Write(req); err != nil {
		return causeOf(err)
	}
	for {
		n, err := w.conn.Read(w.buf)
		if n > 0 {
			used, done, ferr := w.resp.feed(w.buf[:n])
			switch {
			case ferr != nil:
				return ferr.Error()
			case done && used < n:
				return causeExtra
			case done:
				return verdict(&w.resp, w.opt)
			}
		}
		if err == io.EOF && n > 0 {
			continue
		}
		if err != nil {
			return causeOf(err)
		}
	}
}
