package statistics

import (
	"sync"
	"time"

	"weir/internal/figures"
)

// markEvery is how often it is noted what has been counted. Figures of late go back to the last mark
// but one: 5 to 10 minutes, once weir has run for so long.
const markEvery = 5 * time.Minute

// marks are what had been counted at the last two marks.
type marks struct {
	mu           sync.Mutex
	older, newer figures.Snapshot
}

// move notes that now was counted.
func (m *marks) move(now figures.Snapshot) {
	m.mu.Lock()
	m.older, m.newer = m.newer, now
	m.mu.Unlock()
}

// merge adds what b notes.
func (m *marks) merge(b *marks) {
	b.mu.Lock()
	older, newer := b.older, b.newer
	b.mu.Unlock()
	m.mu.Lock()
	m.older.Plus(&older)
	m.newer.Plus(&newer)
	m.mu.Unlock()
}

// late returns what was counted since the older mark of all that there is.
func (m *marks) late(all figures.Snapshot) figures.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	all.Minus(&m.older)
	all.Longest = 0
	return all
}

// Mark notes what has been counted if it is time for that. now is the time, figuresOf returns the
// figures of whole routes.
func (r *Registry) Mark(now time.Time, figuresOf func(label string) figures.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.newer.IsZero() {
		r.older, r.newer = now, now
	}
	if now.Sub(r.newer) < markEvery {
		return
	}
	r.older, r.newer = r.newer, now
	for label, m := range r.routes {
		m.move(figuresOf(label))
	}
	if r.plan == nil {
		return
	}
	for _, route := range r.plan.routes {
		for _, p := range route.all() {
			p.marks.move(p.Snapshot())
		}
	}
}

// Recent is how long the figures of late go back.
func (r *Registry) Recent(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.older.IsZero() {
		return 0
	}
	return now.Sub(r.older)
}

// Late returns the figures of late of a whole route, by its label, which has counted all.
func (r *Registry) Late(label string, all *figures.Snapshot) figures.Snapshot {
	r.mu.Lock()
	m := r.routes[label]
	r.mu.Unlock()
	if m == nil {
		return *all
	}
	return m.late(*all)
}
