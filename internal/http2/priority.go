package http2

import (
	"maps"
	"slices"
	"time"

	"weir/internal/field"
)

// priority is how the client wants a response to be sent (RFC 9218). The zero value is that of
// a client that says nothing.
type priority struct {
	// before is how much more urgent the response is than the default: 3 to -4.
	before int8
	// mode says how the response shares the connection with others of the same urgency.
	mode sharing
}

type sharing uint8

const (
	// sharingUnsaid: in turns, like sharingIncremental, because a client that knows nothing of
	// priorities must not wait for a large response before it gets a small one.
	sharingUnsaid sharing = iota
	// sharingWhole: one after the other, in the order of the requests.
	sharingWhole
	// sharingIncremental: in turns.
	sharingIncremental
)

const defaultUrgency = 3

// parsePriority reads a Priority field, or that of a PRIORITY_UPDATE frame. What cannot be
// understood is ignored (RFC 9218 section 4).
func parsePriority(value []byte) priority {
	p := priority{mode: sharingWhole}
	ok := field.Dictionary(value, func(key []byte, v field.Item) bool {
		switch {
		case string(key) == "u" && v.Kind == field.Integer && v.Number >= 0 && v.Number <= 7:
			p.before = int8(defaultUrgency - v.Number)
		case string(key) == "i" && v.Kind == field.Boolean && v.Truth:
			p.mode = sharingIncremental
		case string(key) == "i" && v.Kind == field.Boolean:
			p.mode = sharingWhole
		}
		return true
	})
	if !ok {
		return priority{mode: sharingUnsaid}
	}
	return p
}

// choose returns the stream whose body bytes are next; nil if none may send. Among those that
// are equally urgent, the ones that want to be sent whole have one turn together, which the
// oldest takes; a stream that has had a turn goes behind the others.
func (c *conn) choose() *stream {
	if c.window <= 0 {
		return nil
	}
	best := -1
	for i, s := range c.sending {
		if s.window <= 0 {
			continue
		}
		if best < 0 || s.priority.before > c.sending[best].priority.before {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	turn := c.sending[best]
	if s := turn; s.priority.mode == sharingWhole {
		for _, o := range c.sending {
			if o.window > 0 && o.priority == s.priority && o.id < turn.id {
				turn = o
			}
		}
	}
	for _, h := range c.refilling {
		if h.outranks(turn) && h.window > 0 {
			return nil // its next bytes are here in no time
		}
	}
	at := slices.Index(c.sending, turn)
	copy(c.sending[at:], c.sending[at+1:])
	c.sending[len(c.sending)-1] = turn
	return turn
}

// outranks says that all of s comes before what o has to send.
func (s *stream) outranks(o *stream) bool {
	if s.priority.before != o.priority.before {
		return s.priority.before > o.priority.before
	}
	return s.priority.mode == sharingWhole && o.priority.mode == sharingWhole && s.id < o.id
}

// refills says that s has sent all it had, and has more without waiting, as far as is known. What
// it outranks waits for that. c.mu is held.
func (c *conn) refills(s *stream) {
	if slices.ContainsFunc(c.sending, s.outranks) {
		c.refilling = append(c.refilling, s)
	}
}

// bulkSize is from which size on of what a stream sends at once more is expected soon: what comes in small
// pieces, such as events, would keep others back that may send much meanwhile.
const bulkSize = 4 << 10

// refillTime is how long a stream that has to wait for its next bytes keeps those back that it
// outranks: a target that sends is hardly ever silent for longer.
const refillTime = 5 * time.Millisecond

// releaseLater lets what s outranks go on if its next bytes do not come soon. c.mu is held.
func (c *conn) releaseLater(s *stream) {
	switch {
	case !slices.Contains(c.refilling, s):
	case c.release == nil:
		c.release = time.AfterFunc(refillTime, c.releaseNow)
	default:
		c.release.Reset(refillTime)
	}
}

func (c *conn) releaseNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refilling = c.refilling[:0]
	c.Pump()
	c.Flush()
}

// refilled ends refills. c.mu is held.
func (c *conn) refilled(s *stream) {
	if i := slices.Index(c.refilling, s); i >= 0 {
		c.refilling = slices.Delete(c.refilling, i, i+1)
	}
}

// queue makes p what s has to send. c.mu is held.
func (c *conn) queue(s *stream, p []byte) {
	c.refilled(s)
	s.pending, s.bulk = p, len(p) >= bulkSize
	if c.sending = append(c.sending, s); len(c.sending) == crowd {
		c.crowded.Store(true)
	}
}

// unqueue takes s out of those that have something to send.
func (c *conn) unqueue(s *stream) {
	if i := slices.Index(c.sending, s); i >= 0 {
		if c.sending = slices.Delete(c.sending, i, i+1); len(c.sending) == crowd-1 {
			c.crowded.Store(false)
		}
	}
}

// maxAdvanced bounds the priorities that are kept for streams to come.
const maxAdvanced = maxStreams

// prioritize takes a PRIORITY_UPDATE frame. c.mu is held.
func (c *conn) prioritize(stream uint32, value string) {
	p := parsePriority([]byte(value))
	switch s := c.streams[stream]; {
	case s != nil:
		s.priority = p
	case stream > c.last && stream%2 == 1:
		if c.advanced == nil {
			c.advanced = make(map[uint32]priority)
		}
		if _, known := c.advanced[stream]; !known && len(c.advanced) == maxAdvanced {
			// A later stream closes those before it that were never used (RFC 9113 section 5.1.1).
			maps.DeleteFunc(c.advanced, func(id uint32, _ priority) bool { return id <= c.last })
			if len(c.advanced) == maxAdvanced {
				return
			}
		}
		c.advanced[stream] = p
	}
}
