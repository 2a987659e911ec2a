package server

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"weir/admin"
	"weir/config"
	"weir/internal/body"
	"weir/internal/field"
	"weir/internal/forward"
	"weir/proxy"
)

// Replay sends a request again as an exchange of weir's own: it is routed, limited, counted and logged
// like that of a client of this machine.
func (o operator) Replay(ctx context.Context, q admin.Replay, original *admin.ExchangeDetail) (done admin.Replayed, err error) {
	s := o.s
	g := s.enter()
	defer g.leave()
	if g.recorded == nil {
		return done, fmt.Errorf("nothing is recorded")
	}
	text, leftOut, err := q.Request.Over(original)
	if err != nil {
		return done, err
	}
	x, err := s.replayed(g, &q.Request, text, original)
	if err != nil {
		return done, err
	}
	if x.Pin, err = s.pin(&q); err != nil {
		return done, err
	}
	if q.URL != "" {
		defer s.removeUpstream(x.Pin.Upstream)
	}
	stop := context.AfterFunc(ctx, x.Client.Cancel.Cancel)
	defer stop()
	kept := g.recorded.Replay(x, q.ID)
	g.proxy.Serve(x)
	done = admin.Replayed{Original: original, Replayed: <-kept, LeftOut: leftOut, Notes: []string{}}
	if done.LeftOut == nil {
		done.LeftOut = []string{}
	}
	if q.Server != "" && done.Replayed.TargetURL != q.Server && done.Replayed.TargetURL != "" {
		done.Notes = append(done.Notes, fmt.Sprintf("target %q could not be taken: %q has answered", q.Server, done.Replayed.TargetURL))
	}
	return done, nil
}

// replayed makes the exchange of a replay.
func (s *Server) replayed(g *generation, q *admin.ReplayRequest, text []byte, original *admin.ExchangeDetail) (*proxy.Exchange, error) {
	if strings.ContainsAny(q.Method+q.Target+q.Host, " \r\n") {
		return nil, fmt.Errorf("found a space or a line end in method, host or target: want none")
	}
	var lines bytes.Buffer
	fmt.Fprintf(&lines, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.Method, q.Target, q.Host)
	for _, f := range q.Fields {
		if !field.IsToken(f[0]) || strings.ContainsAny(f[1], "\r\n\x00") {
			return nil, fmt.Errorf("found the field %q with the value %q: want a name, and a value without line ends", f[0], f[1])
		}
		fmt.Fprintf(&lines, "%s: %s\r\n", f[0], f[1])
	}
	if len(text) > 0 {
		fmt.Fprintf(&lines, "Content-Length: %s\r\n", strconv.Itoa(len(text)))
	}
	lines.WriteString("\r\n")
	x := proxy.NewExchange()
	if err := x.Request.ScanRequest(lines.Bytes()); err != nil {
		return nil, fmt.Errorf("a client cannot send this request: %w", err)
	}
	content := new(body.Memory)
	content.Reset(text)
	x.Body, x.Start = content, time.Now()
	secure := q.Scheme == "https"
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	peer := forward.NewPeer(from, secure)
	x.Client = &proxy.Client{
		Front: new(replayFront), Cancel: new(proxy.Cancel), Listener: s.replayListener(g, original), Peer: &peer, Remote: from, TLS: secure,
	}
	return x, nil
}

// replayListener is the listener that a replay comes in by: that of the recorded exchange, if it is still
// there, else the first.
func (s *Server) replayListener(g *generation, original *admin.ExchangeDetail) *proxy.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first *running
	for i := range g.config.Listeners {
		r := s.listeners[g.config.Listeners[i].Address]
		if r == nil {
			continue
		}
		if original != nil && r.Name() == original.Listener {
			return r.core.Load()
		}
		if first == nil {
			first = r
		}
	}
	if first == nil {
		l := config.DefaultListener()
		return s.metrics.NewListener(&l)
	}
	return first.core.Load()
}

// replays counts the upstreams that replays have made.
var replays atomic.Uint64

// pin says where a replay goes; nil for where its route says.
func (s *Server) pin(q *admin.Replay) (*proxy.Pin, error) {
	switch {
	case q.URL != "":
		u := config.DefaultUpstream()
		u.Targets = []config.Target{config.DefaultTarget(strings.TrimSuffix(q.URL, "/"))}
		u.Targets[0].Resolve = config.ResolveOne
		u.Retry.Attempts = 1
		name := fmt.Sprintf("replay-%d", replays.Add(1))
		if err := s.setUpstream(name, &u, nil); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
		return &proxy.Pin{Upstream: name}, nil
	case q.Upstream == "" && q.Server == "":
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pin := &proxy.Pin{Upstream: q.Upstream}
	if q.Server == "" {
		if sets := s.sets(); sets[q.Upstream] == nil {
			_, _, err := s.find(q.Upstream, "")
			return nil, err
		}
		return pin, nil
	}
	for name, set := range s.sets() {
		if q.Upstream != "" && name != q.Upstream {
			continue
		}
		for _, t := range set.Targets() {
			if t.URL() == q.Server || t.Name() == q.Server {
				pin.Prefer = append(pin.Prefer, t.Identity())
			}
		}
	}
	if len(pin.Prefer) == 0 {
		return nil, fmt.Errorf("server: found %q: want a target of an upstream", q.Server)
	}
	return pin, nil
}

// replayFront takes the answer to a replay, of which the recorder keeps what is shown.
type replayFront struct {
	proxy.NoClient
	written int64
}

func (f *replayFront) Write(p []byte) error {
	f.written += int64(len(p))
	return nil
}

func (f *replayFront) Delivered() (int64, bool) { return f.written, true }

var _ proxy.Front = (*replayFront)(nil)
