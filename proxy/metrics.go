package proxy

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"weir/internal/encode"
	"weir/internal/figures"
	"weir/internal/transport"
	"weir/lb"
)

// Metrics are the figures of all generations of one server. Label values come
// from the configuration and from lists of this package, never from clients;
// the status codes of targets are bounded by their three digits.
type Metrics struct {
	set    *metrics.Set
	panics *metrics.Counter
	// unrouted is for exchanges that no route took.
	unrouted *routeMetrics

	mu      sync.Mutex
	series  map[string]*series        // by kind and name of what they are about
	targets map[string]*targetMetrics // by labels
	// gone are the totals of routes whose series were dropped.
	gone Totals
}

// series are the metrics about one configured thing.
type series struct {
	m      *Metrics
	labels string
	mu     sync.Mutex
	names  []string
	// dead says that the series were dropped: an exchange that ends after that
	// (of a tunnel, for example) adds to figures that no page shows.
	dead bool

	route    *routeMetrics
	upstream *retryMetrics
	listener *listenerMetrics
}

// Panicked counts and logs a panic with the value v, whose stack is the caller's.
func (m *Metrics) Panicked(log *slog.Logger, v any) {
	m.panics.Inc()
	log.Error("panic while serving a client", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// NewMetrics returns metrics that write into set.
func NewMetrics(set *metrics.Set) *Metrics {
	m := &Metrics{
		set:     set,
		panics:  set.NewCounter("weir_panics_total"),
		series:  make(map[string]*series),
		targets: make(map[string]*targetMetrics),
		gone:    Totals{Cache: CacheTotals{Outcomes: copied(nil), Reasons: copied(nil), Unstored: copied(nil)}},
	}
	m.unrouted = m.route("")
	return m
}

// of returns the series about the thing with these labels, made by fill the
// first time.
func (m *Metrics) of(labels string, fill func(*series)) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.series[labels]
	if s == nil {
		s = &series{m: m, labels: labels}
		fill(s)
		m.series[labels] = s
	}
	return s
}

// Retain drops the series of routes, upstreams and listeners that are in none of
// proxies and not among listeners; those of targets go with their targets. It is called
// when an old generation has ended; a series that comes back later starts at 0.
func (m *Metrics) Retain(proxies []*Proxy, listeners []*Listener) {
	keep := map[string]bool{routeLabels(""): true}
	for _, p := range proxies {
		for _, r := range p.routes {
			keep[routeLabels(r.Name)] = true
		}
		for name := range p.all() {
			keep[upstreamLabels(name)] = true
		}
	}
	for _, l := range listeners {
		keep[listenerLabels(l.Name)] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for labels, s := range m.series {
		if keep[labels] {
			continue
		}
		s.mu.Lock()
		s.dead = true
		for _, name := range s.names {
			m.set.UnregisterMetric(name)
		}
		s.mu.Unlock()
		delete(m.series, labels)
		if s.route != nil {
			s.route.addTo(&m.gone)
		}
	}
}

func (s *series) counter(metric, more string) *metrics.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return new(metrics.Counter)
	}
	return s.m.set.GetOrCreateCounter(s.nameLocked(metric, more))
}

// nameLocked makes the name of one series and remembers it, once.
func (s *series) nameLocked(metric, more string) string {
	name := metric + "{" + s.labels + more + "}"
	if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	return name
}

type routeMetrics struct {
	series *series
	all    figures.Figures
	// request and response are the times of Exchange.Processing.
	request, response figures.Histogram
	// exemplars are of all's durations; nil until there was one.
	exemplars atomic.Pointer[figures.Exemplars]

	status  statuses
	grpc    [grpcStatuses]atomic.Pointer[metrics.Counter]
	plain   [encode.Codings]atomic.Pointer[metrics.Counter]
	encoded [encode.Codings]atomic.Pointer[metrics.Counter]
	cause   [causes]atomic.Pointer[metrics.Counter]
	cached  atomic.Pointer[cacheMetrics] // nil until the cache was asked
}

// cache returns the counters of the route's cache.
func (r *routeMetrics) cache() *cacheMetrics {
	if r.cached.Load() == nil {
		r.cached.CompareAndSwap(nil, new(cacheMetrics))
	}
	return r.cached.Load()
}

// statuses are counters by status code. There may be very many routes, and each
// sees codes of few classes.
type statuses [10]atomic.Pointer[[100]atomic.Pointer[metrics.Counter]]

func (s *statuses) at(status int) *atomic.Pointer[metrics.Counter] {
	class := &s[status/100]
	codes := class.Load()
	if codes == nil {
		class.CompareAndSwap(nil, new([100]atomic.Pointer[metrics.Counter]))
		codes = class.Load()
	}
	return &codes[status%100]
}

// retryMetrics count the second attempts of an upstream.
type retryMetrics struct {
	series  *series
	kinds   [lb.AlreadyReported]atomic.Pointer[metrics.Counter]
	status  statuses
	refused [lb.RetryRefusals]atomic.Pointer[metrics.Counter]
	hedges  [hedgeResults]atomic.Pointer[metrics.Counter]
}

type listenerMetrics struct {
	series   *series
	ended    [ends]atomic.Pointer[metrics.Counter]
	requests *metrics.Counter
	inFlight atomic.Int64
	tunnels  atomic.Int64
}

func routeLabels(name string) string { return "route=" + figures.Quote(name) }

func listenerLabels(name string) string { return "listener=" + figures.Quote(name) }

func upstreamLabels(name string) string { return "upstream=" + figures.Quote(name) }

func targetLabels(upstream, target string) string {
	return upstreamLabels(upstream) + ",target=" + figures.Quote(target)
}

func (m *Metrics) route(name string) *routeMetrics {
	return m.of(routeLabels(name), func(s *series) { s.route = &routeMetrics{series: s} }).route
}

func (m *Metrics) listener(name string) *listenerMetrics {
	return m.of(listenerLabels(name), func(s *series) {
		s.listener = &listenerMetrics{series: s, requests: s.counter("weir_listener_requests_total", "")}
	}).listener
}

func (m *Metrics) upstream(name string) *retryMetrics {
	return m.of(upstreamLabels(name), func(s *series) { s.upstream = &retryMetrics{series: s} }).upstream
}

// settle counts an exchange that has ended.
func (m *Metrics) settle(x *Exchange) {
	x.Client.Listener.metrics.requests.Inc()
	r, result := m.unrouted, &x.Result
	if x.Route != nil {
		r = x.Route.metrics
	}
	sample := x.Sample()
	r.all.Add(sample)
	if request, response := x.Processing(); !sample.Untimed {
		if request > 0 {
			r.request.Observe(request)
		}
		if response > 0 {
			r.response.Observe(response)
		}
	}
	lazy(r.series, r.status.at(result.Status), "weir_requests_total", "status", strconv.Itoa, result.Status).Inc()
	lazy(r.series, &r.cause[result.Cause], "weir_causes_total", "cause", Cause.String, result.Cause).Inc()
	if result.GRPC != 0 {
		lazy(r.series, &r.grpc[result.GRPC], "weir_grpc_calls_total", "code", GRPCStatus.String, result.GRPC).Inc()
	}
	x.countCache()
}

// compressed counts the bytes of a body before and after it was compressed.
func (r *routeMetrics) compressed(c encode.Coding, before, after int64) {
	lazy(r.series, &r.plain[c], "weir_compress_in_bytes_total", "coding", encode.Coding.String, c).AddInt64(before)
	lazy(r.series, &r.encoded[c], "weir_compress_out_bytes_total", "coding", encode.Coding.String, c).AddInt64(after)
}

// judged counts what was decided after a failed attempt: another one, by what
// had happened, or none, by why not.
func (m *Metrics) judged(x *Exchange, t lb.Try, refusal lb.Refusal) {
	r := x.Upstream.retries
	switch {
	case refusal != lb.RetryAllowed:
		lazy(r.series, &r.refused[refusal], "weir_upstream_retries_refused_total", "reason", lb.Refusal.String, refusal).Inc()
	case t.Kind == lb.Success:
		lazy(r.series, r.status.at(t.Status), "weir_upstream_retries_total", "reason", strconv.Itoa, t.Status).Inc()
	default:
		lazy(r.series, &r.kinds[t.Kind], "weir_upstream_retries_total", "reason", lb.Kind.String, t.Kind).Inc()
	}
}

// hedged counts a hedge.
func (m *Metrics) hedged(u *Upstream, result hedgeResult) {
	r := u.retries
	lazy(r.series, &r.hedges[result], "weir_upstream_hedges_total", "result", hedgeResult.String, result).Inc()
}

// lazy returns the counter of one label value, which appears when it is first
// needed.
func lazy[V any](s *series, at *atomic.Pointer[metrics.Counter], metric, label string, text func(V) string, v V) *metrics.Counter {
	if c := at.Load(); c != nil {
		return c
	}
	c := s.counter(metric, fmt.Sprintf(",%s=%q", label, text(v)))
	at.Store(c)
	return c
}

// Figures returns what was counted of the exchanges of a route, by its label; nothing for one
// that is not known. "" stands for exchanges without a route.
func (m *Metrics) Figures(route string) figures.Snapshot {
	m.mu.Lock()
	s := m.series[routeLabels(route)]
	m.mu.Unlock()
	if s == nil {
		return figures.Snapshot{}
	}
	return s.route.all.Snapshot()
}

// write writes what is read off the route's figures.
func (r *routeMetrics) write(dst []byte, f figures.Format, labels string) []byte {
	all := r.all.Snapshot()
	counter := func(metric, more string, value float64) {
		dst = append(append(append(append(append(dst, metric...), '{'), labels...), more...), "} "...)
		dst = append(strconv.AppendFloat(dst, value, 'f', -1, 64), '\n')
	}
	counter("weir_request_errors_total", "", float64(all.Errors))
	counter("weir_request_body_bytes_total", "", float64(all.BytesIn))
	counter("weir_response_body_bytes_total", "", float64(all.BytesOut))
	for p, d := range all.Phases {
		counter("weir_request_phase_seconds_total", ",phase=\""+figures.Phase(p).String()+"\"", d.Seconds())
	}
	dst = all.Durations.Append(dst, f, "weir_request_duration_seconds", labels)
	counts := r.request.Counts()
	dst = counts.Append(dst, f, "weir_request_processing_seconds", labels)
	counts = r.response.Counts()
	return counts.Append(dst, f, "weir_response_processing_seconds", labels)
}

// WriteMetrics writes what is not in the set that NewMetrics was given, histograms in format f.
func (m *Metrics) WriteMetrics(w io.Writer, f figures.Format) {
	// w may be slow, and exchanges must not wait for it.
	m.mu.Lock()
	series, targets := maps.Clone(m.series), maps.Clone(m.targets)
	m.mu.Unlock()
	var page []byte
	for _, labels := range slices.Sorted(maps.Keys(series)) {
		if r := series[labels].route; r != nil {
			page = r.write(page[:0], f, labels)
			w.Write(page)
		}
	}
	names := slices.Sorted(maps.Keys(targets))
	for _, labels := range names {
		targets[labels].writeAttempts(w)
	}
	for _, labels := range names {
		targets[labels].writeResends(w)
	}
	for _, labels := range names {
		counts := targets[labels].firstByte.Counts()
		page = counts.Append(page[:0], f, "weir_upstream_first_byte_seconds", labels)
		w.Write(page)
	}
}

// all returns the upstreams by name that exchanges of p may go to.
func (p *Proxy) all() map[string]*Upstream {
	all := maps.Clone(p.upstreams)
	for name, u := range p.added.All() {
		if all[name] == nil {
			all[name] = u
		}
	}
	return all
}

// WriteMetrics writes what is read off the targets at the time of asking.
func (p *Proxy) WriteMetrics(w io.Writer) {
	p.writeCache(w)
	for name, u := range p.all() {
		writeUpstream(w, upstreamLabels(name), u.Set)
		for _, t := range u.Set.Targets() {
			labels := targetLabels(name, t.Name())
			tr := t.Transport().(transport.Transport)
			open, idle := tr.Conns()
			metrics.WriteGaugeUint64(w, "weir_upstream_connections{"+labels+`,state="open"}`, uint64(open))
			metrics.WriteGaugeUint64(w, "weir_upstream_connections{"+labels+`,state="idle"}`, uint64(idle))
			metrics.WriteGaugeUint64(w, "weir_upstream_in_flight{"+labels+"}", uint64(t.InFlight()))
			metrics.WriteGaugeUint64(w, fmt.Sprintf("weir_upstream_target_state{%s,state=%q}", labels, t.State()), 1)
			writePipelined(w, labels, tr)
		}
	}
}

// writePipelined writes what is read off the shared connections to a target.
func writePipelined(w io.Writer, labels string, t transport.Transport) {
	f, ok := t.Pipelined()
	if !ok {
		return
	}
	paused := uint64(0)
	if f.Paused {
		paused = 1
	}
	metrics.WriteCounterUint64(w, "weir_upstream_pipeline_requests_total{"+labels+"}", f.Answered)
	metrics.WriteCounterUint64(w, "weir_upstream_pipeline_writes_total{"+labels+"}", f.Writes)
	metrics.WriteCounterUint64(w, "weir_upstream_pipeline_retries_total{"+labels+"}", f.Repeated)
	metrics.WriteGaugeUint64(w, "weir_upstream_pipeline_paused{"+labels+"}", paused)
}

// writeUpstream writes what is read off an upstream as a whole.
func writeUpstream(w io.Writer, labels string, set *lb.Upstream) {
	panicking := uint64(0)
	if set.Panicking() {
		panicking = 1
	}
	used, allowed := set.Retry().Budget.Used(lb.Monotonic())
	metrics.WriteGaugeUint64(w, "weir_upstream_panic_mode{"+labels+"}", panicking)
	metrics.WriteGaugeUint64(w, fmt.Sprintf("weir_upstream_breaker_state{%s,state=%q}", labels, set.Breaker()), 1)
	metrics.WriteGaugeUint64(w, "weir_upstream_queued{"+labels+"}", uint64(max(set.Queued(), 0)))
	metrics.WriteGaugeUint64(w, "weir_upstream_running{"+labels+"}", uint64(max(set.InFlight(), 0)))
	metrics.WriteGaugeUint64(w, "weir_upstream_retry_budget_used{"+labels+"}", uint64(max(used, 0)))
	metrics.WriteGaugeUint64(w, "weir_upstream_retry_budget_allowed{"+labels+"}", uint64(max(allowed, 0)))
}

// writeCache writes what is read off the cache at the time of asking.
func (p *Proxy) writeCache(w io.Writer) {
	if p.cache == nil {
		return
	}
	s := p.cache.Stats()
	metrics.WriteGaugeUint64(w, "weir_cache_entries", uint64(s.Entries))
	metrics.WriteGaugeUint64(w, "weir_cache_bytes", uint64(s.Bytes))
	metrics.WriteGaugeUint64(w, "weir_cache_copied_bytes", uint64(s.Copied))
	metrics.WriteGaugeUint64(w, "weir_cache_limit_bytes", uint64(s.Limit))
	metrics.WriteGaugeUint64(w, "weir_cache_filling_bytes", uint64(max(s.Filling, 0)))
	metrics.WriteCounterUint64(w, "weir_cache_evictions_total", s.Evicted)
	for _, t := range p.cache.TierStats() {
		count := func(result string, n uint64) {
			metrics.WriteCounterUint64(w, fmt.Sprintf("weir_cache_tier_total{tier=%q,result=%q}", t.Name, result), n)
		}
		count("hit", t.Hits)
		count("miss", t.Misses)
		count("error", t.Errors)
		count("damaged", t.Damaged)
		count("purged", t.Purged)
		count("written", t.Written)
		count("dropped", t.Dropped)
		count("forgotten", t.Forgotten)
		gauge := func(name string, n uint64) {
			metrics.WriteGaugeUint64(w, fmt.Sprintf("%s{tier=%q}", name, t.Name), n)
		}
		gauge("weir_cache_tier_waiting", uint64(t.Waiting))
		gauge("weir_cache_tier_unannounced", uint64(t.Unannounced))
		up := uint64(0)
		if t.Up {
			up = 1
		}
		gauge("weir_cache_tier_up", up)
	}
}

// WriteMetrics writes what is read off the listener at the time of asking.
func (l *Listener) WriteMetrics(w io.Writer) {
	labels := listenerLabels(l.Name)
	metrics.WriteGaugeUint64(w, "weir_listener_requests_in_flight{"+labels+"}", uint64(l.metrics.inFlight.Load()))
	metrics.WriteGaugeUint64(w, "weir_listener_tunnels{"+labels+"}", uint64(l.metrics.tunnels.Load()))
}
