package kubernetes

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	"weir/lb"
)

// slice is what is needed of an EndpointSlice (discovery.k8s.io/v1).
type slice struct {
	Kind        string     `json:"kind"` // in a watch; a list says it once for all
	Metadata    metadata   `json:"metadata"`
	AddressType string     `json:"addressType"`
	Endpoints   []endpoint `json:"endpoints"`
	Ports       []port     `json:"ports"`
}

type metadata struct {
	Name            string            `json:"name"`
	ResourceVersion string            `json:"resourceVersion"`
	Labels          map[string]string `json:"labels"`
}

// endpoint is one pod, usually.
type endpoint struct {
	Addresses  []string `json:"addresses"`
	Conditions struct {
		Ready       *bool `json:"ready"`       // nil means true
		Serving     *bool `json:"serving"`     // nil means what ready says
		Terminating *bool `json:"terminating"` // nil means false
	} `json:"conditions"`
	TargetRef *struct {
		UID string `json:"uid"`
	} `json:"targetRef"`
	Hints *struct {
		ForZones []struct {
			Name string `json:"name"`
		} `json:"forZones"`
	} `json:"hints"`
}

type port struct {
	Name     *string `json:"name"`
	Port     *int    `json:"port"`
	Protocol *string `json:"protocol"` // nil means TCP
}

// choice is which endpoints of slices are used, and how.
type choice struct {
	port   string // a name or number
	scheme string
	// family is the addressType that is used alone; empty: any.
	family string
	// zone is where weir is; empty: that makes no difference.
	zone string
}

// candidate is an endpoint that may be used.
type candidate struct {
	lb.Endpoint
	*endpoint
	family string
}

// endpoints returns the endpoints that are used of the slices of a Service, how many of the slices can be used, and what
// is wrong with the others. An endpoint that goes away and still serves gets no new exchanges, unless all that serve go
// away.
func (c *choice) endpoints(of []slice) (found []lb.Endpoint, usable int, bad []error) {
	var all []candidate
	// In the order of their names, so that of several mentions of an endpoint always the same one counts.
	slices.SortFunc(of, func(a, b slice) int { return cmp.Compare(a.Metadata.Name, b.Metadata.Name) })
	for i := range of {
		if len(of[i].Endpoints) == 0 || c.family != "" && of[i].AddressType != c.family {
			usable++ // of a Service without pods, whose slice has no ports
			continue
		}
		number, ok := c.portOf(&of[i])
		if !ok {
			bad = append(bad, fmt.Errorf("slice %q: found no port %q", of[i].Metadata.Name, c.port))
			continue
		}
		usable++
		all = append(all, c.candidates(&of[i], number)...)
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
func (c *choice) candidates(of *slice, port string) (all []candidate) {
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
func (c *choice) portOf(of *slice) (string, bool) {
	for _, p := range of.Ports {
		if p.Port == nil || p.Protocol != nil && *p.Protocol != "TCP" {
			continue
		}
		number := strconv.Itoa(*p.Port)
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
	pods, urls := make(map[string]string), make(map[string]bool) // pods: the family of each
	return slices.DeleteFunc(all, func(one candidate) bool {
		if urls[one.URL] {
			return true
		}
		urls[one.URL] = true
		if one.TargetRef == nil || one.TargetRef.UID == "" {
			return false
		}
		family, known := pods[one.TargetRef.UID]
		if !known {
			pods[one.TargetRef.UID] = one.family
		}
		return known && family != one.family
	})
}

// prefer makes endpoints that are meant for the zone come first, and the others step in for them. As kube-proxy does, it
// does so only if each endpoint that is ready says for which zones it is meant, and one is meant for this.
func (c *choice) prefer(all []candidate) {
	here := false
	for _, one := range all {
		if !one.Drain && (one.Hints == nil || len(one.Hints.ForZones) == 0) {
			return
		}
		here = here || !one.Drain && one.meantFor(c.zone)
	}
	if !here {
		return
	}
	for i := range all {
		if !all[i].meantFor(c.zone) {
			all[i].Priority = 1
		}
	}
}

func (e *endpoint) meantFor(zone string) bool {
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
