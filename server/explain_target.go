package server

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/config"
	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/internal/transport"
	"weir/lb"
)

// imitate gives set, which was made with the memory of live, the targets that were found for live.
func imitate(set, live *lb.Upstream) error {
	var found []lb.Endpoint
	own := byURL(set)
	for _, as := range live.Targets() {
		if drains := as.State() == lb.Draining; own[as.URL()] == nil || drains {
			weight, sharers := as.OwnWeight()
			found = append(found, lb.Endpoint{URL: as.URL(), Weight: weight, Sharers: sharers, Priority: as.Priority(), Drain: drains})
		}
	}
	set.SetEmptyReason(live.EmptyReason())
	return set.SetEndpoints(found)
}

// unresolved returns an endpoint for each host name, in place of one for each of its addresses.
func unresolved(u *config.Upstream) (list []lb.Endpoint) {
	for _, t := range u.Targets {
		if t.IsName() {
			list = append(list, lb.EndpointOf(t))
		}
	}
	return list
}

// byURL are the targets of a set by their URLs; none for nil.
func byURL(set *lb.Upstream) map[string]*lb.Target {
	all := make(map[string]*lb.Target)
	if set != nil {
		for _, t := range set.Targets() {
			all[t.URL()] = t
		}
	}
	return all
}

// maxAssumed bounds the body of an assumed answer.
const maxAssumed = 1 << 20

// assume takes the lines of the assumed answer. Its body has the length that a Content-Length
// among them says; without one the body is empty.
func (e *explainer) assume(lines []string) error {
	e.answer = slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return strings.EqualFold(name, "Content-Length")
	})
	for _, line := range lines {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 63)
			if err != nil || n > maxAssumed || len(e.answer) != len(lines)-1 {
				return fmt.Errorf("found %q of the answer: want one Content-Length, of at most %d", line, maxAssumed)
			}
			e.length = int(n)
		}
	}
	return nil
}

// assumedTarget is a Transport, and a Stream, to a target that is only assumed to answer.
type assumedTarget struct {
	e    *explainer
	url  string
	body body.Memory
	// protocol is that of the upstream's connections, version what is spoken on the one that was opened last.
	protocol string
	version  head.Version
}

func (a *assumedTarget) Host() string {
	u, err := url.Parse(a.url)
	if err != nil {
		return ""
	}
	return u.Host
}

// Open implements transport.Transport. A target that may speak HTTP/2 is assumed to do so.
func (a *assumedTarget) Open(_ time.Duration, v transport.Version) (transport.Stream, error) {
	scheme, _, _ := strings.Cut(a.url, ":")
	a.version = head.HTTP11
	switch {
	case scheme == "h2c" && v == transport.OnlyHTTP1:
		return nil, &transport.DialError{Phase: "http2", Err: transport.ErrVersion}
	case scheme == "h2c":
		a.version = head.HTTP2
	case scheme == "demo", scheme == "handler", v == transport.OnlyHTTP1, a.protocol == config.ProtocolH1:
	case v == transport.PreferHTTP2, a.protocol == config.ProtocolH2:
		a.version = head.HTTP2
	}
	if r := a.e.Request; r != nil {
		r.Line = strings.TrimSuffix(r.Line, head.HTTP11.String()) + a.version.String()
	}
	return a, nil
}

func (a *assumedTarget) Share(time.Duration, time.Duration) transport.Stream { return nil }
func (a *assumedTarget) Attended() transport.Attended                        { return nil }
func (a *assumedTarget) CloseIdle()                                          {}
func (a *assumedTarget) Conns() (open, idle int)                             { return 0, 0 }
func (a *assumedTarget) Pipelined() (p transport.Pipelined, ok bool)         { return p, false }
func (a *assumedTarget) Retire()                                             {}

// Connect returns a connection that has ended, for clients that are passed on.
func (a *assumedTarget) Connect(context.Context, transport.Ends) (net.Conn, error) {
	c, end := net.Pipe()
	end.Close()
	return c, nil
}

func (a *assumedTarget) Reused() bool                                        { return false }
func (a *assumedTarget) Refuses() bool                                       { return false }
func (a *assumedTarget) Version() head.Version                               { return a.version }
func (a *assumedTarget) Expect(prefetch.Regions)                             {}
func (a *assumedTarget) Send(*transport.Request) (int, error)                { return 0, nil }
func (a *assumedTarget) Sent() bool                                          { return true }
func (a *assumedTarget) Await() error                                        { return nil }
func (a *assumedTarget) BodyWriter(bool, time.Duration) transport.BodyWriter { return nil }
func (a *assumedTarget) Tunnel() (net.Conn, []byte)                          { return nil, nil }
func (a *assumedTarget) LimitRead(time.Time, time.Duration)                  {}
func (a *assumedTarget) ReadUntil(time.Time)                                 {}
func (a *assumedTarget) LimitWrite(time.Time, time.Duration)                 {}
func (a *assumedTarget) Unlimit()                                            {}
func (a *assumedTarget) Interrupt()                                          {}
func (a *assumedTarget) InterruptRead()                                      {}
func (a *assumedTarget) InterruptWrite()                                     {}
func (a *assumedTarget) InterruptFrom(time.Time)                             {}
func (a *assumedTarget) Cut()                                                {}
func (a *assumedTarget) Release(bool)                                        {}

func (a *assumedTarget) ReadHead(h *head.Head) (started bool, err error) {
	text := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(a.e.length) + "\r\n"
	for _, line := range a.e.answer {
		text += line + "\r\n"
	}
	h.Reset()
	return true, h.ScanResponse([]byte(text + "\r\n"))
}

func (a *assumedTarget) Response(*head.Head, bool, *body.Reader) (body.Source, error) {
	a.body.Reset(make([]byte, a.e.length))
	return &a.body, nil
}
