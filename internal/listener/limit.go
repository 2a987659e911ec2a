package listener

import "net/netip"

// admit waits for room under limits.connections and then counts c as open.
//
// At the limit weir stops accepting, as HAProxy does, instead of closing what
// it accepts: a burst becomes a wait in the kernel's queue, not errors. One
// connection (c) is held while waiting, which keeps the bound exact with
// several sockets and when the limit shrinks. Close ends the wait and serves c.
func (l *Listener) admit(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := func() bool {
		limit := l.settings.Load().config.Limits.Connections
		return limit > 0 && len(l.conns) >= limit && !l.closed.Load()
	}
	if full() {
		l.paused.Add(1)
		l.wait(func() {
			for full() {
				l.awaitChange()
			}
		})
	}
	l.conns[c] = struct{}{}
}

// awaitChange waits for a connection's end, an update or Close. The caller
// holds l.mu.
func (l *Listener) awaitChange() {
	l.waiting++
	l.changed.Wait()
	l.waiting--
}

// admitClient counts c for its client's address and says whether it is within
// limits.connections_per_address. Clients of a unix socket have no address and
// no such bound. Connections that came while there was no bound do not count
// after an update that brings one.
func (l *Listener) admitClient(c *Conn, limit int) bool {
	if limit <= 0 || !c.remote.IsValid() {
		return true
	}
	client := clientOf(c.remote.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perClient[client] >= limit {
		return false
	}
	l.perClient[client]++
	c.client = client
	return true
}

// clientOf is what counts as one client: an IPv4 address, or the /64 of an
// IPv6 address, which is the least that a site hands to one host.
func clientOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	network, err := a.Prefix(64)
	if err != nil {
		panic("BUG: no /64 of " + a.String() + ": " + err.Error())
	}
	return network.Addr()
}

// release closes c and gives back what it was counted for.
func (l *Listener) release(c *Conn) {
	c.Close()
	l.options.Room.leave()
	l.mu.Lock()
	delete(l.conns, c)
	if c.lingers {
		l.lingering--
	}
	if c.client.IsValid() {
		if l.perClient[c.client]--; l.perClient[c.client] == 0 {
			delete(l.perClient, c.client)
		}
	}
	if l.waiting > 0 {
		l.changed.Broadcast()
	}
	l.mu.Unlock()
	select {
	case l.freed <- struct{}{}:
	default:
	}
}
