package proxy

import (
	"sync"
	"time"
)

// survival is what lets a fetch for the cache go on when its client leaves: others may
// want what it brings. Each such exchange counts among those of its upstream that no client
// waits for.
type survival struct {
	// survives says that the exchange's attempts do not end when its client leaves.
	survives bool
	upstream *Upstream

	mu     sync.Mutex
	client presence
}

// presence says whether the client of an exchange that survives it is there.
type presence uint8

const (
	clientThere presence = iota
	clientLeft           // and the exchange goes on
	clientCut            // and the exchange may not go on: there are too many
)

// leave notes that the client has left, and reports whether the exchange may go on.
func (s *survival) leave() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == clientThere {
		if s.client = clientCut; s.upstream.beginBackground() {
			s.client = clientLeft
		}
	}
	return s.client == clientLeft
}

// Interrupt implements Interrupter: it is what the Cancel of a client interrupts whose
// exchange survives it.
func (s *storing) Interrupt() {
	if !s.leave() {
		s.cancel.Cancel()
	}
}

// survive makes the exchange go on when its client leaves, until depend.
func (x *Exchange) survive() {
	s := x.cached.store
	if s.survives {
		return
	}
	s.survives, s.upstream = true, x.Upstream
	x.proxy.fetches.add(&s.detached)
}

// depend makes the exchange end when its client leaves, or has left, as others do. Nothing may
// be watched.
func (x *Exchange) depend() {
	s := x.cached.store
	if s == nil || !s.survives {
		return
	}
	x.proxy.fetches.remove(&s.detached)
	if s.client == clientLeft {
		s.upstream.endBackground()
	}
	s.survives, s.upstream, s.client = false, nil, clientThere
}

// cancel is what ends the exchange's attempts.
func (x *Exchange) cancel() *Cancel {
	if s := x.cached.store; s != nil && s.survives {
		return &s.cancel
	}
	return x.Client.Cancel
}

// watch says that the exchange waits for a target, through w, from now on.
func (x *Exchange) watch(w Interrupter, now time.Time) {
	s := x.cached.store
	if s != nil && s.survives && x.Client.Cancel != &s.cancel {
		x.Client.Cancel.arm(s, now)
	}
	x.cancel().arm(w, now)
}

// unwatch says that the exchange does not wait for a target any more, and reports
// whether its attempts are to end.
func (x *Exchange) unwatch() (canceled bool) {
	canceled = x.cancel().disarm()
	if s := x.cached.store; s != nil && s.survives {
		x.Client.Cancel.disarm()
	}
	return canceled
}
