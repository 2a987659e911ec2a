package http2

import (
	"slices"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/frames"
	"weir/proxy"
)

const (
	// maxStreams bounds the streams that are open at once.
	maxStreams = 100
	// maxAnswered bounds the exchanges that are on their last steps, after the answer.
	maxAnswered = 4 * maxStreams
	// maxResets is how many streams may be reset in a second beyond those that were answered, by the
	// client or because of it, and how many at once.
	maxResets = 200
	// idleForAnswer and idleForData are what an answered request and a frame of a body give back of the frames
	// that move nothing: a client may update two windows for each frame, and say a priority for each request.
	idleForAnswer, idleForData = 16, 4
	// maxContinuations bounds the frames of a header list after the first.
	maxContinuations = 8
	// maxAcks is how many answers to SETTINGS and PING may wait to be written.
	maxAcks = 100
)

// bounds are what a client may still do. conn.mu guards them.
type bounds struct {
	resets   float64
	resetsAt time.Time
	idle     frames.Idle
	// sent are bytes of bodies that were sent, for each KiB of which the client may update a window.
	sent int
}

func (b *bounds) init(now time.Time) {
	b.resets, b.resetsAt, b.idle = maxResets, now, frames.NewIdle(now)
}

// answered notes that a request was answered.
func (b *bounds) answered() {
	b.resets = min(b.resets+1, maxResets)
	b.idle.GiveBack(idleForAnswer)
}

// moved notes a frame with a part of a body.
func (b *bounds) moved() { b.idle.GiveBack(idleForData) }

// idleFrame notes a frame that moves nothing.
func (b *bounds) idleFrame(now time.Time) error {
	if !b.idle.Take(now) {
		return &fault{h2.ErrCodeEnhanceYourCalm, proxy.EndIdleFrames, "too many frames that move nothing"}
	}
	return nil
}

// updated notes that the client has updated a window. Go's client updates two for each 4 KiB that it reads.
func (b *bounds) updated(now time.Time) error {
	if b.sent >= 1<<10 {
		b.sent -= 1 << 10
		return nil
	}
	return b.idleFrame(now)
}

// reset notes that a stream was reset before it was answered, for which the client is to blame.
func (b *bounds) reset(now time.Time) error {
	b.resets = min(b.resets+now.Sub(b.resetsAt).Seconds()*maxResets, maxResets) - 1
	if b.resetsAt = now; b.resets < 0 {
		return &fault{h2.ErrCodeEnhanceYourCalm, proxy.EndResets, "too many streams were reset"}
	}
	return nil
}

// recent remembers streams that weir has ended before the client had, of which frames may still
// be on their way. conn.mu guards it.
type recent struct {
	streams []endedStream
	next    int
}

// endedStream is a stream that weir has ended, and how many bytes of its body the client may still have
// sent before it knew.
type endedStream struct {
	id     uint32
	window int64
}

func (r *recent) add(id uint32, window int64) {
	if len(r.streams) < maxStreams {
		r.streams = append(r.streams, endedStream{id, window})
		return
	}
	r.streams[r.next] = endedStream{id, window}
	r.next = (r.next + 1) % len(r.streams)
}

// forget says that the client has ended the stream, too.
func (r *recent) forget(id uint32) {
	if e := r.find(id); e != nil {
		*e = endedStream{}
	}
}

// find returns nil if the stream is none of those.
func (r *recent) find(id uint32) *endedStream {
	i := slices.IndexFunc(r.streams, func(e endedStream) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return &r.streams[i]
}

// credit is the window of request bodies of a whole connection. conn.mu guards it.
type credit struct {
	// taken is how many bytes were taken, or dropped, that the client has not been told of.
	taken int64
	// held is how many bytes may still come.
	held int64
	// more is what the client got beyond connWindow, because bodies that no exchange reads yet would keep the others waiting.
	more int64
	// over says that the connection has ended, so that it gets no more.
	over bool
}

const (
	// step is by how much the window of a connection grows at once, or less of it is left when that is needed.
	step = connWindow / 4
	// maxMore is what a connection may get beyond connWindow: the windows of its streams then bound what is kept.
	maxMore = maxStreams*streamWindow - connWindow
	// maxSpare bounds what all connections together get beyond connWindow.
	maxSpare = 64 << 20
)

// arrived notes that n bytes have come, and reports whether they were allowed. Where little is left because others are not
// wanted yet, the client gets more, so that requests to a target that takes nothing keep those to others waiting no
// longer than other connections do. c.mu is held.
func (c *conn) arrived(n int64) bool {
	k := &c.credit
	if k.held -= n; k.held < 0 {
		return false
	}
	if k.held < step && k.taken >= step/4 {
		c.tellTaken()
	}
	if k.held < step && !k.over && k.more+step <= maxMore && c.front.borrow(step) {
		k.more += step
		k.held += step
		c.Window(0, step)
	}
	return true
}

// giveBack lets the client send n bytes more of bodies, but for what it got beyond connWindow. c.mu is held.
func (c *conn) giveBack(n int) {
	k := &c.credit
	k.taken += int64(n)
	if k.more > 0 && k.held >= 2*step {
		back := min(k.taken, k.more)
		k.taken -= back
		k.more -= back
		c.front.spare.Add(-back)
	}
	if k.taken >= step || k.held < step && k.taken >= step/4 {
		c.tellTaken()
	}
}

// tellTaken tells the client how much was taken. c.mu is held.
func (c *conn) tellTaken() {
	c.Window(0, c.credit.taken)
	c.credit.held += c.credit.taken
	c.credit.taken = 0
}

// endCredit gives back what the connection got beyond connWindow, after its end.
func (c *conn) endCredit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.front.spare.Add(-c.credit.more)
	c.credit.more, c.credit.over = 0, true
}

// borrow takes n bytes of what connections may have beyond connWindow, if there is so much.
func (f *Front) borrow(n int64) bool {
	if f.spare.Add(n) <= maxSpare {
		return true
	}
	f.spare.Add(-n)
	return false
}
