package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sync/atomic"
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

// Other is the other process of an upgrade, while both serve.
type Other interface {
	// Tell gives the other process a message for its Learn, in the order of the calls, and does not block.
	Tell(message []byte)
	// Await returns nil when the other process has learned all that it was told before, or has ended,
	// and the error of ctx if that ends first.
	Await(ctx context.Context) error
}

// Link leads to the other process of an upgrade, while both serve. The zero Link leads nowhere, and what it is told is dropped. Its methods may be
// called from any goroutine.
type Link struct{ other atomic.Pointer[Other] }

// Connect makes the link lead to other. nil ends that.
func (l *Link) Connect(other Other) {
	if other == nil {
		l.other.Store(nil)
		return
	}
	l.other.Store(&other)
}

// Other returns where the link leads; nil if it leads nowhere.
func (l *Link) Other() Other {
	if other := l.other.Load(); other != nil {
		return *other
	}
	return nil
}

// Tell tells the other process, if there is one, of a change: about and the change as JSON.
func (l *Link) Tell(about string, change any) {
	other := l.Other()
	if other == nil {
		return
	}
	text, err := json.Marshal(change)
	if err != nil {
		panic("BUG: cannot encode a change: " + err.Error())
	}
	other.Tell(append([]byte(about), text...))
}

// Await waits until the other process, if there is one, has learned what it was told, or returns why it does not
// wait any more.
func (l *Link) Await(ctx context.Context) error {
	if other := l.Other(); other != nil {
		return other.Await(ctx)
	}
	return nil
}

// Connect makes the store tell other, for the Learn of its store, whenever entries are purged or
// invalidated. Who purged or invalidated waits until other has learned that. nil ends that.
func (s *Store) Connect(other Other) { s.other.Connect(other) }

// otherName is the other process among what is Pending of a purge.
const otherName = "the other process of the upgrade"

// otherLimit bounds how long an invalidation waits for the other process of an upgrade.
const otherLimit = time.Second

// awaitInvalidation waits until the other process, if there is one, has learned what was invalidated, so that
// a client who has its answer finds no older one there.
func (s *Store) awaitInvalidation() {
	if s.other.Other() == nil {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), otherLimit)
	defer done()
	s.other.Await(ctx) // a process that does not answer must not hold the client up
}

// news is a message from one process to the other.
type news struct {
	Marks   []tier.Mark `json:"marks,omitempty"`
	Doubted int64       `json:"doubted,omitempty"`
}

// tell tells the other process, if there is one.
func (s *Store) tell(n news) { s.other.Tell("", n) }

// Lost returns a message for the Learn of the other process's store, of which that did not learn all that it was to be
// told: what it has received until now is validated before it answers.
func Lost() []byte {
	text, err := json.Marshal(news{Doubted: time.Now().UnixNano()})
	if err != nil {
		panic("BUG: cannot encode a time: " + err.Error())
	}
	return text
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
// one, after what waits for them was written, and tells that process what other tiers do not know
// yet. From then on the store does without them.
func (s *Store) Release() error {
	var failed error
	var waiting []tier.Mark
	for _, a := range s.tiers {
		if a.Shared() {
			waiting = append(waiting, a.news.waiting()...)
			continue
		}
		if err := a.release(); err != nil {
			failed = fmt.Errorf("cannot close the tier %q cleanly: %w", a.Name(), err)
		}
	}
	s.tell(news{Marks: waiting, Doubted: s.doubted.Load()})
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

// waiting returns what the tier is still to be told.
func (n *announcements) waiting() (marks []tier.Mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.purges {
		marks = append(marks, p.marks...)
	}
	for name, at := range n.changedAt {
		name.At, name.Node = at, n.a.store.node
		marks = append(marks, name)
	}
	return marks
}
