package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache"
	"weir/config"
	"weir/internal/body"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/match"
	"weir/internal/transport"
	"weir/lb"
	"weir/proxy"
)

// Question is a request whose way through a configuration Explain follows.
type Question struct {
	// Method is the request's; empty means GET.
	Method string
	// URL is what a client asks for: scheme, host and path, perhaps a query.
	URL string
	// Fields are the lines of the request's head besides Host, such as "Accept: text/html".
	Fields []string
	// From is the address that the client connects from; the zero Addr means 127.0.0.1.
	From netip.Addr
	// Listener is the label of the listener; empty means the first one that has certificates if
	// the scheme is https, and none if it is http.
	Listener string
	// Answer are lines of the head of the response that a target is assumed to give, such as
	// "Cache-Control: max-age=60".
	Answer []string
}

// Explanation is what weir would do with a request, and why.
type Explanation struct {
	Listener      string         `json:"listener"`
	ClientAddress string         `json:"client_address"`
	Scheme        string         `json:"scheme"`
	Routes        []RouteVerdict `json:"routes"`
	// Route is the name of the route that takes the request; empty if none does.
	Route    string            `json:"route"`
	Captures map[string]string `json:"captures,omitempty"`
	// Upstream and Targets are where the request may go, Target is the pick of a weir that has
	// just started.
	Upstream string             `json:"upstream,omitempty"`
	Balance  string             `json:"balance,omitempty"`
	Targets  []ExplainedTarget  `json:"targets,omitempty"`
	Target   string             `json:"target,omitempty"`
	Limits   *ExplainedLimits   `json:"limits,omitempty"`
	Request  *ExplainedRequest  `json:"request,omitempty"`
	Response *ExplainedResponse `json:"response,omitempty"`
	Cache    *ExplainedCache    `json:"cache,omitempty"`
	// Cause is how the exchange would end, and Error the reason if not well.
	Cause string `json:"cause"`
	Error string `json:"error,omitempty"`
}

// RouteVerdict is what a route says to a request.
type RouteVerdict struct {
	Route string `json:"route"`
	// Misfit is the key of the first condition that the request does not fit; empty if
	// it fits, and is taken by this route or by a more specific one.
	Misfit string `json:"misfit,omitempty"`
	// Wants is what that condition says.
	Wants string `json:"wants,omitempty"`
	Taken bool   `json:"taken,omitempty"`
}

// ExplainedTarget is a target of the upstream.
type ExplainedTarget struct {
	URL    string `json:"url"`
	Weight int    `json:"weight"`
	// Priority is the number of the target's group.
	Priority int `json:"priority"`
}

// ExplainedLimits are the bounds of an exchange with a target. 0 means none.
type ExplainedLimits struct {
	MaxBody   int64  `json:"max_body"`
	Connect   string `json:"connect"`
	FirstByte string `json:"first_byte"`
	Idle      string `json:"idle"`
	Total     string `json:"total"`
	Attempts  int    `json:"attempts"`
}

// ExplainedRequest is the head that the target gets.
type ExplainedRequest struct {
	Line string `json:"line"`
	// Fields are all lines; Added are those that the client did not send, Removed those of the client
	// that do not go on.
	Fields  []string `json:"fields"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// ExplainedResponse is the head that the client gets.
type ExplainedResponse struct {
	Status int      `json:"status"`
	Fields []string `json:"fields"`
}

// ExplainedCache is what the cache of the route does.
type ExplainedCache struct {
	// Key is what the answer is stored under.
	Key string `json:"key"`
	// Verdict is "stored", or why the answer is not stored, by the names that Cache-Status has.
	Verdict string `json:"verdict"`
}

// Explain says what a weir with this configuration would do with a request. Nothing is sent:
// the request goes through the core itself, to a target that is only assumed to answer with
// status 200. The cache is empty, and all targets are well. The error says what is wrong with the
// question.
func Explain(cfg *config.Config, q Question, opts ...Option) (*Explanation, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if err := check(cfg, &o); err != nil {
		return nil, err
	}
	e := &explainer{config: cfg, answer: q.Answer}
	listener, scheme, text, err := e.request(q)
	if err != nil {
		return nil, err
	}
	if err := e.build(&o); err != nil {
		return nil, err
	}
	defer e.close()
	from := q.From
	if !from.IsValid() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	peer := forward.NewPeer(netip.AddrPortFrom(from, 40000), scheme == "https")
	x := e.exchange
	x.Client = &proxy.Client{
		Front: e, Cancel: new(proxy.Cancel), Bond: new(proxy.Bond), Listener: e.metrics.NewListener(listener), Peer: &peer,
		Remote: netip.AddrPortFrom(from, 40000), TLS: scheme == "https",
	}
	x.Start = time.Now()
	e.Explanation.Listener = listener.Label()
	if err := x.Request.ScanRequest(text); err != nil {
		return nil, fmt.Errorf("a client cannot send this request: %w", err)
	}
	e.client = linesOf(&x.Request)
	e.core.Serve(x)
	e.conclude()
	return &e.Explanation, nil
}

// explainer is the client, the hooks and the targets of one explained exchange.
type explainer struct {
	proxy.NoClient
	Explanation
	config   *config.Config
	answer   []string
	metrics  *proxy.Metrics
	core     *proxy.Proxy
	exchange *proxy.Exchange
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
		if l.Label() == label || label == "" && secure == (len(l.Certificates) > 0) {
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
	for name := range e.config.Upstreams {
		u := e.config.Upstreams[name]
		if e.sets[name], err = lb.NewUpstream(name, &u, lb.Options{
			NewTransport:  func(url string, _ *config.Upstream) (lb.Transport, error) { return &assumedTarget{e: e, url: url}, nil },
			NewAttachment: e.metrics.NewTarget, Algorithms: o.balancing(),
		}, nil); err != nil {
			return err
		}
	}
	if e.store, err = cache.NewStore(&e.config.Cache); err != nil {
		return err
	}
	e.core, err = proxy.New(proxy.Parts{
		Config: e.config, Upstreams: e.sets, Hooks: append([]proxy.Hooks{{OnUpstream: e.sends}}, o.hooks...),
		Log: slog.New(slog.DiscardHandler), Metrics: e.metrics, Cache: e.store,
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

// conclude notes what became of the exchange.
func (e *explainer) conclude() {
	x := e.exchange
	e.Cause = x.Result.Cause.String()
	if err := x.Result.Err; err != nil {
		e.Error = err.Error()
	}
	if x.ClientAddr.IsValid() {
		e.ClientAddress = x.ClientAddr.String()
	}
	e.Explanation.Scheme = string(x.Scheme)
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
		Scheme: x.Scheme, Header: &x.Request,
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
	}
	return ""
}

func (e *explainer) describeUpstream(route *config.Route, x *proxy.Exchange) {
	e.Upstream = x.Upstream.Set.Name()
	u := e.config.Upstreams[e.Upstream]
	e.Balance = u.Balance
	for _, t := range u.Targets {
		e.Targets = append(e.Targets, ExplainedTarget{URL: t.URL, Weight: t.Weight, Priority: t.Priority})
	}
	if x.Result.Target != nil {
		e.Target = x.Result.Target.Name()
	}
	total, firstByte, idle := x.Limits()
	text := func(d time.Duration) string { return config.Duration(d).String() }
	e.Limits = &ExplainedLimits{
		MaxBody: int64(route.MaxBody), Connect: u.Timeouts.Connect.String(), FirstByte: text(firstByte), Idle: text(idle), Total: text(total),
		Attempts: u.Retry.Attempts,
	}
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

// Start implements proxy.Front.
func (e *explainer) Start(h *head.Head, _ int64, _ bool) error {
	e.Response = &ExplainedResponse{Status: h.Status, Fields: linesOf(h)}
	return nil
}

// assumedTarget is a Transport, and a Stream, to a target that is only assumed to answer.
type assumedTarget struct {
	e    *explainer
	url  string
	body body.Memory
}

func (a *assumedTarget) Host() string {
	u, err := url.Parse(a.url)
	if err != nil {
		return ""
	}
	return u.Host
}

func (a *assumedTarget) Open(time.Duration) (transport.Stream, error)        { return a, nil }
func (a *assumedTarget) Share(time.Duration, time.Duration) transport.Stream { return nil }
func (a *assumedTarget) CloseIdle()                                          {}
func (a *assumedTarget) Conns() (open, idle int)                             { return 0, 0 }
func (a *assumedTarget) Pipelined() (p transport.Pipelined, ok bool)         { return p, false }
func (a *assumedTarget) Retire()                                             {}
func (a *assumedTarget) Reused() bool                                        { return false }
func (a *assumedTarget) Send(*transport.Request) (int, error)                { return 0, nil }
func (a *assumedTarget) Sent() bool                                          { return true }
func (a *assumedTarget) Await() error                                        { return nil }
func (a *assumedTarget) BodyWriter(bool, time.Duration) transport.BodyWriter { return nil }
func (a *assumedTarget) Tunnel() (net.Conn, []byte)                          { return nil, nil }
func (a *assumedTarget) LimitRead(time.Time, time.Duration)                  {}
func (a *assumedTarget) ReadUntil(time.Time)                                 {}
func (a *assumedTarget) LimitWrite(time.Time, time.Duration)                 {}
func (a *assumedTarget) Unlimit()                                            {}
func (a *assumedTarget) Interrupt()                                          {}
func (a *assumedTarget) InterruptRead()                                      {}
func (a *assumedTarget) InterruptWrite()                                     {}
func (a *assumedTarget) InterruptFrom(time.Time)                             {}
func (a *assumedTarget) Cut()                                                {}
func (a *assumedTarget) Release(bool)                                        {}

func (a *assumedTarget) ReadHead(h *head.Head) (started bool, err error) {
	text := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
	for _, line := range a.e.answer {
		text += line + "\r\n"
	}
	h.Reset()
	return true, h.ScanResponse([]byte(text + "\r\n"))
}

func (a *assumedTarget) Response(*head.Head, bool, *body.Reader) body.Source {
	a.body.Reset(nil)
	return &a.body
}
