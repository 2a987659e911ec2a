package server

import (
	"io"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/internal/listener"
	"weir/internal/transport"
)

const (
	// ownDescriptors is how many descriptors are left to listeners, logs, certificates and
	// the pages of operators.
	ownDescriptors = 32
	// fewDescriptors is a limit that is warned of.
	fewDescriptors = 4096
	// raiseLimit says what helps against too few descriptors.
	raiseLimit = "raise the limit of open files: LimitNOFILE= of a systemd unit, ulimit -n of a shell, --ulimit nofile of a container"
	// descriptorLogInterval is the time between two lines about too few descriptors.
	descriptorLogInterval = 10 * time.Second
)

// descriptors share the open files that the process may have between clients and targets: an
// exchange needs one for each, so clients never get more than half.
type descriptors struct {
	limit, clients int
	room           *listener.Room
	// closing is held while idle connections are closed, by one goroutine at a time; closed
	// counts how often some were.
	closing sync.Mutex
	closed  atomic.Int64
	// logged is when each line was written last, by its text.
	logged map[string]time.Time
	mu     sync.Mutex

	closedTargets, closedClients *metrics.Counter
}

// descriptorLimit is how many files the process may have open. The Go runtime has raised the
// soft limit to the hard one.
func descriptorLimit() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return math.MaxInt32
	}
	return int(min(l.Cur, math.MaxInt32))
}

func (s *Server) initDescriptors() {
	d := &s.descriptors
	d.limit, d.logged = descriptorLimit(), make(map[string]time.Time)
	d.clients = max((d.limit-ownDescriptors)/2, 4)
	d.room = listener.NewRoom(d.clients, s.makeRoom)
	d.closedTargets = s.set.NewCounter(`weir_idle_closed_total{side="target"}`)
	d.closedClients = s.set.NewCounter(`weir_idle_closed_total{side="client"}`)
}

// announceDescriptors says at the start what the limit is and, if it is small, what to do.
func (s *Server) announceDescriptors() {
	d := &s.descriptors
	if d.limit < fewDescriptors {
		s.log.Warn("the limit of open files is small", "limit", d.limit, "clients", d.clients, "remedy", raiseLimit)
		return
	}
	s.log.Info("limit of open files", "limit", d.limit, "clients", d.clients)
}

// makeRoom is called when a client waits because clients have all the descriptors that they
// get: it ends clients that were idle for long.
func (s *Server) makeRoom(wait time.Duration) {
	if n := s.closeClients(); n > 0 {
		s.logDescriptors("clients were closed that had been idle for longest, to make room for others", "closed", n)
		return
	}
	s.logDescriptors("cannot accept a client: there are as many as fit, and none is idle", "again_in", wait)
}

// reclaim is called when no descriptor is left: it closes idle connections, those to targets
// first, or waits while another goroutine does, and says whether there were any.
func (s *Server) reclaim() bool {
	d := &s.descriptors
	before := d.closed.Load()
	d.closing.Lock()
	defer d.closing.Unlock()
	if d.closed.Load() > before {
		return true
	}
	if n := s.closeIdleTargets(); n > 0 {
		d.closed.Add(1)
		s.logDescriptors("no descriptor is left: idle connections to targets were closed", "closed", n)
		return true
	}
	if n := s.closeClients(); n > 0 {
		d.closed.Add(1)
		s.logDescriptors("no descriptor is left: clients were closed that had been idle for longest", "closed", n)
		return true
	}
	s.logDescriptors("no descriptor is left, and no connection is idle")
	return false
}

func (s *Server) closeClients() int {
	n := s.front.CloseSpare() + s.frames.CloseSpare()
	s.descriptors.closedClients.Add(n)
	return n
}

// closeIdleTargets closes the idle connections to the target that has most of them.
func (s *Server) closeIdleTargets() int {
	var most transport.Transport
	n := 0
	for _, set := range s.sets() {
		for _, t := range set.Targets() {
			tr := t.Transport().(transport.Transport)
			if _, idle := tr.Conns(); idle > n {
				most, n = tr, idle
			}
		}
	}
	if most != nil {
		most.CloseIdle()
		s.descriptors.closedTargets.Add(n)
	}
	return n
}

// logDescriptors logs a warning with the limit and the remedy, unless the same one was logged a
// short time ago.
func (s *Server) logDescriptors(text string, more ...any) {
	d := &s.descriptors
	now := time.Now()
	d.mu.Lock()
	quiet := now.Sub(d.logged[text]) < descriptorLogInterval
	if !quiet {
		d.logged[text] = now
	}
	d.mu.Unlock()
	if quiet {
		return
	}
	s.log.Warn(text, append(more, "limit", d.limit, "clients", d.clients, "remedy", raiseLimit)...)
}

func (s *Server) writeDescriptors(w io.Writer) {
	metrics.WriteGaugeUint64(w, "weir_descriptors_limit", uint64(s.descriptors.limit))
	metrics.WriteGaugeUint64(w, "weir_clients_limit", uint64(s.descriptors.clients))
}
