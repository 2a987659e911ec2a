package transport

import (
	"errors"
	"time"
)

// pulse is what is known of whether the target is still there. framedConn.mu guards it.
type pulse struct {
	// heard is when something came last, or the connection got something to wait for.
	heard time.Time
	// asked is when a PING was sent that has not been answered; zero if there is none.
	asked time.Time
	// asks counts the PINGs since the last frame of a stream.
	asks int
}

// askedAgain is the least time between two PINGs while no stream moves: servers of gRPC end
// connections of clients that ask more often.
const askedAgain = 5*time.Minute + time.Second

// livePing is what PINGs carry that ask whether the target is there.
var livePing = [8]byte{'w', 'e', 'i', 'r', ' ', 'p', 'n', 'g'}

// errSilent says that the target did not answer a PING.
var errSilent = errors.New("the target answered no PING in time")

// hear notes that something came.
func (p *pulse) hear(now time.Time) { p.heard, p.asked = now, time.Time{} }

// expect notes that the target has something new to answer.
func (p *pulse) expect(now time.Time) {
	if p.asked.IsZero() {
		p.heard, p.asks = now, 0
	}
}

// moved notes that a stream moved.
func (p *pulse) moved() { p.asks = 0 }

// due says when the next look is due.
func (p *pulse) due(ping time.Duration) time.Time {
	switch {
	case !p.asked.IsZero():
		return p.asked.Add(ping)
	case p.asks > 0:
		return p.heard.Add(max(ping, askedAgain))
	}
	return p.heard.Add(ping)
}

// wake sees that look is called at the latest then. c.mu is held.
func (c *framedConn) wake(at time.Time) {
	switch {
	case at.IsZero() || !c.rings.IsZero() && !at.Before(c.rings) || c.gone != nil:
		return
	case c.alarm == nil:
		c.alarm = time.AfterFunc(time.Until(at), c.look)
	default:
		c.alarm.Reset(time.Until(at))
	}
	c.rings = at
}

// lookLater sees that look is called after that time.
func (c *framedConn) lookLater(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake(time.Now().Add(after))
}

// look ends what has waited for too long, asks whether the target is there, and closes a connection that
// was unused for too long.
func (c *framedConn) look() {
	now := time.Now()
	c.mu.Lock()
	c.rings = time.Time{}
	for _, s := range c.streams {
		for _, at := range [...]time.Time{s.readBy, s.writeBy} {
			switch {
			case at.IsZero():
			case at.After(now):
				c.wake(at)
			default:
				s.readable.Broadcast()
				s.writable.Broadcast()
			}
		}
	}
	verdict := c.feel(now)
	unused := len(c.streams) == 0
	c.mu.Unlock()
	switch verdict {
	case pulseDoubtful:
		c.t.doubt(c, true)
	case pulseDead:
		c.fail(errSilent)
	}
	if !unused {
		return
	}
	if left := c.closeUnused(c.t.idle); left > 0 {
		c.lookLater(left)
	}
}

// verdict is what a look at the pulse has found.
type verdict uint8

const (
	pulseGood verdict = iota
	pulseDoubtful
	pulseDead
)

// feel asks whether the target is there if that is due. c.mu is held.
func (c *framedConn) feel(now time.Time) verdict {
	p, ping := &c.pulse, c.t.ping
	if ping <= 0 || len(c.streams) == 0 || c.gone != nil {
		return pulseGood
	}
	result := pulseGood
	if !now.Before(p.due(ping)) {
		if !p.asked.IsZero() {
			return pulseDead
		}
		p.asked = now
		p.asks++
		c.Ping(false, livePing)
		c.Flush()
		result = pulseDoubtful
	}
	c.wake(p.due(ping))
	return result
}
