package accesslog

import (
	"crypto/tls"

	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/proxy"
)

// LogExchange logs what is known of an exchange that has ended.
//
// It is not inlined because its frame is large: it would double the stack of each connection, for a log
// that may be off.
//
//go:noinline
func (l *Logger) LogExchange(x *proxy.Exchange) {
	// These bytes were last used before the target was asked, and the processor has forgotten them since.
	x.Request.Fetch()
	prefetch.Slice(x.RequestTarget)
	prefetch.Slice(x.RequestID)
	result := &x.Result
	r := Record{
		Time:          x.Start,
		Client:        x.ClientAddr,
		Peer:          x.Client.Remote,
		Listener:      x.Client.Listener.Name,
		Method:        x.Request.Method(),
		RequestTarget: x.RequestTarget,
		Host:          x.ClientHost,
		Proto:         x.Request.Version.String(),
		UserAgent:     x.Request.Get(head.UserAgent),
		Referer:       x.Request.Get(head.Referer),
		RequestID:     x.RequestID,
		TraceID:       x.Trace.TraceID,
		SpanID:        x.Trace.SpanID,
		User:          x.User,
		Status:        result.Status,
		GRPCStatus:    result.GRPC.String(),
		Cause:         result.Cause.String(),
		Err:           result.Err,
		Attempts:      result.Attempts,
		BytesIn:       result.BytesIn,
		BytesOut:      result.BytesOut,
		Duration:      result.End.Sub(x.Start),
		FirstByte:     result.FirstByte,
		Scheme:        x.Scheme,
		Request:       &x.Request,
		Response:      x.Response,
		Cache:         result.Cache.String(),
	}
	if p := x.Client.Peer; p != nil && p.Certificate != nil {
		r.ClientSubject, r.ClientFingerprint = p.Certificate.Subject, p.Certificate.Fingerprint
	}
	if x.Route != nil {
		r.Route = x.Route.Name
	}
	if x.Upstream != nil {
		r.Upstream = x.Upstream.Set.Name()
	}
	if result.Target != nil {
		r.Target = result.Target.Name()
	}
	if x.Passed {
		r.Proto, r.SNI = "TLS", string(x.Host)
	}
	if h := x.Client.Handshake; h != nil {
		r.TLSVersion, r.SNI = tlsVersion(h.Version), h.ServerName
	}
	l.Log(&r)
}

// tlsVersion is the name of a version in one word, as other proxies write it.
func tlsVersion(version uint16) string {
	switch version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return tls.VersionName(version)
}
