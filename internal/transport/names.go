package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// attemptDelay is how long an address may take before the next one is tried beside it
	// (RFC 8305 section 8).
	attemptDelay = 250 * time.Millisecond
	// avoidFor is how long an address that failed is tried after all others.
	avoidFor = 10 * time.Second
)

// names finds the addresses behind the name of a target, and the order in which they are
// dialled. It is safe for concurrent use.
type names struct {
	host   string
	port   uint16
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	mu sync.Mutex
	// known is what the last lookup that succeeded found.
	known []netip.Addr
	// turn says which address comes first.
	turn int
	// failed is when an address failed, if that was lately.
	failed map[netip.Addr]time.Time
}

// newNames returns nil if the target of a has an address and no name.
func newNames(a address, lookup func(context.Context, string) ([]netip.Addr, error)) *names {
	host, port, _ := net.SplitHostPort(a.addr)
	number, err := strconv.ParseUint(port, 10, 16)
	if _, literal := netip.ParseAddr(host); a.network != "tcp" || literal == nil || err != nil {
		return nil
	}
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return &names{host: a.name, port: uint16(number), lookup: lookup, turn: rand.IntN(1 << 16), failed: map[netip.Addr]time.Time{}}
}

// find returns the addresses. If the name cannot be resolved now, they are those of the
// last time; but a name that exists no longer has none.
func (n *names) find(ctx context.Context) ([]netip.Addr, error) {
	n.mu.Lock()
	known := n.known
	n.mu.Unlock()
	within, cancel := ctx, func() {}
	if end, bounded := ctx.Deadline(); bounded && known != nil {
		within, cancel = context.WithTimeout(ctx, time.Until(end)/2) // the rest is for connecting
	}
	defer cancel()
	found, err := n.resolve(within)
	var dns *net.DNSError
	if err != nil && known != nil && ctx.Err() == nil && !(errors.As(err, &dns) && dns.IsNotFound) {
		return known, nil
	}
	return found, err
}

// resolve returns the addresses that the name has now: at least one, or an error.
func (n *names) resolve(ctx context.Context) ([]netip.Addr, error) {
	found, err := n.lookup(ctx, n.host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: "no address", Name: n.host, IsNotFound: true}
	}
	if err != nil {
		return nil, err
	}
	found = slices.Clone(found)
	for i := range found {
		found[i] = found[i].Unmap()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = found
	return found, nil
}

// order returns the addresses as they are to be dialled: the families in turn, beginning
// with that of the first (RFC 8305 section 4), in each family another address first each
// time, and last those that failed lately.
func (n *names) order(found []netip.Addr, now time.Time) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn++
	var families [2][]netip.Addr
	for _, a := range found {
		i := 0
		if a.Is4() != found[0].Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	for i, f := range families {
		if len(f) > 0 {
			// Servers turn their answers too, perhaps just so that both cancel out.
			slices.SortFunc(f, netip.Addr.Compare)
			at := n.turn % len(f)
			families[i] = append(f[at:len(f):len(f)], f[:at]...)
		}
	}
	var fine, avoided []netip.Addr
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			switch {
			case i >= len(f):
			case now.Sub(n.failed[f[i]]) < avoidFor:
				avoided = append(avoided, f[i])
			default:
				fine = append(fine, f[i])
			}
		}
	}
	return append(fine, avoided...)
}

// note says how dialling a went.
func (n *names) note(a netip.Addr, failed bool, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if failed {
		n.failed[a] = now
	} else {
		delete(n.failed, a)
	}
	for a, at := range n.failed {
		if now.Sub(at) >= avoidFor {
			delete(n.failed, a)
		}
	}
}

// dialFunc connects to one address.
type dialFunc = func(ctx context.Context, a netip.AddrPort) (net.Conn, error)

// dial connects to the first address that accepts: the next one is tried when one fails,
// and beside it when it takes long. The error is that of the first address that failed.
func (n *names) dial(ctx context.Context, dial dialFunc) (net.Conn, error) {
	found, err := n.find(ctx)
	if err != nil {
		return nil, err
	}
	r := race{n: n, dial: dial, coming: n.order(found, time.Now())}
	r.ends = make(chan raceEnd, len(r.coming))
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	return r.run()
}

// race is the dialling of several addresses.
type race struct {
	n       *names
	ctx     context.Context
	dial    dialFunc
	coming  []netip.Addr
	running []netip.Addr
	ends    chan raceEnd // has room for all
}

// raceEnd is how dialling an address went.
type raceEnd struct {
	netip.Addr
	conn net.Conn
	err  error
}

func (r *race) run() (net.Conn, error) {
	r.start()
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	var first error
	for len(r.running) > 0 {
		select {
		case e := <-r.ends:
			at := slices.Index(r.running, e.Addr)
			if e.err == nil {
				r.won(at)
				return e.conn, nil
			}
			r.running = slices.Delete(r.running, at, at+1)
			if r.ctx.Err() == nil {
				r.n.note(e.Addr, true, time.Now())
			}
			if first == nil {
				first = e.err
			}
		case <-timer.C:
		}
		if len(r.coming) > 0 {
			r.start()
			timer.Reset(attemptDelay)
		}
	}
	return nil, first
}

// start dials the next address.
func (r *race) start() {
	a := r.coming[0]
	r.coming, r.running = r.coming[1:], append(r.running, a)
	go func() {
		c, err := r.dial(r.ctx, netip.AddrPortFrom(a, r.n.port))
		r.ends <- raceEnd{a, c, err}
	}()
}

// won notes which of the running addresses accepted first, and closes what the others
// still bring.
func (r *race) won(at int) {
	for i, a := range r.running[:at+1] {
		r.n.note(a, i < at, time.Now()) // those before it took long
	}
	if left := len(r.running) - 1; left > 0 {
		go func() {
			for range left {
				if e := <-r.ends; e.err == nil {
					e.conn.Close()
				}
			}
		}()
	}
}
