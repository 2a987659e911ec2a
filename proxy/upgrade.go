package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/field"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/sock"
	"weir/lb"
)

// upgradeIfAsked serves a request that asks to leave HTTP/1.1 (RFC 9110 section 7.8).
// A request for nothing that the route allows is forwarded as an ordinary one. If the
// target agrees, the two connections are joined until both ends have closed; any other
// answer is relayed.
func (x *Exchange) upgradeIfAsked() verdict {
	h := &x.Request
	if !h.Has(upgrades) {
		return goOn
	}
	framed := h.Version >= head.HTTP2 // an extended CONNECT (RFC 8441), which only an upgrade answers
	if h.Version != head.HTTP11 && !framed || !h.Upgrades() {
		return goOn
	}
	x.upgrade = x.Route.allowedProtocols(x.upgrade[:0], h)
	switch {
	case len(x.upgrade) > 0:
	case framed:
		x.fail(501, CauseMethod)
		return ended
	default:
		return goOn
	}
	x.forward()
	return ended
}

// staysHTTP says that the request asks for no upgrade.
func (x *Exchange) staysHTTP() bool { return !x.Request.Has(upgrades) }

// allowedProtocols appends those that a client asks for and the route allows, as the list of an
// Upgrade field.
func (r *Route) allowedProtocols(dst []byte, h *head.Head) []byte {
	for line := range h.Lines(head.Upgrade) {
		for protocol := range field.Tokens(line) {
			if !r.allowsProtocol(protocol) {
				continue
			}
			if len(dst) > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(dst, protocol...)
		}
	}
	return dst
}

// allowsProtocol says whether the route lets clients switch to a protocol. A name without a
// version stands for all versions.
func (r *Route) allowsProtocol(protocol []byte) bool {
	name, _, _ := bytes.Cut(protocol, []byte("/"))
	for _, allowed := range r.upgrade {
		if field.EqualFold(protocol, allowed) || field.EqualFold(name, allowed) {
			return true
		}
	}
	return false
}

// join makes a tunnel of the exchange: the target has answered 101.
func (x *Exchange) join(a *attempt) {
	h := &a.response
	agreed := h.Get(head.Upgrade)
	var err error
	switch {
	case !asked(x.upgrade, agreed):
		err = errOtherProtocol
	case !a.sentWhole():
		err = errEarlySwitch
	}
	if err != nil {
		x.Result.Err = err
		a.giveUp(ending{kind: lb.BadResponse, cause: CauseBadResponse, status: 101, err: err})
		x.fail(502, CauseBadResponse)
		return
	}
	x.Response = h
	forward.Clean(h)
	h.SetFraming(head.LengthNone) // as in any interim response
	forward.Upgrade(h, agreed)
	x.proxy.forwarder.Via(h)
	x.runHooks(x.proxy.hooks.onResponse)
	a.report()
	x.addStickyCookie()
	x.Route.responseRules.Apply(h, x.room.lookup)
	x.runHooks(x.proxy.hooks.onReply)
	x.phase = phaseReplying
	x.Client.Cancel.disarm()
	a.stream.Unlimit()
	client, early, err := x.Client.Front.Tunnel(h)
	x.Result.Status = h.Status
	if err != nil {
		x.clientFailed(err)
	} else {
		t := tunnel{idle: x.Client.Listener.tunnelIdle}
		tunnels := &x.Client.Listener.metrics.tunnels
		tunnels.Add(1)
		target, held := a.stream.Tunnel()
		x.Result.Cause, x.Result.Err = t.run(client, early, target, held)
		tunnels.Add(-1)
		x.Result.BytesIn, x.Result.BytesOut = t.in.Load(), t.out.Load()
	}
	a.giveUp(ending{kind: lb.Success, cause: CauseOK, status: 101})
}

var (
	errOtherProtocol = errors.New("101 for a protocol that was not asked for")
	errEarlySwitch   = errors.New("101 before the end of the request's body")
)

// asked says whether a target has agreed on protocols, each of which stands in the list that was asked for.
func asked(list, agreed []byte) bool {
	agrees := false
	for protocol := range field.Tokens(agreed) {
		if !field.HasToken(list, string(protocol)) {
			return false
		}
		agrees = true
	}
	return agrees
}

// tunnel joins two connections. Each direction ends on its own (half-close);
// the tunnel ends when both have, when one fails, or when nothing has moved in
// either direction for idle.
type tunnel struct {
	idle    time.Duration
	in, out atomic.Int64 // bytes from and to the client
	last    atomic.Int64 // when something moved, in Monotonic time
	broken  atomic.Bool  // one direction has failed: the other one ends too
	err     error        // how the direction ended that failed first; read after both have
}

// run moves bytes until the end; early and held are what was read of the two before. It leaves both
// connections open.
func (t *tunnel) run(client net.Conn, early []byte, target net.Conn, held []byte) (Cause, error) {
	t.last.Store(lb.Monotonic())
	var wg sync.WaitGroup
	up, down := end{target, "target"}, end{client, "client"}
	wg.Go(func() {
		if err := t.copy(up, down, early, &t.in); err != nil {
			t.fail(client, target, err)
		}
	})
	if err := t.copy(down, up, held, &t.out); err != nil {
		t.fail(client, target, err)
	}
	wg.Wait()
	if t.err == errTunnelIdle {
		return CauseTunnelIdle, t.err
	}
	return CauseUpgraded, t.err
}

// end is one of the two connections of a tunnel, and whose it is.
type end struct {
	net.Conn
	whose string
}

// broke says that the connection failed.
func (e end) broke(err error) error {
	return fmt.Errorf("the connection of the %s broke: %w", e.whose, err)
}

// fail notes how a direction failed, and wakes the other one, which cannot go on alone.
func (t *tunnel) fail(client, target net.Conn, err error) {
	if t.broken.CompareAndSwap(false, true) {
		t.err = err
	}
	client.SetDeadline(sock.LongAgo)
	target.SetDeadline(sock.LongAgo)
}

var errTunnelIdle = errors.New("silent in both directions")

// copy moves src to dst until src ends, and passes the end on.
func (t *tunnel) copy(dst, src end, first []byte, count *atomic.Int64) error {
	var buf buffer
	defer buf.release()
	buf.take(0)
	for piece := first; ; {
		if len(piece) > 0 {
			n, err := t.write(dst, piece)
			count.Add(int64(n))
			if err != nil {
				return dst.broke(err)
			}
			t.last.Store(lb.Monotonic())
			buf.fit(len(piece))
		}
		n, err := t.read(src, buf.bytes)
		if n == 0 && err != nil {
			switch {
			case err == errTunnelIdle, err == errTunnelBroken:
				return err
			case err != io.EOF:
				return src.broke(err)
			}
			closeWrite(dst.Conn)
			return nil
		}
		piece = buf.bytes[:n]
	}
}

var errTunnelBroken = errors.New("the other direction has failed")

// read waits for bytes as long as either direction is alive.
func (t *tunnel) read(src net.Conn, buf []byte) (int, error) {
	for {
		if t.idle > 0 {
			quiet := time.Duration(lb.Monotonic() - t.last.Load())
			if quiet >= t.idle {
				return 0, errTunnelIdle
			}
			src.SetReadDeadline(time.Now().Add(t.idle - quiet))
		}
		if t.broken.Load() {
			return 0, errTunnelBroken
		}
		n, err := src.Read(buf)
		if n > 0 || !sock.TimedOut(err) || t.idle == 0 {
			return n, err
		}
	}
}

func (t *tunnel) write(dst net.Conn, p []byte) (int, error) {
	if t.idle > 0 {
		dst.SetWriteDeadline(time.Now().Add(t.idle))
	}
	return dst.Write(p)
}

// closeWrite passes the end of one direction on; a connection that cannot be
// half closed stays open until the other direction ends.
func closeWrite(c net.Conn) {
	if hc, ok := c.(interface{ CloseWrite() error }); ok {
		hc.CloseWrite()
	}
}
