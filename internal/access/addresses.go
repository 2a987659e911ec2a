package access

import (
	"net/netip"
	"slices"

	"weir/config"
)

// Addresses say which clients are allowed. nil allows all. They are never changed and may be
// used by any number of goroutines.
type Addresses struct {
	lengths4, lengths6 []int // of the prefixes, from the longest to the shortest
	allowed            map[netip.Prefix]bool
	others             bool // addresses in no prefix are allowed
}

// NewAddresses compiles two lists, which have no prefix in common. The longest prefix that has
// an address decides about it. An address in none is allowed unless there is a list of
// allowed ones. Without any prefix it returns nil.
func NewAddresses(allow, deny []config.Prefix) *Addresses {
	if len(allow)+len(deny) == 0 {
		return nil
	}
	a := &Addresses{allowed: make(map[netip.Prefix]bool), others: len(allow) == 0}
	for _, list := range []struct {
		prefixes []config.Prefix
		allowed  bool
	}{{allow, true}, {deny, false}} {
		for _, p := range list.prefixes {
			a.allowed[p.Prefix] = list.allowed
			lengths := &a.lengths6
			if p.Addr().Is4() {
				lengths = &a.lengths4
			}
			if !slices.Contains(*lengths, p.Bits()) {
				*lengths = append(*lengths, p.Bits())
			}
		}
	}
	for _, lengths := range [...][]int{a.lengths4, a.lengths6} {
		slices.Sort(lengths)
		slices.Reverse(lengths)
	}
	return a
}

// Allow says whether a client with this address is allowed, IPv4 addresses not in their
// IPv6 form. One without an address, on a unix socket, is in no prefix. Allow allocates nothing.
func (a *Addresses) Allow(client netip.Addr) bool {
	if a == nil {
		return true
	}
	lengths := a.lengths6
	if client.Is4() {
		lengths = a.lengths4
	}
	for _, n := range lengths {
		prefix, err := client.WithZone("").Prefix(n)
		if err != nil {
			break // no address
		}
		if allowed, ok := a.allowed[prefix]; ok {
			return allowed
		}
	}
	return a.others
}
