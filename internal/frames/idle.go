package frames

import "time"

// maxIdle is how many frames may come that move nothing, before others have.
const maxIdle = 1000

// Idle bounds the frames of a peer that move nothing. What moves something gives some back, and so does each second:
// peers that ask by PING whether the other one is there do so for hours in which no stream has anything to say.
// The connection that has an Idle guards it.
type Idle struct {
	left int
	// since is until when seconds have been counted.
	since time.Time
}

// NewIdle returns what a connection that begins now allows.
func NewIdle(now time.Time) Idle { return Idle{left: maxIdle, since: now} }

// Take notes such a frame, and says whether it is within the bound.
func (i *Idle) Take(now time.Time) bool {
	if seconds := now.Sub(i.since) / time.Second; seconds > 0 {
		i.GiveBack(int(min(seconds, maxIdle)))
		i.since = i.since.Add(seconds * time.Second)
	}
	i.left--
	return i.left >= 0
}

// GiveBack allows n more.
func (i *Idle) GiveBack(n int) { i.left = min(i.left+n, maxIdle) }
