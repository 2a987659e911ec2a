package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/admin"
	"weir/cache"
	"weir/config"
	"weir/internal/access"
	"weir/internal/head"
	"weir/internal/listener"
	"weir/internal/match"
	"weir/internal/tracing"
	"weir/lb"
	"weir/proxy"
)

// explainer is the client, the hooks and the targets of one explained exchange.
type explainer struct {
	proxy.NoClient
	Explanation
	config *config.Config
	answer []string
	// length is that of the assumed answer's body.
	length   int
	metrics  *proxy.Metrics
	core     *proxy.Proxy
	exchange *proxy.Exchange
	live     map[string]*lb.Upstream
	sets     map[string]*lb.Upstream
	store    *cache.Store
	client   []string // the lines that the client sent
}

// request makes the head of the question, and finds its listener.
func (e *explainer) request(q Question) (l *config.Listener, scheme string, text []byte, err error) {
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", nil, fmt.Errorf("found URL %q: want one such as \"https://www.example.org/path\"", q.URL)
	}
	if l, err = e.listener(q.Listener, u.Scheme == "https"); err != nil {
		return nil, "", nil, err
	}
	method := q.Method
	if method == "" {
		method = "GET"
	}
	_, target, _ := strings.Cut(q.URL, "://")
	if i := strings.IndexAny(target, "/?"); i >= 0 {
		target = target[i:]
	} else {
		target = "/"
	}
	if target[0] == '?' {
		target = "/" + target
	}
	target, _, _ = strings.Cut(target, "#")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, u.Host)
	for _, line := range q.Fields {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	return l, u.Scheme, b.Bytes(), nil
}

func (e *explainer) listener(label string, secure bool) (*config.Listener, error) {
	var labels []string
	for i := range e.config.Listeners {
		l := &e.config.Listeners[i]
		speaksTLS := l.Secure() || len(l.PassThrough) > 0
		if l.Label() == label || label == "" && secure == speaksTLS {
			return l, nil
		}
		labels = append(labels, l.Label())
	}
	if label != "" {
		return nil, fmt.Errorf("found listener %q: want %s", label, config.OneOf(labels))
	}
	if len(e.config.Listeners) == 0 {
		l := config.DefaultListener()
		return &l, nil
	}
	return &e.config.Listeners[0], nil // a load balancer in front may end TLS
}

func (e *explainer) build(o *options) (err error) {
	e.metrics = proxy.NewMetrics(metrics.NewSet())
	e.sets = make(map[string]*lb.Upstream)
	e.exchange = proxy.NewExchange()
	all := make(map[string]*config.Upstream)
	for name, set := range e.live {
		all[name] = set.Config()
	}
	for name, u := range e.config.Upstreams {
		all[name] = &u
	}
	for name, u := range all {
		live := e.live[name]
		var known *lb.Memory // the states of the targets, and of the upstream itself
		if live != nil {
			m := live.Memory()
			known = &m
		}
		set, err := lb.NewUpstream(name, u, lb.Options{
			Memory: known,
			NewTransport: func(url string, c *config.Upstream) (lb.Transport, error) {
				return &assumedTarget{e: e, url: url, protocol: c.Connections.Protocol}, nil
			},
			NewAttachment: e.metrics.NewTarget, Algorithms: o.balancing(),
		}, nil)
		if err != nil {
			return err
		}
		e.sets[name] = set
		if live != nil {
			err = imitate(set, live)
		} else {
			err = set.SetEndpoints(unresolved(u))
		}
		if err != nil {
			return err
		}
	}
	if e.store, err = cache.NewStore(&e.config.Cache); err != nil {
		return err
	}
	var tracer proxy.Tracer
	if e.config.Tracing.Enabled {
		tracer = tracing.NewPlan(e.config, nil)
	}
	e.core, err = proxy.New(proxy.Parts{
		Config: e.config, Upstreams: e.sets, NameUpstream: o.nameUpstream(), Hooks: append([]proxy.Hooks{{OnUpstream: e.sends}}, o.hooks...),
		Log: slog.New(slog.DiscardHandler), Metrics: e.metrics, Cache: e.store, Tracer: tracer, Verifier: access.NewVerifier(),
	})
	return err
}

func (e *explainer) close() {
	for _, set := range e.sets {
		set.Close()
	}
	if e.store != nil {
		e.store.Close()
	}
}

// sends notes what a target gets.
func (e *explainer) sends(x *proxy.Exchange) {
	h := x.Outgoing()
	lines := linesOf(h)
	e.Request = &ExplainedRequest{
		Line: fmt.Sprintf("%s %s HTTP/1.1", h.Method(), h.Target()), Fields: lines,
		Added: without(lines, e.client), Removed: without(e.client, lines),
	}
}

// passedOn finds out where the listener passes on a connection for a URL, whose TLS then is not weir's.
func passedOn(l *config.Listener, text string) (to, name string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" {
		return "", "", false
	}
	if name = strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); net.ParseIP(name) != nil {
		name = "" // clients ask for no address by SNI
	}
	to, ok = listener.PassTo(l.PassThrough, name)
	return to, name, ok
}

// pass passes on a connection that ends at once.
func (e *explainer) pass(to, name string) {
	client, end := net.Pipe()
	end.Close()
	defer client.Close()
	x := e.exchange
	e.core.Pass(x, to, name, client, nil)
	e.end()
	if x.Upstream != nil {
		e.describeTargets(x)
	}
}

// refuse refuses the request, whose head is larger than limit, as front ends do.
func (e *explainer) refuse(limit int) {
	x := e.exchange
	d := head.DefectHeadSize
	if !x.Request.LineWithin(limit) {
		d = head.DefectLineSize
	}
	x.RequestTarget = append(x.RequestTarget[:0], x.Request.Target()...)
	x.Request.StartRequest(x.Request.Version, bytes.Clone(x.Request.Method()), nil)
	e.core.Refuse(x, d.Status, proxy.CauseOf(d), d)
	e.end()
}

// conclude notes what became of an exchange that came as far as the routes.
func (e *explainer) conclude() {
	e.end()
	e.describeWay()
}

// end notes how the exchange has ended.
func (e *explainer) end() {
	x := e.exchange
	e.Cause = x.Result.Cause.String()
	if err := x.Result.Err; err != nil {
		e.Error = err.Error()
	}
	if x.ClientAddr.IsValid() {
		e.ClientAddress = x.ClientAddr.String()
	}
	e.Explanation.Scheme = string(x.Scheme)
}

// describeWay notes which way the request took, and why.
func (e *explainer) describeWay() {
	x := e.exchange
	if x.Route != nil {
		e.Route = x.Route.Name
	}
	if c := &x.Result.Cache; c.Asked {
		e.Cache = &ExplainedCache{Key: string(x.CacheKey()), Verdict: c.String()}
		if c.Stored {
			e.Cache.Verdict = "stored"
		}
	}
	for i := range x.Captures.Len() {
		if e.Captures == nil {
			e.Captures = make(map[string]string)
		}
		name, value := x.Captures.At(i)
		e.Captures[name] = string(value)
	}
	r := &match.Request{
		Host: x.Host, Path: x.Canonical, Query: x.Query, Method: x.Request.Method(), Listener: x.Client.Listener.Name,
		Scheme: x.Scheme, Header: &x.Request, Client: x.Client.Peer.Client(),
	}
	for i := range e.config.Routes {
		route := &e.config.Routes[i]
		verdict := RouteVerdict{Route: route.Label(i), Misfit: match.Misfit(route, r)}
		verdict.Wants = wanted(route, verdict.Misfit)
		verdict.Taken = verdict.Route == e.Route
		e.Routes = append(e.Routes, verdict)
		if verdict.Taken && x.Upstream != nil {
			e.describeUpstream(route, x)
		}
	}
}

// wanted is what a condition of a route says.
func wanted(route *config.Route, key string) string {
	switch key {
	case "host":
		return strings.Join(route.Host, ", ")
	case "path":
		return strings.Join(route.Path, ", ")
	case "method":
		return strings.Join(route.Method, ", ")
	case "listener":
		return strings.Join(route.Listener, ", ")
	case "scheme":
		return route.Scheme
	case "header":
		return fmt.Sprint(route.Header)[len("map"):]
	case "query":
		return fmt.Sprint(route.Query)[len("map"):]
	case "client":
		return route.Client.String()
	}
	return ""
}

func (e *explainer) describeUpstream(route *config.Route, x *proxy.Exchange) {
	e.describeTargets(x)
	u := x.Upstream.Set.Config()
	total, firstByte, idle := x.Limits()
	text := func(d time.Duration) string { return config.Duration(d).String() }
	e.Limits = &ExplainedLimits{
		MaxBody: int64(route.MaxBody), Connect: u.Timeouts.Connect.String(), FirstByte: text(firstByte), Idle: text(idle), Total: text(total),
		Attempts: u.Retry.Attempts,
	}
}

// describeTargets notes to which upstream the exchange goes, and to which target.
func (e *explainer) describeTargets(x *proxy.Exchange) {
	e.Upstream = x.Upstream.Set.Name()
	u, live := x.Upstream.Set.Config(), byURL(e.live[e.Upstream])
	e.Balance = u.Balance
	for _, t := range x.Upstream.Set.Targets() {
		d := ExplainedTarget{URL: t.Name(), Priority: t.Priority()}
		d.Weight, d.Sharers = t.OwnWeight()
		if as := live[t.URL()]; as != nil {
			d.State, d.Reason, d.InFlight = as.State().String(), as.Reason(), as.InFlight()
		}
		e.Targets = append(e.Targets, d)
	}
	if set := e.live[e.Upstream]; set != nil {
		e.Notes = notesOn(set)
	}
	for _, t := range u.Targets {
		if t.IsFound() {
			e.Sources = append(e.Sources, config.DisplayURL(t.URL))
		}
	}
	if x.Result.Target != nil {
		e.Target = x.Result.Target.Name()
	}
}

// notesOn says what of a running upstream as a whole may keep an exchange from its target.
func notesOn(set *lb.Upstream) (notes []string) {
	if set.Panicking() {
		notes = append(notes, admin.PanicNote)
	}
	if l := &set.Config().Limits; l.InFlight > 0 && set.InFlight() >= l.InFlight {
		notes = append(notes, fmt.Sprintf("%d exchanges run, of at most %d (limits.in_flight): an exchange waits, or is refused with 503 if %d wait already (limits.queue); %d do",
			set.InFlight(), l.InFlight, l.Queue, max(0, set.Queued())))
	}
	return notes
}

// linesOf are the lines of a head.
func linesOf(h *head.Head) (lines []string) {
	for f := range h.All() {
		lines = append(lines, string(f.Name)+": "+string(f.Value))
	}
	return lines
}

// without are the lines of a that b lacks; one that stands twice in a must stand twice in b.
func without(a, b []string) (list []string) {
	left := make(map[string]int)
	for _, line := range b {
		left[line]++
	}
	for _, line := range a {
		if left[line]--; left[line] < 0 {
			list = append(list, line)
		}
	}
	return list
}

// Start implements proxy.Front. The end of a body without a length is for the version of HTTP to show.
func (e *explainer) Start(h *head.Head, length int64, bodyless bool) error {
	if length > 0 || length == 0 && !bodyless {
		h.SetFraming(length)
	}
	e.Response = &ExplainedResponse{Status: h.Status, Fields: linesOf(h)}
	return nil
}
