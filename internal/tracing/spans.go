package tracing

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/head"
	"weir/lb"
	"weir/proxy"
	"weir/trace"
)

// methods are those whose names attributes may have; others are "_OTHER", so that clients cannot make new ones.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}

// setMethod notes the method of a request, and returns how names of spans have it.
func setMethod(s *trace.Span, method string) string {
	switch {
	case method == "":
		return "HTTP"
	case slices.Contains(methods, method):
		s.Text("http.request.method", method)
		return method
	}
	s.Text("http.request.method", "_OTHER")
	s.Text("http.request.method_original", method)
	return "HTTP"
}

// exchangeSpan is the span of an exchange that has ended.
func exchangeSpan(x *proxy.Exchange, route string) *trace.Span {
	r := &x.Result
	s := &trace.Span{
		Context: x.Trace.Context, Parent: x.Trace.Parent, Link: x.Trace.Link, Kind: trace.Server, Start: x.Start, End: r.End,
		Attributes: make([]trace.Attribute, 0, 24),
	}
	if state := x.Request.Joined(tracestate); !x.Trace.Restarted && trace.ValidState(state) {
		s.State = string(state)
	}
	s.Name = setMethod(s, string(x.Request.Method()))
	if x.Background() {
		s.Kind, s.Name = trace.Internal, "cache refresh"
	} else {
		setClient(s, x)
		if route != "" {
			s.Name += " " + route
			s.Text("http.route", route)
		}
	}
	s.Text("url.path", string(x.Path))
	s.Text("url.scheme", string(x.Scheme))
	setServer(s, string(x.Host), string(x.Scheme))
	if r.Status != 0 {
		s.Number("http.response.status_code", int64(r.Status))
	}
	if x.Route != nil {
		s.Text("weir.route", x.Route.Name)
	}
	if x.Upstream != nil {
		s.Text("weir.upstream", x.Upstream.Set.Name())
	}
	s.Text("weir.cache", r.Cache.String())
	s.Text("weir.cause", r.Cause.String())
	s.Text("weir.request_id", string(x.RequestID))
	s.Text("weir.grpc_status", r.GRPC.String())
	if s.Failed = r.Failed() || r.GRPC.Failed(); s.Failed {
		s.Text("error.type", errorType(r.Status, r.Cause))
		if r.Err != nil {
			s.Message = r.Err.Error()
		}
	}
	return s
}

// errorType names a failure: by the status where that says it, else by the cause.
func errorType(status int, cause proxy.Cause) string {
	if cause == proxy.CauseOK && status != 0 {
		return strconv.Itoa(status)
	}
	return cause.String()
}

// setClient notes who sent the request and how.
func setClient(s *trace.Span, x *proxy.Exchange) {
	if x.ClientAddr.IsValid() {
		s.Text("client.address", x.ClientAddr.String())
	}
	if remote := x.Client.Remote; remote.IsValid() {
		s.Text("network.peer.address", remote.Addr().String())
		s.Number("network.peer.port", int64(remote.Port()))
	}
	s.Text("network.protocol.version", protocol(x.Request.Version))
	s.Text("user_agent.original", string(x.Request.Get(head.UserAgent)))
	s.Text("weir.listener", x.Client.Listener.Name)
	if x.Result.BytesIn > 0 {
		s.Number("http.request.body.size", x.Result.BytesIn)
	}
	s.Number("http.response.body.size", x.Result.BytesOut)
}

// protocol is a version without the name.
func protocol(v head.Version) string {
	return strings.TrimSuffix(strings.TrimPrefix(v.String(), "HTTP/"), ".0")
}

// setServer notes a host with a port, or without one where the scheme says it.
func setServer(s *trace.Span, authority, scheme string) {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.Trim(authority, "[]"), ""
	}
	s.Text("server.address", host)
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case host == "":
		return
	case err == nil:
	case scheme == "https":
		n = 443
	default:
		n = 80
	}
	s.Number("server.port", int64(n))
}

// attemptSpan is the span of an attempt that has ended.
func attemptSpan(t *proxy.Tried, now time.Time) *trace.Span {
	s := &trace.Span{
		Context: t.Trace.Context, Parent: t.Trace.Parent, Kind: trace.Client, Start: t.Began, End: now,
		Attributes: make([]trace.Attribute, 0, 12),
	}
	s.Name = setMethod(s, string(t.Request.Method()))
	setTarget(s, t.Target, t.Request)
	s.Text("weir.upstream", t.Upstream.Set.Name())
	if n := t.Trace.Number; n > 1 {
		s.Number("http.request.resend_count", int64(n-1))
	}
	s.True("weir.hedge", t.Trace.Hedge)
	s.True("weir.connection.reused", t.Reused)
	if t.Status != 0 {
		s.Number("http.response.status_code", int64(t.Status))
	}
	if t.Cause != proxy.CauseOK {
		s.Text("weir.cause", t.Cause.String())
	}
	// A hedge that lost has not failed.
	failed := t.Cause != proxy.CauseOK && t.Cause != proxy.CauseHedge && t.Cause != proxy.CauseClientGone
	if s.Failed = failed || t.Status >= 400; s.Failed {
		s.Text("error.type", errorType(t.Status, t.Cause))
		if t.Err != nil {
			s.Message = t.Err.Error()
		}
	}
	return s
}

// setTarget notes where an attempt went. The query is left out: it may have secrets.
func setTarget(s *trace.Span, target *lb.Target, request *head.Head) {
	name := target.Name()
	s.Text("weir.target", name)
	path := request.Target()
	for i, c := range path {
		if c == '?' || c == '#' {
			path = path[:i]
			break
		}
	}
	scheme, authority, ok := strings.Cut(name, "://")
	if !ok {
		return
	}
	authority, _, _ = strings.Cut(authority, "/")
	switch scheme {
	case "http", "https":
	case "h2c":
		scheme = "http"
	default: // no host
		s.Text("url.path", string(path))
		return
	}
	s.Text("url.full", scheme+"://"+authority+string(path))
	setServer(s, authority, scheme)
}

// partSpan is the span of a part of an exchange that has ended.
func partSpan(x *proxy.Exchange, part proxy.TracePart, began, ended time.Duration) *trace.Span {
	s := &trace.Span{Context: x.Trace.Context, Parent: x.Trace.SpanID, Kind: trace.Internal, Start: x.Start.Add(began), End: x.Start.Add(ended)}
	s.SpanID = trace.NewSpanID()
	switch part {
	case proxy.TraceCache:
		s.Name = "cache"
		c := &x.Result.Cache
		s.Text("weir.cache.outcome", c.Outcome.String())
		s.Text("weir.cache.reason", c.Reason.String())
		s.True("weir.cache.collapsed", c.Collapsed)
	case proxy.TraceQueue:
		s.Name = "queue"
		if x.Upstream != nil {
			s.Text("weir.upstream", x.Upstream.Set.Name())
		}
	}
	return s
}
