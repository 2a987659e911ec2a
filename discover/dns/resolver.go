package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// answerWithin bounds one question to one server.
	answerWithin = time.Second
	// rounds is how often each server is asked, because a packet may be lost.
	rounds = 2
	// packet is the largest answer that is asked for without TCP: it fits every network
	// (DNS flag day 2020).
	packet = 1232
	// links is how many aliases (CNAME) may stand between a name and its addresses.
	links = 16
	// systemFile says which servers the system asks.
	systemFile = "/etc/resolv.conf"
)

// resolver asks name servers.
type resolver struct {
	// servers are asked in this order; nil means those of the system, whose file is read for each
	// question, because it may change.
	servers []string
	// system reads what the system asks; nil means systemFile.
	system func() (*dns.ClientConfig, error)
}

// answer is what a name has. Both lists are empty if there is no such name, or it has no records of
// the type.
type answer struct {
	addresses []netip.Addr
	services  []*dns.SRV
	// extra are addresses that the server gave for names in services.
	extra []dns.RR
	ttl   time.Duration
}

// result is an answer, or the reason why no server gave one: that a server cannot be asked, or does not know, is an error.
type result struct {
	answer
	err error
}

// lookup asks for records of these types, and returns a result for each. Of the names that the search list makes of name the
// first counts that has any of the records, or that could not be looked up.
func (r *resolver) lookup(ctx context.Context, name string, kinds ...uint16) []result {
	servers, names, err := r.places(name)
	if err != nil {
		return slices.Repeat([]result{{err: err}}, len(kinds))
	}
	nothing := make([]result, len(kinds))
	for i, name := range names {
		found := make([]result, len(kinds))
		var asking sync.WaitGroup
		for j, kind := range kinds {
			asking.Go(func() {
				reply, err := ask(ctx, servers, name, kind)
				if found[j].err = err; err == nil {
					found[j].answer = read(reply, name, kind)
				}
			})
		}
		asking.Wait()
		for j, one := range found {
			if one.err != nil || len(one.addresses) > 0 || len(one.services) > 0 {
				return found
			}
			if i == 0 || one.ttl < nothing[j].ttl {
				nothing[j].ttl = one.ttl
			}
		}
	}
	return nothing
}

// places returns the servers to ask for a name, and the names for which to ask them.
func (r *resolver) places(name string) (servers, names []string, err error) {
	if r.servers != nil {
		return r.servers, []string{dns.Fqdn(name)}, nil
	}
	read := r.system
	if read == nil {
		read = func() (*dns.ClientConfig, error) { return dns.ClientConfigFromFile(systemFile) }
	}
	system, err := read()
	if err != nil {
		return nil, nil, err
	}
	for _, s := range system.Servers {
		servers = append(servers, net.JoinHostPort(s, system.Port))
	}
	if len(servers) == 0 {
		return nil, nil, errors.New("there is no name server in " + systemFile)
	}
	return servers, system.NameList(name), nil
}

// ask returns the first answer of a server that knows whether there are such records.
func ask(ctx context.Context, servers []string, name string, kind uint16) (*dns.Msg, error) {
	var first error
	for range rounds {
		for _, server := range servers {
			reply, err := askServer(ctx, server, name, kind)
			if err == nil {
				return reply, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			first = cmp.Or(first, fmt.Errorf("%s %s of %s: %w", dns.TypeToString[kind], name, server, err))
		}
	}
	return nil, first
}

func askServer(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	question.SetEdns0(packet, false)
	reply, err := exchange(ctx, "udp", server, question)
	if err == nil && (reply.Rcode == dns.RcodeFormatError || reply.Rcode == dns.RcodeNotImplemented) {
		question.Extra = nil // the server does not know EDNS (RFC 6891 section 7)
		reply, err = exchange(ctx, "udp", server, question)
	}
	if err == nil && reply.Truncated {
		reply, err = exchange(ctx, "tcp", server, question)
	}
	switch {
	case err != nil:
		return nil, err
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return nil, errors.New("the server answers " + cmp.Or(dns.RcodeToString[reply.Rcode], "an unknown code"))
	}
	return reply, nil
}

func exchange(ctx context.Context, network, server string, question *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	c := dns.Client{Net: network, UDPSize: packet, Timeout: answerWithin}
	reply, _, err := c.ExchangeContext(ctx, question, server)
	switch {
	case err != nil:
		return nil, err
	case !reply.Response || len(reply.Question) != 1 || reply.Question[0].Qtype != question.Question[0].Qtype ||
		!strings.EqualFold(reply.Question[0].Name, question.Question[0].Name):
		return nil, errors.New("the server answers another question")
	}
	return reply, nil
}

// read returns what a reply says about a name, and about the names that it is an alias of.
func read(reply *dns.Msg, name string, kind uint16) answer {
	a := answer{extra: reply.Extra}
	ttl := uint32(math.MaxUint32)
	for range links {
		next := ""
		for _, rr := range reply.Answer {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				next = rr.Target
			case *dns.SRV:
				if kind != dns.TypeSRV {
					continue
				}
				a.services = append(a.services, rr)
			default:
				addr, ok := addressOf(rr, kind)
				if !ok {
					continue
				}
				a.addresses = append(a.addresses, addr)
			}
			ttl = min(ttl, rr.Header().Ttl)
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(a.addresses) == 0 && len(a.services) == 0 {
		ttl = min(ttl, negativeTTL(reply))
	}
	a.ttl = time.Duration(ttl) * time.Second
	return a
}

// negativeTTL is how long it may be remembered that there is nothing (RFC 2308 section 5).
func negativeTTL(reply *dns.Msg) uint32 {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return 0
}

// addressOf returns the address in a record of a type.
func addressOf(rr dns.RR, kind uint16) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		if kind != dns.TypeA {
			return netip.Addr{}, false
		}
		ip = rr.A
	case *dns.AAAA:
		if kind != dns.TypeAAAA {
			return netip.Addr{}, false
		}
		ip = rr.AAAA
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok && !addr.IsUnspecified()
}
