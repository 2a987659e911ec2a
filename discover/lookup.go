package discover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Lookup finds the addresses of a host name.
type Lookup func(ctx context.Context, host string) (Addresses, error)

// Addresses is what a host name stands for.
type Addresses struct {
	// List is empty if there is no such name, or if it has no addresses.
	List []netip.Addr
	// TTL is how long the answer may be used. Timed says that it is known: a name server says
	// it, /etc/hosts does not.
	TTL   time.Duration
	Timed bool
	// No4 and No6 say that the addresses of this family could not be looked up, so that their
	// absence means nothing. If there are none of the other family either, the lookup has failed.
	No4, No6 bool
}

// NewLookup returns a Lookup that finds what other programs of the system find: it is Go's own
// resolver, which reads /etc/hosts, /etc/nsswitch.conf and /etc/resolv.conf with its search list, and
// whose questions to name servers are watched for what their answers say about time. If r is not nil,
// r.Dial connects to the name servers.
func NewLookup(r *net.Resolver) Lookup {
	dial := new(net.Dialer).DialContext
	if r != nil && r.Dial != nil {
		dial = r.Dial
	}
	return func(ctx context.Context, host string) (Addresses, error) {
		var seen replies
		own := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return seen.watch(c), nil
		}}
		list, err := own.LookupNetIP(ctx, "ip", host)
		var failed *net.DNSError
		found := seen.addresses()
		if errors.As(err, &failed) && failed.IsNotFound {
			err = nil
			if found.No4 || found.No6 { // there may be addresses of that family
				err = fmt.Errorf("lookup %s: there is no answer about one family of addresses, and none of the other", host)
			}
		}
		if err != nil {
			return Addresses{}, err
		}
		for _, a := range list {
			found.List = append(found.List, a.Unmap())
		}
		return found, nil
	}
}

// replies is what name servers said during one lookup.
type replies struct {
	mu    sync.Mutex
	asked bool // a name server was
	// known has the families (types of records) of which a server knew whether there are any.
	known map[dnsmessage.Type]bool
	// ttl is the shortest of those of the records, if there were any.
	ttl   time.Duration
	timed bool
}

func (r *replies) addresses() Addresses {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Addresses{TTL: r.ttl, Timed: r.timed, No4: r.asked && !r.known[dnsmessage.TypeA], No6: r.asked && !r.known[dnsmessage.TypeAAAA]}
}

// watch returns c, whose messages r reads too.
func (r *replies) watch(c net.Conn) net.Conn {
	r.mu.Lock()
	r.asked = true
	r.mu.Unlock()
	if packets, ok := c.(net.PacketConn); ok {
		return &watchedPackets{Conn: c, PacketConn: packets, r: r}
	}
	return &watchedStream{Conn: c, r: r}
}

// read reads a message. What it does not understand the resolver does not use either.
func (r *replies) read(message []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || !h.Response || h.Truncated || h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		return
	}
	q, err := p.Question()
	if err != nil || p.SkipAllQuestions() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[dnsmessage.Type]bool)
	}
	r.known[q.Type] = true
	for {
		rr, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		ttl := time.Duration(rr.TTL) * time.Second
		if !r.timed || ttl < r.ttl {
			r.ttl, r.timed = ttl, true
		}
	}
}

// repeatAfter is how long a question waits for its answer before it is sent again, because one of the two may be lost. The
// resolver itself waits for five seconds.
const repeatAfter = time.Second

// watchedPackets is a connection on which each read is a message, and each write a question.
type watchedPackets struct {
	net.Conn
	net.PacketConn // says to the resolver what kind of connection this is
	r              *replies
	question       []byte
	deadline       time.Time // zero: none
}

func (c *watchedPackets) Write(p []byte) (int, error) {
	c.question = append(c.question[:0], p...)
	return c.Conn.Write(p)
}

// Read reads the next message, and sends the question again when none comes.
func (c *watchedPackets) Read(p []byte) (int, error) {
	for {
		until := time.Now().Add(repeatAfter)
		last := !c.deadline.IsZero() && !c.deadline.After(until)
		if last {
			until = c.deadline
		}
		c.Conn.SetReadDeadline(until)
		n, err := c.Conn.Read(p)
		switch {
		case err == nil:
			c.r.read(p[:n])
			return n, nil
		case last || !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		}
		if _, err := c.Conn.Write(c.question); err != nil {
			return 0, err
		}
	}
}

func (c *watchedPackets) SetDeadline(t time.Time) error {
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

func (c *watchedPackets) Close() error                       { return c.Conn.Close() }
func (c *watchedPackets) LocalAddr() net.Addr                { return c.Conn.LocalAddr() }
func (c *watchedPackets) SetReadDeadline(t time.Time) error  { return c.Conn.SetReadDeadline(t) }
func (c *watchedPackets) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(t) }

// watchedStream is a connection on which each message has its length before it (RFC 1035 section
// 4.2.2).
type watchedStream struct {
	net.Conn
	r      *replies
	unread []byte
}

func (c *watchedStream) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.unread = append(c.unread, p[:n]...)
	for len(c.unread) >= 2 {
		end := 2 + int(binary.BigEndian.Uint16(c.unread))
		if len(c.unread) < end {
			break
		}
		c.r.read(c.unread[2:end])
		c.unread = c.unread[end:]
	}
	return n, err
}
