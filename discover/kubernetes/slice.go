package kubernetes

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"weir/lb"
)

// choice is which endpoints of slices are used, and how.
type choice struct {
	port   string // a name or number
	scheme string
	// family is the addressType that is used alone; empty: any.
	family discoveryv1.AddressType
	// zone is where weir is; empty: that makes no difference.
	zone string
}

// candidate is an endpoint that may be used.
type candidate struct {
	lb.Endpoint
	of     *discoveryv1.Endpoint
	family discoveryv1.AddressType
}

// endpoints returns the endpoints that are used of the slices of a Service, how many of the slices can be used, and what
// is wrong with the others. An endpoint that goes away and still serves gets no new exchanges, unless all that serve go
// away.
func (c *choice) endpoints(of []*discoveryv1.EndpointSlice) (found []lb.Endpoint, usable int, bad []error) {
	var all []candidate
	// In the order of their names, so that of several mentions of an endpoint always the same one counts.
	slices.SortFunc(of, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	for _, slice := range of {
		if len(slice.Endpoints) == 0 || c.family != "" && slice.AddressType != c.family {
			usable++ // of a Service without pods, whose slice has no ports
			continue
		}
		number, ok := c.portOf(slice)
		if !ok {
			bad = append(bad, fmt.Errorf("slice %q: found no port %q", slice.Name, c.port))
			continue
		}
		usable++
		all = append(all, c.candidates(slice, number)...)
	}
	all = merged(all)
	c.prefer(all)
	found = make([]lb.Endpoint, len(all))
	serving := slices.ContainsFunc(all, func(one candidate) bool { return !one.Drain })
	for i, one := range all {
		found[i] = one.Endpoint
		found[i].Drain = one.Drain && serving
	}
	slices.SortFunc(found, func(a, b lb.Endpoint) int { return cmp.Compare(a.URL, b.URL) })
	return found, usable, bad
}

// candidates returns the endpoints of a slice that serve.
func (c *choice) candidates(of *discoveryv1.EndpointSlice, port string) (all []candidate) {
	for i := range of.Endpoints {
		e := &of.Endpoints[i]
		ready := e.Conditions.Ready == nil || *e.Conditions.Ready
		leaving := is(e.Conditions.Terminating) && is(e.Conditions.Serving)
		if len(e.Addresses) == 0 || !ready && !leaving {
			continue
		}
		// All addresses of an endpoint are the same pod: clients use the first.
		one := lb.Endpoint{URL: c.scheme + "://" + net.JoinHostPort(e.Addresses[0], port), Weight: 1, Drain: !ready}
		all = append(all, candidate{one, e, of.AddressType})
	}
	return all
}

func is(flag *bool) bool { return flag != nil && *flag }

// portOf returns the number of the port for TCP that has the name or number.
func (c *choice) portOf(of *discoveryv1.EndpointSlice) (string, bool) {
	for _, p := range of.Ports {
		if p.Port == nil || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		number := strconv.Itoa(int(*p.Port))
		if number == c.port || p.Name != nil && *p.Name == c.port {
			return number, true
		}
	}
	return "", false
}

// merged leaves one candidate of each endpoint. While an endpoint moves from one slice to another both have it,
// perhaps in different states: that it is ready counts. A pod of a Service with two families of addresses is in two slices,
// and would be two targets: its address of IPv4 counts.
func merged(all []candidate) []candidate {
	ready := func(a, b candidate) int {
		switch {
		case a.Drain == b.Drain:
			return 0
		case a.Drain:
			return 1
		}
		return -1
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.family, b.family), ready(a, b)) })
	pods, urls := make(map[types.UID]discoveryv1.AddressType), make(map[string]bool) // pods: the family of each
	return slices.DeleteFunc(all, func(one candidate) bool {
		if urls[one.URL] {
			return true
		}
		urls[one.URL] = true
		if one.of.TargetRef == nil || one.of.TargetRef.UID == "" {
			return false
		}
		family, known := pods[one.of.TargetRef.UID]
		if !known {
			pods[one.of.TargetRef.UID] = one.family
		}
		return known && family != one.family
	})
}

// prefer makes endpoints that are meant for the zone come first, and the others step in for them. As kube-proxy does, it
// does so only if each endpoint that is ready says for which zones it is meant, and one is meant for this.
func (c *choice) prefer(all []candidate) {
	here := false
	for _, one := range all {
		if !one.Drain && (one.of.Hints == nil || len(one.of.Hints.ForZones) == 0) {
			return
		}
		here = here || !one.Drain && meantFor(one.of, c.zone)
	}
	if !here {
		return
	}
	for i := range all {
		if !meantFor(all[i].of, c.zone) {
			all[i].Priority = 1
		}
	}
}

func meantFor(e *discoveryv1.Endpoint, zone string) bool {
	if e.Hints == nil {
		return false
	}
	for _, z := range e.Hints.ForZones {
		if z.Name == zone {
			return true
		}
	}
	return false
}
