package cache

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"weir/cache/tier"
)

// Memory is what a store knows of its tiers, for the process that replaces this one.
type Memory struct {
	// Positions are up to where announcements of shared tiers came, by the tiers' names. It is
	// empty without a tier that keeps the marks from before.
	Positions map[string]string `json:"positions,omitempty"`
	// Doubted is until when what was received must be validated, in ns since the epoch.
	Doubted int64 `json:"doubted,omitempty"`
}

// Memory returns what is known now.
func (s *Store) Memory() Memory {
	m := Memory{Doubted: s.doubted.Load()}
	if s.keeper == nil {
		return m
	}
	m.Positions = make(map[string]string)
	for _, a := range s.tiers {
		a.news.mu.Lock()
		if a.news.position != "" {
			m.Positions[a.Name()] = a.news.position
		}
		a.news.mu.Unlock()
	}
	return m
}

// Recall makes a store know what that of the process before this one did. It comes before
// Attach.
func (s *Store) Recall(m Memory) {
	s.recalled = m
	s.doubt(m.Doubted)
}

// Tell makes f get a message for Learn of the other process's store whenever this one's
// entries are purged or invalidated, on the goroutine that does, which f must not hold up.
// nil ends that.
func (s *Store) Tell(f func(message []byte)) {
	if f == nil {
		s.tell.Store(nil)
		return
	}
	s.tell.Store(&f)
}

// news is a message from one process to the other.
type news struct {
	Marks   []tier.Mark `json:"marks,omitempty"`
	Doubted int64       `json:"doubted,omitempty"`
}

func (n news) send(f func(message []byte)) {
	b, err := json.Marshal(n)
	if err != nil {
		panic("BUG: cannot encode marks: " + err.Error())
	}
	f(b)
}

// Learn ends what the store of the other process has ended, and tells the tiers.
func (s *Store) Learn(message []byte) error {
	var n news
	if err := json.Unmarshal(message, &n); err != nil {
		return fmt.Errorf("cannot use what the other process has purged: %w", err)
	}
	s.doubt(n.Doubted)
	for _, m := range n.Marks {
		if len(s.tiers) > 0 {
			s.marks.Add(m)
		}
		for _, a := range s.tiers {
			a.unswept.Store(true)
			if !a.released.Load() {
				a.news.add(m)
			}
		}
		s.end(m, math.MaxInt64, time.Now().UnixNano())
	}
	return nil
}

// Release gives the tiers that only one process can have to the process that replaces this
// one, after what waits for them was written, and tells that what other tiers do not know
// yet. From then on the store does without them.
func (s *Store) Release(tell func(message []byte)) error {
	var failed error
	for _, a := range s.tiers {
		if a.Shared() {
			a.news.hand(tell)
			continue
		}
		if err := a.release(); err != nil {
			failed = fmt.Errorf("cannot close the tier %q cleanly: %w", a.Name(), err)
		}
	}
	news{Doubted: s.doubted.Load()}.send(tell)
	return failed
}

// release ends the tier, once.
func (a *attached) release() error {
	if a.released.Swap(true) {
		return nil
	}
	close(a.stop)
	a.ends.Wait()
	return a.Tier.Close()
}

// hand tells the process that replaces this one what the tier is still to be told.
func (n *announcements) hand(tell func(message []byte)) {
	n.mu.Lock()
	var marks []tier.Mark
	for _, p := range n.purges {
		marks = append(marks, p.marks...)
	}
	for name, at := range n.changedAt {
		name.At, name.Node = at, n.a.store.node
		marks = append(marks, name)
	}
	n.mu.Unlock()
	if len(marks) > 0 {
		news{Marks: marks}.send(tell)
	}
}
