package proxy

import (
	"context"
	"net"
	"time"

	"weir/internal/transport"
	"weir/lb"
)

// Alerts of TLS (RFC 8446 section 6), each as a whole record.
var (
	alertAccessDenied  = []byte{21, 3, 3, 0, 2, 2, 49}
	alertInternalError = []byte{21, 3, 3, 0, 2, 2, 80}
)

// Pass joins a client, whose TLS is ended elsewhere, with a target of an upstream, until both ends have
// closed. hello is what was read of the client. x has a Client with a Peer, and the time when the client
// came; Pass leaves the connection open.
func (p *Proxy) Pass(x *Exchange, to, name string, client net.Conn, hello []byte) {
	var done bool
	x.proxy, x.Passed = p, true
	x.Client.Front = passFront{}
	x.Client.Listener.metrics.inFlight.Add(1)
	defer p.recover(x, &done)
	x.Host = append(x.Host[:0], name...)
	x.ClientAddr, x.Scheme = x.Client.Peer.Address, x.Client.Peer.Scheme
	if alert := x.pass(to, client, hello); alert != nil {
		client.SetWriteDeadline(time.Now().Add(time.Second))
		client.Write(alert) // the client may have gone
	}
	x.settle()
}

// passFront is the front of a client that gets no answers from weir.
type passFront struct{ Front }

func (passFront) Delivered() (int64, bool) { return 0, false }
func (passFront) CloseAfter()              {}
func (passFront) Abort()                   {}

// pass returns the alert that tells the client why it was not joined with a target; nil if it was.
func (x *Exchange) pass(to string, client net.Conn, hello []byte) (alert []byte) {
	if l := x.Client.Listener; l.addresses != nil && !l.addresses.Allow(x.ClientAddr) {
		x.Result.Cause, x.Result.Err = CauseAddressDenied, errListenerLists
		return alertAccessDenied
	}
	u := x.proxy.upstreams[to]
	if u == nil {
		x.Result.Cause = CauseNoUpstream
		return alertInternalError
	}
	x.Upstream = u
	x.pick.Now = lb.Monotonic()
	budget := u.Set.Retry().Budget
	budget.Deposit(x.pick.Now)
	x.setAffinity()
	var last *attemptError
	for {
		t, err := x.acquire()
		if err != nil {
			if last == nil {
				last = x.noTarget(err)
			} else {
				budget.Refund(last.retry.at)
				last = x.noRetry(last, err)
			}
			break
		}
		x.pick.Now = 0
		if last = x.passTo(t, client, hello); last == nil {
			return nil
		}
		if !x.mayRetry(last) {
			break
		}
		if last.retry.wait > 0 && !x.pause(last.retry.wait) {
			budget.Refund(last.retry.at)
			last = clientGone(false)
			break
		}
	}
	x.Result.Cause, x.Result.Err = last.cause, last.err
	return alertInternalError
}

// passTo joins the client with t, which it gives back. An error means that nothing was sent.
func (x *Exchange) passTo(t *lb.Target, client net.Conn, hello []byte) *attemptError {
	x.Result.Target = t
	x.Result.Attempts++
	began := time.Now()
	var target net.Conn
	err := transport.ErrNoPass
	if c, ok := t.Transport().(interface {
		Connect(ctx context.Context, client transport.Ends) (net.Conn, error)
	}); ok {
		ends := transport.Ends{From: x.Client.Remote}
		if to, ok := client.LocalAddr().(*net.TCPAddr); ok {
			ends.To = to.AddrPort()
		}
		target, err = c.Connect(context.Background(), ends)
	}
	took := time.Since(began)
	if err != nil {
		e := dialFailure(err)
		countAttempt(t, e.cause, took)
		x.Upstream.Set.ReleaseBetween(t, &x.pick, lb.Outcome{Kind: e.outcome(), Latency: took, Err: err})
		return e
	}
	defer target.Close()
	x.Result.FirstByte = took
	x.phase = phaseReplying
	tunnels := &x.Client.Listener.metrics.tunnels
	tunnels.Add(1)
	tunnel := tunnel{idle: x.Client.Listener.tunnelIdle}
	x.Result.Cause, x.Result.Err = tunnel.run(client, hello, target, nil)
	tunnels.Add(-1)
	if x.Result.Cause == CauseUpgraded {
		x.Result.Cause = CausePassed
	}
	x.Result.BytesIn, x.Result.BytesOut = tunnel.in.Load(), tunnel.out.Load()
	kind := lb.Success
	if x.Result.BytesOut == 0 {
		kind = lb.Canceled // client or target: who gave up is not known
	}
	countAttempt(t, CauseOK, took)
	x.Upstream.Set.Release(t, lb.Outcome{Kind: kind, Latency: took})
	return nil
}
