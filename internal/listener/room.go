package listener

import (
	"sync/atomic"
	"time"
)

// Room bounds the open connections of several listeners together. Its methods may be
// called from any goroutine.
type Room struct {
	most   int64
	onFull func(wait time.Duration)
	used   atomic.Int64
	freed  chan struct{} // has a token when a connection ended
}

// NewRoom returns room for so many connections. An accept loop that finds none calls onFull,
// which may end connections, and looks again when one has ended, or after wait.
func NewRoom(most int, onFull func(wait time.Duration)) *Room {
	return &Room{most: int64(most), onFull: onFull, freed: make(chan struct{}, 1)}
}

// enter waits for room for one connection, at most until done is closed.
func (r *Room) enter(done <-chan struct{}) {
	for wait := minAcceptWait; !r.tryEnter(); wait = min(2*wait, maxAcceptWait) {
		r.onFull(wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.freed:
		case <-done:
			r.used.Add(1)
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// tryEnter takes room for one connection, if there is some. A nil Room has room for any number.
func (r *Room) tryEnter() bool {
	if r == nil {
		return true
	}
	for {
		n := r.used.Load()
		if n >= r.most {
			return false
		}
		if r.used.CompareAndSwap(n, n+1) {
			if n+1 < r.most {
				r.signal() // another listener may wait too
			}
			return true
		}
	}
}

// leave gives back the room of one connection.
func (r *Room) leave() {
	if r != nil {
		r.used.Add(-1)
		r.signal()
	}
}

func (r *Room) signal() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}
