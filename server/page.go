package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

func (m *reloadMetrics) count(err error) {
	if err != nil {
		m.failed.Inc()
		m.success.Set(0)
		return
	}
	m.ok.Inc()
	m.success.Set(1)
	m.last.Set(float64(time.Now().Unix()))
}

// openPage moves the page with metrics, health and readiness to address, where
// an empty one means none. On an error the old page stays. s.mu is held.
func (s *Server) openPage(address config.Address) error {
	var next *http.Server
	if address != "" {
		network, at := address.Split()
		socket, err := net.Listen(network, at)
		if err != nil {
			return fmt.Errorf("cannot listen for metrics on %q: %w", address, err)
		}
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
	return nil
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
}

// writeMetrics writes what is read off at the time of asking.
func (s *Server) writeMetrics(w io.Writer) {
	s.current.Load().proxy.WriteMetrics(w)
	s.mu.Lock()
	list := s.running()
	s.mu.Unlock()
	for _, r := range list {
		r.core.Load().WriteMetrics(w)
		writeListener(w, r.Name(), r.Stats())
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
	for _, reason := range listener.Reasons() {
		metrics.WriteCounterUint64(w, fmt.Sprintf("weir_listener_refused_total{%s,reason=%q}", labels, reason), st.Refused[reason])
	}
}
