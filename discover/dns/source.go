package dns

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"weir/discover"
	"weir/lb"
)

// addresses is the source of "dns:".
type addresses struct {
	settings
	host
	port string
}

// Run reports the addresses of the name.
func (s *addresses) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.again(ctx, func() (time.Duration, error) {
		ttl, err := s.look(ctx, &s.settings)
		if err != nil {
			return 0, err
		}
		list := []lb.Endpoint{}
		for _, a := range s.all(&s.settings) {
			list = append(list, s.endpoint(a, s.port))
		}
		report(list)
		return s.timeOf(list, ttl), nil
	})
}

// again looks, and looks again when what was found has reached the end of its time to live.
func (s *settings) again(ctx context.Context, look func() (ttl time.Duration, err error)) error {
	for {
		ttl, err := look()
		if err != nil {
			return err
		}
		if err := discover.Sleep(ctx, s.wait(ttl)); err != nil {
			return err
		}
	}
}

// timeOf is how long a list is used whose answers may be used for ttl. That there is nothing is asked again as soon as
// may be, whatever its time: it is mostly a mistake, and counts only if it is said again and again.
func (s *settings) timeOf(list []lb.Endpoint, ttl time.Duration) time.Duration {
	if len(list) == 0 {
		return s.least
	}
	return ttl
}

func (s *settings) endpoint(a netip.Addr, port string) lb.Endpoint {
	return lb.Endpoint{URL: s.scheme + "://" + net.JoinHostPort(a.String(), port), Weight: 1}
}

// host is a name whose addresses are looked up again and again.
type host struct {
	name string
	// known is what the last good answer for each family had.
	known map[uint16]answer
}

// all returns the addresses of all families.
func (h *host) all(s *settings) []netip.Addr {
	var all []netip.Addr
	for _, family := range s.families {
		all = append(all, h.known[family].addresses...)
	}
	return all
}

// look asks for the addresses. One family that fails keeps what it had; an error says that all did, or that one did
// and there is nothing of the others.
func (h *host) look(ctx context.Context, s *settings) (ttl time.Duration, err error) {
	found := s.resolver.lookup(ctx, h.name, s.families...)
	if !slices.ContainsFunc(found, func(r result) bool { return r.err == nil }) {
		return 0, found[0].err
	}
	if h.known == nil {
		h.known = make(map[uint16]answer)
	}
	ttl = longest
	for i, family := range s.families {
		if found[i].err == nil {
			h.known[family] = found[i].answer
		}
	}
	if i := slices.IndexFunc(found, func(r result) bool { return r.err != nil }); i >= 0 && len(h.all(s)) == 0 {
		return 0, found[i].err
	}
	for _, a := range h.known {
		// A family without addresses says little about when those of the other one change.
		if len(a.addresses) > 0 || len(h.all(s)) == 0 {
			ttl = min(ttl, a.ttl)
		}
	}
	return ttl, nil
}

// services is the source of "srv:".
type services struct {
	settings
	name string
	// hosts are the names that records point to.
	hosts map[string]*host
}

// Run reports the endpoints behind the SRV records.
func (s *services) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.again(ctx, func() (time.Duration, error) {
		found := s.resolver.lookup(ctx, s.name, dns.TypeSRV)[0]
		if found.err != nil {
			return 0, found.err
		}
		list, ttl, err := s.endpoints(ctx, found.answer)
		if err != nil {
			return 0, err
		}
		report(list)
		return s.timeOf(list, min(found.ttl, ttl)), nil
	})
}

const (
	// hostsAtOnce is how many names behind SRV records are looked up at the same time, and hostsWithin how long
	// all of them may take.
	hostsAtOnce = 16
	hostsWithin = 10 * time.Second
)

// endpoints returns those of all records. A name whose addresses cannot be looked up keeps those that
// it had.
func (s *services) endpoints(ctx context.Context, found answer) ([]lb.Endpoint, time.Duration, error) {
	hosts := make(map[string]*host)
	for _, r := range found.services {
		if r.Target == "." { // there is decidedly no such service (RFC 2782)
			continue
		}
		name := strings.ToLower(r.Target)
		if hosts[name] = s.hosts[name]; hosts[name] == nil {
			hosts[name] = &host{name: name}
		}
	}
	s.hosts = hosts
	ttl, failed := s.lookAll(ctx, found.extra)
	behind := make([][]netip.Addr, len(found.services))
	for i, r := range found.services {
		if h := hosts[strings.ToLower(r.Target)]; h != nil {
			behind[i] = h.all(&s.settings)
		}
	}
	list := s.weigh(found.services, behind)
	if len(list) == 0 && failed != nil {
		return nil, 0, failed
	}
	return list, ttl, nil
}

// lookAll looks up all hosts. The error is one of those of the hosts that failed.
func (s *services) lookAll(ctx context.Context, extra []dns.RR) (ttl time.Duration, failed error) {
	ctx, cancel := context.WithTimeout(ctx, hostsWithin)
	defer cancel()
	var (
		mu     sync.Mutex
		asking sync.WaitGroup
		places = make(chan struct{}, hostsAtOnce)
	)
	ttl = longest
	for _, h := range s.hosts {
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			its, err := h.lookIn(ctx, &s.settings, extra)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = cmp.Or(failed, err)
				its = s.least
			}
			ttl = min(ttl, its)
		})
	}
	asking.Wait()
	return ttl, failed
}

// lookIn is look, without a question if extra has addresses of the name already. Servers give
// all of a family or none, but not always both families.
func (h *host) lookIn(ctx context.Context, s *settings, extra []dns.RR) (time.Duration, error) {
	reply := &dns.Msg{Answer: extra}
	ttl := longest
	known := make(map[uint16]answer)
	for _, family := range s.families {
		a := read(reply, h.name, family)
		if len(a.addresses) == 0 {
			return h.look(ctx, s)
		}
		known[family] = a
		ttl = min(ttl, a.ttl)
	}
	h.known = known
	return ttl, nil
}

// zeroShare is how many times the smallest weight above 0 is that of weight 0, which gets a very
// small part (RFC 2782).
const zeroShare = 10

// weigh makes endpoints of records, behind each of which are some addresses: they share the record's
// weight. Priorities become groups.
func (s *services) weigh(records []*dns.SRV, behind [][]netip.Addr) []lb.Endpoint {
	var priorities []uint16
	scale := 1
	positive := make(map[uint16]bool)
	for i, r := range records {
		priorities = append(priorities, r.Priority)
		positive[r.Priority] = positive[r.Priority] || r.Weight > 0
		if len(behind[i]) > 1 {
			scale = zeroShare
		}
	}
	for _, r := range records {
		if r.Weight == 0 && positive[r.Priority] {
			scale = zeroShare
		}
	}
	slices.Sort(priorities)
	priorities = slices.Compact(priorities)
	list := []lb.Endpoint{}
	for i, r := range records {
		weight := int(r.Weight) * scale
		if !positive[r.Priority] {
			weight = scale
		}
		group, _ := slices.BinarySearch(priorities, r.Priority)
		for _, a := range behind[i] {
			e := s.endpoint(a, strconv.Itoa(int(r.Port)))
			e.Weight = max(weight/len(behind[i]), 1)
			e.Priority = min(group, lastGroup)
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b lb.Endpoint) int { return strings.Compare(a.URL, b.URL) })
	return list
}

// lastGroup is the number of the last group of targets.
const lastGroup = 15
