// Package transport is the connections to one target: it dials, with TLS or
// without, keeps unused connections, lends one to each exchange, and lets small
// exchanges share connections (HTTP/1.1 pipelining). It does not choose targets,
// and does not judge what a target answers, but for the plain responses that it
// hands out from a shared connection.
//
// Package server gives the constructor to package lb, which makes one transport
// for each target and retires it with the target; package proxy borrows the
// connections, and package health dials for its probes.
package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/internal/prefetch"
	"weir/internal/sock"
)

// ErrNoConn says that a target's connections are all in use and none became
// free in time. Nothing was sent.
var ErrNoConn = errors.New("no free connection to the target: as many as connections.max are in use")

// readBuffer holds a response head and a body of some KiB, so that both arrive
// in one read.
const readBuffer = 16 << 10

// smallBuffer is what a response gets instead that will have to wait for its client (Request.Crowded).
const smallBuffer = 4 << 10

// unlimited stands for no bound on connections, which HostClient does not know.
const unlimited = 1 << 30

// longestReclaim is the longest pause between two tries to connect without a descriptor; the
// first lasts a millisecond, and each is twice as long as the one before.
const longestReclaim = 64 * time.Millisecond

// HTTP1 is the pool of HTTP/1.1 connections to one target. fasthttp.HostClient
// keeps it; its Do is never used, because a proxy needs the exact request
// target, interim responses, its own framing and its own idea of what may be
// repeated. An HTTP1 is safe for concurrent use.
type HTTP1 struct {
	*dialer
	pool pool
	hc   *fasthttp.HostClient
	head int
	// renewal makes connections old.
	renewal *renewal
	// attendants wait at unused connections, beside pool.
	attendants attendants
	// pipeline is nil if exchanges share no connections.
	pipeline *pipeline
	// retired says that no upstream and no exchange has the target any more.
	retired atomic.Bool
	// connect makes a connection for the pool; nil once retired.
	connect *atomic.Pointer[func(within time.Duration) (net.Conn, error)]
	onPanic func(v any) // may be nil
}

// Options are what a transport needs besides its upstream's configuration.
type Options struct {
	// DialLocal connects to a target that is a part of this process, by its URL's scheme
	// ("demo" or "handler") and name; nil makes such URLs an error.
	DialLocal func(scheme, name string) (net.Conn, error)
	// Lookup returns the addresses of a target's name; nil means that the system is asked.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// OnPanic hears of a bug that cost a connection which exchanges shared; they
	// have others. The stack is still there when it is called. nil means that
	// such a bug is not reported.
	OnPanic func(v any)
	// Reclaim is called when the process has no descriptor left for a connection: it makes
	// others close and says whether another try is worth while. nil means that it is not.
	Reclaim func() bool
	// OnFiles hears of each reading of changed files that connections to a target need, authorities or
	// weir's certificate. A nil err means that they are in use; with another the old ones
	// stay. nil means that nobody hears of it.
	OnFiles func(target string, err error)
	// SlowTurn is how long the exchange at the head of a shared connection may
	// wait for its answer before no other exchange joins it; 0 means 100 ms.
	SlowTurn time.Duration
}

// newHTTP1 makes the pool for the target of d, with the settings of its upstream.
func newHTTP1(d *dialer, cfg *config.Upstream, o Options) *HTTP1 {
	t := &HTTP1{dialer: d, head: int(cfg.Connections.HeaderBytes), onPanic: o.OnPanic, connect: new(atomic.Pointer[func(time.Duration) (net.Conn, error)])}
	t.renewal = newRenewal(cfg.Connections.MaxAge.D(), cfg.Connections.Resolve.D(), d.names, t.CloseIdle)
	hc := &fasthttp.HostClient{
		Addr:                d.addr,
		ConnPoolStrategy:    fasthttp.LIFO,
		MaxConns:            cfg.Connections.Max,
		MaxConnWaitTimeout:  time.Duration(cfg.Connections.Wait),
		MaxIdleConnDuration: time.Duration(cfg.Connections.Idle),
	}
	// HostClient has a goroutine that sleeps for as long as a connection may be unused, and keeps its memory until then. What else
	// there is must not stay with it.
	t.connect.Store(new(func(within time.Duration) (net.Conn, error) {
		era := t.renewal.current()
		c, err := aside(func() (*Conn, error) {
			return dialReclaiming(o.Reclaim, func() (*Conn, error) { return d.dial(within) })
		})
		if err != nil {
			return nil, err
		}
		t.renewal.enter(c, era)
		return c, nil
	}))
	connect := t.connect
	hc.DialTimeout = func(_ string, within time.Duration) (net.Conn, error) {
		if f := connect.Load(); f != nil {
			return (*f)(within)
		}
		return nil, net.ErrClosed
	}
	if hc.MaxConns == 0 {
		hc.MaxConns = unlimited
		hc.MaxConnWaitTimeout = 0
	}
	d.watch(t.renewal)
	t.hc, t.pool = hc, newPool(hc.AcquireConn, hc.ReleaseConn, hc.CloseConn)
	if cfg.Connections.Pipeline > 1 {
		t.pipeline = newPipeline(t, cfg.Connections.Pipeline, cfg.Connections.Max, o.SlowTurn)
	}
	return t
}

// dialReclaiming dials again, with pauses, as long as reclaim makes room for a connection. It also
// does so once after reclaim found nothing to close: another goroutine may have closed it all
// since there was no descriptor.
func dialReclaiming[C any](reclaim func() bool, dial func() (C, error)) (C, error) {
	c, err := dial()
	for wait := time.Millisecond; wait <= longestReclaim && reclaim != nil && sock.NoDescriptors(err); wait *= 2 {
		more := reclaim()
		if more {
			time.Sleep(wait)
		}
		if c, err = dial(); !more {
			break
		}
	}
	return c, err
}

// aside calls dial on a goroutine of its own. Connecting needs a deep stack, which the goroutine of
// the exchange would then hold for as long as it waits for the answer.
func aside[C any](dial func() (C, error)) (c C, err error) {
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		c, err = dial()
	}()
	if <-done; panicked != nil {
		panic(panicked)
	}
	return c, err
}

// Protocols are what exchanges speak, by the names of ALPN.
func (t *HTTP1) Protocols() []string { return protocolsHTTP1 }

// Conns returns the number of open connections and how many of them are unused.
func (t *HTTP1) Conns() (open, idle int) {
	return t.hc.ConnsCount(), t.hc.IdleConnsCount() + t.attendants.count()
}

// Acquire lends a connection. A pooled one is looked at first: one that was
// closed meanwhile, or that holds bytes which no request asked for, is dropped
// and the next one taken. within bounds the wait for a free connection and for a
// new one, besides the target's own limits; 0 means that these alone do. It
// returns a *DialError or ErrNoConn.
func (t *HTTP1) Acquire(within time.Duration) (*Conn, error) {
	for {
		l, err := t.pool.acquire(within)
		if err != nil {
			var de *DialError
			if errors.As(err, &de) {
				return nil, de
			}
			return nil, ErrNoConn
		}
		c := l.Conn().(*Conn)
		c.home, c.lease, c.maxHead = t, l, t.head
		c.reused = !l.LastUseTime().IsZero()
		if c.reused && (c.old.Load() || c.stream == nil && !c.Quiet()) {
			t.pool.close(l)
			continue
		}
		if c.stream == nil {
			c.hold()
		}
		return c, nil
	}
}

// Release takes back a connection that Acquire or Join lent. reusable says that
// the exchange ended by its framing on both sides and neither side asked to
// close; a connection with bytes left over is closed all the same. c must not be
// used afterwards.
func (t *HTTP1) Release(c *Conn, reusable bool) {
	if c.slot != nil {
		t.releaseShared(c, reusable)
		return
	}
	if c.attendant != nil && c.attendant.spared() {
		return
	}
	reusable = reusable && !c.old.Load() && (c.Reader == nil || c.Reader.Buffered() == 0) && c.drained()
	c.letGo()
	l := c.lease
	c.lease, c.request, c.first.Small = nil, nil, nil
	c.first.Expect(prefetch.Regions{})
	switch {
	case c.attendant != nil:
		c.attendant.release(reusable)
	case !reusable:
		t.pool.close(l)
	case c.attend:
		t.employ(c, l)
	default:
		t.pool.release(l)
	}
}

// CloseIdle closes the unused connections. Lent ones are closed as they come back
// only if their exchanges say so; an HTTP1 that is not used any more drains by
// itself.
func (t *HTTP1) CloseIdle() {
	t.hc.CloseIdleConnections()
	t.attendants.dismiss()
}

// Retire is CloseIdle for good: no upstream and no exchange has the target any more.
func (t *HTTP1) Retire() {
	t.retired.Store(true)
	t.renewal.end()
	t.tls.end()
	t.CloseIdle()
	t.connect.Store(nil)
}

// lease is what HostClient calls a client connection; its type has no exported
// name.
type lease interface {
	Conn() net.Conn
	LastUseTime() time.Time
}

// pool is the part of HostClient that we use, for a lease without a type name.
type pool interface {
	acquire(wait time.Duration) (lease, error)
	release(lease)
	close(lease)
}

type poolOf[L lease] struct {
	acquireFn func(wait time.Duration, connectionClose bool) (L, error)
	releaseFn func(L)
	closeFn   func(L)
}

func newPool[L lease](acquire func(time.Duration, bool) (L, error), release, closeConn func(L)) pool {
	return &poolOf[L]{acquire, release, closeConn}
}

func (p *poolOf[L]) acquire(wait time.Duration) (lease, error) {
	l, err := p.acquireFn(wait, false)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (p *poolOf[L]) release(l lease) { p.releaseFn(l.(L)) }

func (p *poolOf[L]) close(l lease) { p.closeFn(l.(L)) }
