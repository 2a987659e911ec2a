package http2

import (
	"math"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/listener"
	"weir/proxy"
)

// parting is how far a connection has come in ending without losing a stream (RFC 9113 section
// 6.8): the client is told to begin no more, and which ones were served only after it has had
// time to know.
type parting uint8

const (
	partingNone parting = iota
	// partingFirst: the client was told; streams that it begins are still served.
	partingFirst
	// partingLast: the client knows the last stream that is served.
	partingLast
)

// partingPing is what the PING after the first GOAWAY carries: its answer says that the client
// has read both.
var partingPing = [8]byte{'w', 'e', 'i', 'r', ' ', 'e', 'n', 'd'}

// partingTime bounds the wait for the answer to that PING.
const partingTime = time.Second

// ought says that the connection is to end.
func (c *conn) ought() bool {
	return c.front.draining.Load() || c.c.Listener().Closed() || c.c.Outdated()
}

// leave begins to end the connection. Any goroutine may call it.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parting != partingNone || c.gone != nil {
		return
	}
	c.parting, c.partingSince = partingFirst, time.Now()
	c.GoAway(math.MaxInt32, h2.ErrCodeNo, "")
	c.Ping(false, partingPing)
	c.Flush()
}

// partLast tells the client which streams are served, and ends the connection after the last
// one. c.mu is held.
func (c *conn) partLast() {
	c.parting = partingLast
	c.GoAway(c.last, h2.ErrCodeNo, "")
	c.Flush()
	if len(c.streams) == 0 {
		c.stop()
	}
}

// spareSince says since when the connection could be ended without harm, if it could.
func (c *conn) spareSince(now time.Time) (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since = c.since.Add(listener.SpareAfter(c.c.Config(), c.served))
	return since, len(c.streams) == 0 && c.parting == partingNone && c.gone == nil && !since.After(now)
}

// look ends what the client has stalled for too long.
func (c *conn) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := now.Sub(c.looked)
	c.looked = now
	if c.parting == partingFirst && now.Sub(c.partingSince) >= partingTime {
		c.partLast()
	}
	if len(c.streams) == 0 {
		return
	}
	if c.window > 0 || len(c.sending) == 0 {
		c.stalled = time.Time{}
	} else if c.stalled.IsZero() {
		c.stalled = now
	}
	for _, s := range c.streams {
		if why := s.in.tooSlow(now); why != nil {
			s.client.Listener.CountEnd(proxy.EndStalled)
			s.in.fail(why) // which the client may still be told
		}
		if why := s.tooSlow(now, passed); why != nil {
			s.client.Listener.CountEnd(proxy.EndStalled)
			s.reset(h2.ErrCodeCancel, why)
		}
	}
	c.Flush()
}

// tooSlow says which limit the client is below that sends a body, if any.
func (b *requestBody) tooSlow(now time.Time) error {
	if b.waiting.IsZero() || b.s.tunnel || b.failure != nil {
		return nil
	}
	switch waited := now.Sub(b.waiting); {
	case b.s.rate > 0 && b.sized() && b.behind > 0 && waited+b.behind >= b.s.grace:
		return proxy.SentLess(b.s.rate)
	case waited >= b.s.grace:
		return proxy.SentNothing(b.s.grace)
	}
	return nil
}

// tooSlow says which limit the client is below that takes an answer, if any; passed is the time
// since the last look.
func (s *stream) tooSlow(now time.Time, passed time.Duration) error {
	if len(s.pending) == 0 || s.window > 0 && s.c.window > 0 {
		s.stalled = time.Time{}
		return nil
	}
	since := s.c.stalled
	if s.window <= 0 {
		if s.stalled.IsZero() {
			s.stalled = now
		}
		since = s.stalled
	}
	if s.rate > 0 {
		s.behind += passed
	}
	switch {
	case !since.IsZero() && now.Sub(since) >= s.grace:
		return proxy.TookNothing(s.grace)
	case s.rate > 0 && s.behind >= s.grace:
		return proxy.TookLess(s.rate)
	}
	return nil
}
