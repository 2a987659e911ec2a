package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/admin"
	"weir/config"
	"weir/internal/figures"
	"weir/internal/listener"
)

// reloadMetrics tell how reloads went.
type reloadMetrics struct {
	ok, failed *metrics.Counter
	success    *metrics.Gauge
	last       *metrics.Gauge

	mu     sync.Mutex
	recent []admin.Reload // the oldest first
}

// keptReloads is how many reloads are remembered.
const keptReloads = 20

func (m *reloadMetrics) init(set *metrics.Set) {
	m.ok = set.NewCounter(`weir_reloads_total{result="ok"}`)
	m.failed = set.NewCounter(`weir_reloads_total{result="failed"}`)
	m.success = set.NewGauge("weir_config_last_reload_successful", nil)
	m.last = set.NewGauge("weir_config_loaded_timestamp_seconds", nil)
	m.success.Set(1)
	m.last.Set(float64(time.Now().Unix()))
}

// ReloadFailed counts a reload that ended before Reload could be called, such as
// one whose file cannot be read or is refused. err says why; the admin API shows it.
func (s *Server) ReloadFailed(err error) { s.reloads.count(err) }

// count counts a reload that failed with err, or worked if that is nil.
func (m *reloadMetrics) count(err error) {
	m.remember(err)
	if err != nil {
		m.failed.Inc()
		m.success.Set(0)
		return
	}
	m.ok.Inc()
	m.success.Set(1)
	m.last.Set(float64(time.Now().Unix()))
}

func (m *reloadMetrics) remember(err error) {
	r := admin.Reload{Time: time.Now(), OK: err == nil}
	if err != nil {
		r.Error = err.Error()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.recent) == keptReloads {
		m.recent = m.recent[1:]
	}
	m.recent = append(m.recent, r)
}

// list returns the last reloads, the newest first.
func (m *reloadMetrics) list() []admin.Reload {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := append([]admin.Reload{}, m.recent...)
	slices.Reverse(list)
	return list
}

// page is what operators reach at an address of its own. Server.mu guards it.
type page struct {
	// name is that of the table in the configuration.
	name    string
	handler http.Handler
	at      config.Address
	server  *pageServer // nil if there is no page
}

// initPages makes the pages; none is served yet.
func (s *Server) initPages() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "healthy\n") })
	mux.HandleFunc("GET /-/ready", s.serveReady)
	s.metricsPage = page{name: "metrics", handler: mux}
	s.adminPage = page{name: "admin", handler: admin.Handler(operator{s}, admin.Options{
		Access: func() *admin.Access { return s.current.Load().door.access }, Log: s.log,
	})}
}

// pageMoves are the pages that a configuration moves, with their new sockets.
type pageMoves []pageMove

type pageMove struct {
	page   *page
	at     config.Address
	socket net.Listener // nil if there is to be no page
}

// openPages opens the sockets of the pages that cfg moves; on an error none stays
// open. s.mu is held.
func (s *Server) openPages(cfg *config.Config) (pageMoves, error) {
	var moves pageMoves
	for _, m := range []pageMove{{page: &s.metricsPage, at: cfg.Metrics.Address}, {page: &s.adminPage, at: cfg.Admin.Address}} {
		if m.at == m.page.at {
			continue
		}
		if m.at != "" {
			var err error
			if m.socket, err = listener.Listen(m.page.name, m.at, s.sockets); err != nil {
				moves.close()
				return nil, fmt.Errorf("cannot listen for %s on %q: %w", m.page.name, m.at, err)
			}
		}
		moves = append(moves, m)
	}
	return moves, nil
}

// close gives back the sockets of moves that do not come to pass.
func (moves pageMoves) close() {
	for _, m := range moves {
		if m.socket != nil {
			m.socket.Close()
		}
	}
}

// movePages serves the pages at their new addresses and no longer at the old
// ones. s.mu is held.
func (s *Server) movePages(moves pageMoves) {
	for _, m := range moves {
		var next *pageServer
		if m.socket != nil {
			next = newPageServer(m.socket, m.page.handler)
			var socket net.Listener = m.socket
			if m.page == &s.adminPage {
				next.ConnContext = peerOf
				socket = adminSocket{socket, func() *tls.Config { return s.current.Load().door.tls }}
			} else {
				next.handler = admin.LocalOnly(next.handler, socket.Addr())
			}
			s.background.Go(func() {
				if err := next.serve(socket); err != nil {
					s.log.Error("a page for operators has failed", "page", m.page.name, "error", err)
				}
			})
			listener.OwnFile(m.socket, !s.shared)
		}
		if before := m.page.server; before != nil {
			before.stopAccepting()
			s.background.Go(func() { before.leave(s.stopLook) })
		}
		m.page.server, m.page.at = next, m.at
	}
}

func (s *Server) pages() []*page { return []*page{&s.metricsPage, &s.adminPage} }

// closePages ends all pages. s.mu is held.
func (s *Server) closePages() error {
	var errs []error
	for _, p := range s.pages() {
		if p.server != nil {
			errs = append(errs, p.server.Close())
		}
	}
	return errors.Join(errs...)
}

// MetricsAddr returns where the metrics page listens, or nil if there is none.
func (s *Server) MetricsAddr() net.Addr { return s.pageAddr(&s.metricsPage) }

// AdminAddr returns where the admin API listens, or nil if there is none.
func (s *Server) AdminAddr() net.Addr { return s.pageAddr(&s.adminPage) }

func (s *Server) pageAddr(p *page) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.server == nil {
		return nil
	}
	return p.server.socket.Addr()
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if s.state.Load() != stateServing {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

// writeSeries writes the series that WriteMetrics describes.
func (s *Server) writeSeries(w io.Writer) {
	s.set.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

// writeMetrics writes what is read off at the time of asking.
func (s *Server) writeMetrics(w io.Writer) {
	cfg := &s.current.Load().config.Metrics
	format := figures.LE
	if cfg.Histograms == config.HistogramsVictoriaMetrics {
		format = figures.VMRange
	}
	s.metrics.WriteMetrics(w, format)
	if cfg.PerPath {
		s.statistics.WriteMetrics(w, format)
	}
	s.objectives.WriteMetrics(w)
	s.spans.WriteMetrics(w)
	s.observed.WriteMetrics(w)
	s.current.Load().proxy.WriteMetrics(w)
	s.mu.Lock()
	list := s.running()
	s.mu.Unlock()
	// A listener that was moved to another address leaves connections behind:
	// the two are one series.
	stats := make(map[string]listener.Stats)
	for _, r := range list {
		st, known := stats[r.Name()]
		if !known {
			r.core.Load().WriteMetrics(w)
		}
		stats[r.Name()] = st.Plus(r.Stats())
	}
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		writeListener(w, name, stats[name])
	}
	for _, c := range s.certificates() {
		if c.NotAfter != nil {
			metrics.WriteGaugeUint64(w, fmt.Sprintf("weir_certificate_expiry_timestamp_seconds{listener=%q,certificate=%q}", c.Listener, c.Name), uint64(max(c.NotAfter.Unix(), 0)))
		}
	}
	if s.options.issuer != nil {
		s.options.issuer.WriteMetrics(w)
	}
	s.writeDescriptors(w)
	s.writeSources(w)
	for _, d := range s.current.Load().config.Documents() {
		metrics.WriteGaugeUint64(w, fmt.Sprintf("weir_config_documents_version{source=%q}", d.Name), uint64(d.Version))
	}
	log := s.accessLog.Load()
	metrics.WriteCounterUint64(w, `weir_access_log_lines_total{result="written"}`, log.Written())
	metrics.WriteCounterUint64(w, `weir_access_log_lines_total{result="dropped"}`, log.Dropped())
	metrics.WriteCounterUint64(w, "weir_access_log_write_errors_total", log.WriteErrors())
	metrics.WriteGaugeFloat64(w, "weir_uptime_seconds", time.Since(s.started).Seconds())
	metrics.WriteGaugeUint64(w, fmt.Sprintf("weir_build_info{version=%q,goversion=%q}", s.options.version, runtime.Version()), 1)
}

func writeListener(w io.Writer, name string, st listener.Stats) {
	labels := fmt.Sprintf("listener=%q", name)
	metrics.WriteGaugeUint64(w, "weir_listener_connections{"+labels+"}", uint64(st.Open))
	metrics.WriteCounterUint64(w, "weir_listener_connections_total{"+labels+"}", st.Accepted)
	metrics.WriteCounterUint64(w, "weir_listener_accept_errors_total{"+labels+"}", st.AcceptErrors)
	metrics.WriteCounterUint64(w, "weir_listener_accept_paused_total{"+labels+"}", st.Paused)
	for _, reason := range listener.Reasons() {
		metrics.WriteCounterUint64(w, fmt.Sprintf("weir_listener_refused_total{%s,reason=%q}", labels, reason), st.Refused[reason])
	}
}
