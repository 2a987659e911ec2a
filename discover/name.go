package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"weir/lb"
)

const (
	// NameFloor and NameCeiling bound the time for which what a name server said is used. A
	// name without addresses is looked up again after NameFloor.
	NameFloor   = time.Second
	NameCeiling = 30 * time.Second
	// lookupWithin bounds a lookup: some name servers may be silent.
	lookupWithin = 20 * time.Second
	// missesLeast is how many lookups in a row must lack an address before it is gone: name servers
	// may answer with a part of the addresses, by turns.
	missesLeast = 2
)

// Name is the source of the addresses of the host name in a target's URL. An address that a
// lookup lacks gets no new exchanges, and is gone with the next one that lacks it.
type Name struct {
	url    string // without a slash at the end
	host   string
	lookup Lookup
	// untimed is how long an answer is used that says nothing about time; 0 means for good.
	untimed time.Duration
	// routed says whether the machine has a way to an address.
	routed func(netip.AddrPort) bool
	// missed has the addresses, and how many lookups in a row lacked them.
	missed map[netip.Addr]int
}

// NewName returns the source of the addresses behind target, a URL such as "http://host:port". An
// answer is used as long as its time to live says, within NameFloor and NameCeiling, or for untimed
// if nothing says how long; 0 means that the name is not looked up again once it has addresses.
func NewName(target string, lookup Lookup, untimed time.Duration) (*Name, error) {
	u, err := url.Parse(target)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("found %q: want \"http://host:port\"", target)
	}
	return &Name{
		url: target, host: u.Hostname(), lookup: lookup, untimed: untimed, routed: routed, missed: make(map[netip.Addr]int),
	}, nil
}

// Run implements Source.
func (n *Name) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	for {
		within, cancel := context.WithTimeout(ctx, lookupWithin)
		found, err := n.lookup(within, n.host)
		cancel()
		if err == nil && len(found.List) == 0 && len(n.missed) == 0 {
			err = fmt.Errorf("lookup %s: it has no addresses, or does not exist", n.host)
		}
		if err != nil {
			return err
		}
		n.take(&found)
		report(n.endpoints())
		wait := n.wait(&found)
		if wait == 0 {
			return nil
		}
		if err := Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// wait is how long the answer is used; 0 means for good.
func (n *Name) wait(found *Addresses) time.Duration {
	switch {
	case n.untimed == 0 && len(found.List) > 0:
		return 0
	case len(found.List) == 0:
		return NameFloor
	case found.Timed:
		return min(max(found.TTL, NameFloor), NameCeiling)
	}
	return n.untimed
}

// take notes what a lookup found.
func (n *Name) take(found *Addresses) {
	if len(found.List) == 0 {
		clear(n.missed)
		return
	}
	for a := range n.missed {
		if unknown := a.Is4() && found.No4 || a.Is6() && found.No6; unknown {
			continue
		}
		if n.missed[a]++; n.missed[a] >= missesLeast {
			delete(n.missed, a)
		}
	}
	for _, a := range n.reachable(found.List) {
		n.missed[a] = 0
	}
}

// reachable leaves out addresses to which there is no way, such as those of IPv6 on a machine without
// it, unless nothing would be left.
func (n *Name) reachable(list []netip.Addr) []netip.Addr {
	var good []netip.Addr
	for _, a := range list {
		if n.routed(netip.AddrPortFrom(a, 80)) {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return list
	}
	return good
}

// routed connects a datagram socket, which sends nothing.
func routed(a netip.AddrPort) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a))
	if err == nil {
		c.Close()
		return true
	}
	return !slices.ContainsFunc(noWay[:], func(no error) bool { return errors.Is(err, no) })
}

// noWay are the errors that say that there is no way to an address.
var noWay = [...]error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL}

// endpoints returns an endpoint for each address, sorted.
func (n *Name) endpoints() []lb.Endpoint {
	list := make([]lb.Endpoint, 0, len(n.missed))
	for a, missed := range n.missed {
		list = append(list, lb.Endpoint{URL: n.url + "#" + a.String(), Weight: 1, Drain: missed > 0})
	}
	slices.SortFunc(list, func(a, b lb.Endpoint) int { return strings.Compare(a.URL, b.URL) })
	return list
}
