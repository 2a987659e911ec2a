package server

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/config"
	"weir/internal/listener"
)

// reloadMetrics tell how reloads went.
type reloadMetrics struct {
	ok, failed *metrics.Counter
	success    *metrics.Gauge
	last       *metrics.Gauge
}

func (m *reloadMetrics) init(set *metrics.Set) {
	m.ok = set.NewCounter(`weir_reloads_total{result="ok"}`)
	m.failed = set.NewCounter(`weir_reloads_total{result="failed"}`)
	m.success = set.NewGauge("weir_config_last_reload_successful", nil)
	m.last = set.NewGauge("weir_config_loaded_timestamp_seconds", nil)
	m.success.Set(1)
	m.last.Set(float64(time.Now().Unix()))
}

// ReloadFailed counts a reload that ended before Reload could be called, such as
// one whose file cannot be read or is refused.
func (s *Server) ReloadFailed() { s.reloads.failedNow() }

func (m *reloadMetrics) failedNow() {
	m.failed.Inc()
	m.success.Set(0)
}

func (m *reloadMetrics) count(err error) {
	if err != nil {
		m.failedNow()
		return
	}
	m.ok.Inc()
	m.success.Set(1)
	m.last.Set(float64(time.Now().Unix()))
}

// listenPage opens the socket of the page with metrics, health and readiness;
// nil if there is to be none.
func listenPage(address config.Address) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	network, at := address.Split()
	socket, err := net.Listen(network, at)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics on %q: %w", address, err)
	}
	return socket, nil
}

// movePage moves the page to socket, which was opened for address; nil means no
// page. s.mu is held.
func (s *Server) movePage(address config.Address, socket net.Listener) {
	var next *http.Server
	if socket != nil {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /metrics", s.serveMetrics)
		mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "healthy\n") })
		mux.HandleFunc("GET /-/ready", s.serveReady)
		next = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
		s.background.Go(func() {
			if err := next.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("the metrics page has failed", "error", err)
			}
		})
		s.pageAddr = socket.Addr()
	}
	if s.page != nil {
		s.page.Close()
	}
	s.page, s.pageAt = next, address
}

// MetricsAddr returns where the metrics page listens, or nil if there is none.
func (s *Server) MetricsAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.page == nil {
		return nil
	}
	return s.pageAddr
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if s.state.Load() != stateServing {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.WriteMetrics(w)
}

// WriteMetrics writes all metrics of the server and the process in the text
// format of Prometheus.
func (s *Server) WriteMetrics(w io.Writer) {
	s.set.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

// writeMetrics writes what is read off at the time of asking.
func (s *Server) writeMetrics(w io.Writer) {
	s.metrics.WriteMetrics(w)
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
	log := s.accessLog.Load()
	metrics.WriteCounterUint64(w, `weir_access_log_lines_total{result="written"}`, log.Written())
	metrics.WriteCounterUint64(w, `weir_access_log_lines_total{result="dropped"}`, log.Dropped())
	metrics.WriteCounterUint64(w, "weir_access_log_write_errors_total", log.WriteErrors())
	metrics.WriteGaugeFloat64(w, "weir_uptime_seconds", time.Since(s.started).Seconds())
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
