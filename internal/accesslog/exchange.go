package accesslog

import (
	"weir/internal/head"
	"weir/proxy"
)

// FromExchange is what is known of an exchange that has ended. It borrows from x.
func FromExchange(x *proxy.Exchange) Record {
	result := &x.Result
	r := Record{
		Time:          x.Start,
		Client:        x.ClientAddr,
		Peer:          x.Client.Remote,
		Listener:      x.Client.Listener.Name,
		Method:        x.Request.Method(),
		RequestTarget: x.RequestTarget,
		Host:          x.Host,
		Proto:         x.Request.Version.String(),
		UserAgent:     x.Request.Get(head.UserAgent),
		Referer:       x.Request.Get(head.Referer),
		RequestID:     x.RequestID,
		Status:        result.Status,
		Cause:         result.Cause.String(),
		Err:           result.Err,
		Attempts:      result.Attempts,
		BytesIn:       result.BytesIn,
		BytesOut:      result.BytesOut,
		Duration:      result.End.Sub(x.Start),
		FirstByte:     result.FirstByte,
		Scheme:        x.Scheme,
		Cache:         result.Cache.String(),
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
	return r
}
