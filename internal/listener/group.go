package listener

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"weir/config"
)

// Group is the connections that a front end serves. The zero value is an empty one. Its methods
// may be called from any goroutine.
type Group[C comparable] struct {
	mu      sync.Mutex
	members map[C]struct{}
}

// Add makes c a member.
func (g *Group[C]) Add(c C) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members == nil {
		g.members = make(map[C]struct{})
	}
	g.members[c] = struct{}{}
}

// Remove ends that.
func (g *Group[C]) Remove(c C) {
	g.mu.Lock()
	delete(g.members, c)
	g.mu.Unlock()
}

// Each calls f for all members, none of which is removed meanwhile. f must not call g.
func (g *Group[C]) Each(f func(c C)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.members {
		f(c)
	}
}

// List returns the members of this moment.
func (g *Group[C]) List() []C {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]C, 0, len(g.members))
	for c := range g.members {
		list = append(list, c)
	}
	return list
}

// busyClient is how long a client that was served must have been silent for its connection to
// be spare: clients at work are silent for less between two requests.
const busyClient = time.Second

// SpareAfter is how long a client must have been silent for its connection to be spare, which
// may be ended to make room for others. One that has not been served may take as long as
// its request's head may.
func SpareAfter(cfg *config.Listener, served bool) time.Duration {
	if served {
		return busyClient
	}
	return cfg.Timeouts.Header.D()
}

// spareShare is the part of the spare connections that EndSpare ends at once, so that
// looking for them costs little for each.
const spareShare = 64

// EndSpare ends a part of the members that are spare, those first that have been so for
// longest, and returns how many. since says from when on a member has been spare, in
// nanoseconds from any time that is the same for all, and whether it is.
func (g *Group[C]) EndSpare(since func(c C) (at int64, ok bool), end func(c C)) int {
	type spare struct {
		c  C
		at int64
	}
	var list []spare
	for _, c := range g.List() {
		if at, ok := since(c); ok {
			list = append(list, spare{c, at})
		}
	}
	slices.SortFunc(list, func(a, b spare) int { return cmp.Compare(a.at, b.at) })
	list = list[:(len(list)+spareShare-1)/spareShare]
	for _, s := range list {
		end(s.c)
	}
	return len(list)
}
