package proxy

import (
	"errors"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"weir/cache"
	"weir/cache/rule"
	"weir/internal/sock"
	"weir/internal/wire"
)

// refresh validates the stale entry that has just answered x, in the
// background and only once at a time.
func (p *Proxy) refresh(x *Exchange) {
	f := p.cache.Refresh(&x.cached.request, &x.cached.found)
	if f == nil {
		return
	}
	b := NewExchange()
	peer := *x.Peer
	b.Front, b.Watch, b.Listener, b.Peer = nobody{}, &b.cached.fetch.Watch, x.Listener, &peer
	b.Remote, b.Client, b.TLS = x.Remote, x.Client, x.TLS
	f.Request().CopyTo(&b.Request)
	b.Head.Fields, b.Head.Length, b.Head.Minor = x.Head.Fields, wire.LengthNone, 1
	b.Body.Reset(nil, wire.FramingNone, 0)
	b.Start = time.Now()
	b.Target = append(b.Target, x.Target...)
	b.Path = b.Target[:len(x.Path)]
	if x.Query != nil {
		b.Query = b.Target[len(x.Path)+1:][:len(x.Query)]
	}
	b.Host = append(b.Host, x.Host...)
	b.Canonical = append(b.Canonical, x.Canonical...)
	b.RequestID = append(b.RequestID, x.RequestID...)
	b.proxy = p
	b.Cache = CacheResult{Asked: true, Outcome: rule.Revalidate, Reason: rule.ReasonStale}
	b.cached.background = true
	b.cached.fill = f
	p.fetches.add(&b.cached.fetch)
	p.background(func() {
		defer func() {
			p.fetches.remove(&b.cached.fetch)
			if v := recover(); v != nil {
				p.attend(b.abandon)
				p.metrics.Panicked(p.log, v)
			}
			b.cached.fill.Abort(cache.ErrAborted)
		}()
		// The same route, for its captures.
		if p.match(b) && b.Route.cache != nil && p.admit(b) {
			p.forward(b)
		}
	})
}

// nobody is the Front of an exchange without a client.
type nobody struct{}

func (nobody) Inform(*fasthttp.ResponseHeader) error             { return nil }
func (nobody) Start(*fasthttp.ResponseHeader, int64, bool) error { return nil }
func (nobody) Write([]byte) error                                { return nil }
func (nobody) WriteFile([]byte, int, int64) error                { return nil }
func (nobody) Flush() error                                      { return nil }
func (nobody) Finish([]byte) error                               { return nil }
func (nobody) Abort()                                            {}
func (nobody) CloseAfter()                                       {}
func (nobody) StopReading()                                      {}

func (nobody) Splice(*sock.Stream, int64, time.Duration) (int64, error, error) {
	return 0, nil, errors.ErrUnsupported
}

func (nobody) Tunnel(*fasthttp.ResponseHeader) (net.Conn, []byte, error) {
	return nil, nil, errors.ErrUnsupported
}
