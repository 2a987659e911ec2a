package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"weir/cache/tier"
)

const (
	// announceWait is how long a tier may take for one announcement, and confirmWait how
	// long a purge waits for all tiers.
	announceWait = 2 * time.Second
	confirmWait  = 5 * time.Second
	// maxMessage bounds the marks of one announcement, in bytes.
	maxMessage = 32 << 10
	// maxChanges bounds the invalidations that wait for a tier, in bytes; beyond it the
	// oldest are forgotten. maxPurges bounds the purges, which are not forgotten: beyond it
	// they become one that ends everything.
	maxChanges = 4 << 20
	maxPurges  = 20_000
	// maxRepeated bounds the purges that are announced again to a tier that has lost them.
	maxRepeated = 10_000
)

// purgeNews are marks that a tier is to be told of together.
type purgeNews struct {
	marks []tier.Mark
	done  chan<- error // gets how the first try ended; nil afterwards, and if the caller does not wait
	noted bool         // in the note of what was not announced
}

// announcements are what a tier is still to be told.
type announcements struct {
	a      *attached
	keeper tier.Keeper // keeps notes of it over a restart; nil if nothing does
	wake   chan struct{}

	mu        sync.Mutex
	purges    []purgeNews
	changes   []tier.Mark         // what invalidations name, in order, each once
	changedAt map[tier.Mark]int64 // when, by what they name
	size      int                 // bytes of changes
	telling   int                 // how many are being announced
	forgotten uint64
	told      []tier.Mark // own purges that the tier was told of lately
	position  string      // of the last announcement that came from the tier
	kept      progress    // in the note
	noted     bool        // there is a note of purges that were not announced
}

// progress is how far a store has followed a tier, as a note.
type progress struct {
	Position string `json:"position"`
	Doubted  int64  `json:"doubted"`
}

func (n *announcements) init(a *attached) {
	n.a, n.keeper = a, a.store.keeper
	n.wake = make(chan struct{}, 1)
	n.changedAt = make(map[tier.Mark]int64)
}

// The names of a tier's notes.
func (n *announcements) unsentNote() string   { return n.a.Name() + ".unsent" }
func (n *announcements) progressNote() string { return n.a.Name() + ".progress" }

// recall takes up what a process before this one has left, and returns the position it had
// reached.
func (n *announcements) recall() string {
	if n.keeper == nil {
		return ""
	}
	text, err := n.keeper.Kept(n.progressNote())
	if errors.Is(err, tier.ErrUnavailable) { // the process before this one still has it
		n.position = n.a.store.recalled.Positions[n.a.Name()]
		return n.position
	}
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &n.kept)
	}
	if err != nil {
		n.a.Damaged(fmt.Errorf("cannot use the note of what %s has announced: %w", n.a.Name(), err))
	}
	n.position = n.kept.Position
	n.a.store.doubt(n.kept.Doubted)
	if text, err = n.keeper.Kept(n.unsentNote()); err != nil {
		n.a.Damaged(fmt.Errorf("cannot use the note of what %s is to be told: %w", n.a.Name(), err))
	}
	for line := range bytes.Lines(text) {
		marks, err := tier.DecodeMarks(line)
		if err != nil {
			n.a.Damaged(fmt.Errorf("cannot use the note of what %s is to be told: %w", n.a.Name(), err))
			continue
		}
		n.noted = true
		for _, m := range marks {
			n.a.store.marks.Add(m)
		}
		n.purges = append(n.purges, purgeNews{marks: marks, noted: true})
	}
	return n.position
}

// wakeUp makes the goroutine that announces begin with what waits.
func (n *announcements) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// purge announces purges. done gets nil once they last in the tier, or why they do not yet;
// they are announced again until they do.
func (n *announcements) purge(marks []tier.Mark) (done <-chan error) {
	c := make(chan error, 1)
	n.mu.Lock()
	n.addPurgeLocked(purgeNews{marks: marks, done: c})
	n.mu.Unlock()
	n.wakeUp()
	return c
}

// add announces a mark in the background.
func (n *announcements) add(m tier.Mark) {
	n.mu.Lock()
	if m.Purge {
		n.addPurgeLocked(purgeNews{marks: []tier.Mark{m}})
	} else {
		n.changes = append(n.changes, n.countChangeLocked(m)...)
		n.forgetLocked()
	}
	n.mu.Unlock()
	n.wakeUp()
}

func (n *announcements) addPurgeLocked(p purgeNews) {
	n.purges = append(n.purges, p)
	if len(n.purges) <= maxPurges {
		return
	}
	all := tier.Mark{Node: n.a.store.node, Purge: true, All: true}
	for _, p := range n.purges {
		for _, m := range p.marks {
			all.At = max(all.At, m.At)
		}
		if p.done != nil {
			p.done <- errors.New("too many purges wait")
		}
	}
	n.purges = []purgeNews{{marks: []tier.Mark{all}}}
}

// countChangeLocked takes marks up among those that wait, and returns what names those that
// did not wait already.
func (n *announcements) countChangeLocked(marks ...tier.Mark) (names []tier.Mark) {
	for _, m := range marks {
		name := m.Named()
		at, waits := n.changedAt[name]
		n.changedAt[name] = max(at, m.At)
		if !waits {
			names = append(names, name)
			n.size += m.Size()
		}
	}
	return names
}

// forgetLocked drops the oldest changes that are too many.
func (n *announcements) forgetLocked() {
	for n.size > maxChanges {
		n.takeChangeLocked()
		n.forgotten++
	}
}

// takeChangeLocked removes the oldest change.
func (n *announcements) takeChangeLocked() tier.Mark {
	m := n.changes[0]
	n.changes = n.changes[1:]
	n.size -= m.Size()
	at := n.changedAt[m]
	delete(n.changedAt, m)
	m.At, m.Node = at, n.a.store.node
	return m
}

// repeat announces the purges of the last day again, to a tier that may have lost them.
func (n *announcements) repeat() {
	n.mu.Lock()
	for _, m := range n.told {
		n.addPurgeLocked(purgeNews{marks: []tier.Mark{m}})
	}
	n.told = nil
	n.mu.Unlock()
	n.wakeUp()
}

// reached notes up to which position announcements came from the tier.
func (n *announcements) reached(position string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.position = position
}

// count says how many purges and invalidations wait, and how many invalidations were forgotten.
func (n *announcements) count() (waiting int, forgotten uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.purges) + len(n.changes) + n.telling, n.forgotten
}

// run tells the tier what waits, again and again if that fails.
func (n *announcements) run() {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case <-n.a.stop:
			n.tell()
			n.leave()
			return
		case <-n.wake:
		case <-again.C:
			n.keepProgress()
		}
		n.tell()
	}
}

// tell makes the announcements that wait, purges first, until one fails.
func (n *announcements) tell() {
	for {
		list, marks := n.takePurges()
		if len(list) == 0 {
			break
		}
		err := n.announce(marks, true)
		n.tried(list, marks, err)
		if err != nil {
			return
		}
	}
	for {
		marks := n.takeChanges()
		if len(marks) == 0 {
			return
		}
		err := n.announce(marks, false)
		n.mu.Lock()
		n.telling = 0
		if err != nil {
			n.changes = append(n.countChangeLocked(marks...), n.changes...)
			n.forgetLocked()
		}
		n.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// takePurges takes as many as one announcement has room for.
func (n *announcements) takePurges() (list []purgeNews, marks []tier.Mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	size, i := 0, 0
	for ; i < len(n.purges) && size < maxMessage; i++ {
		for _, m := range n.purges[i].marks {
			marks, size = append(marks, m), size+m.Size()
		}
	}
	list = slices.Clone(n.purges[:i])
	n.purges = slices.Delete(n.purges, 0, i)
	n.telling = i
	return list, marks
}

func (n *announcements) takeChanges() (marks []tier.Mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for size := 0; len(n.changes) > 0 && size < maxMessage; {
		m := n.takeChangeLocked()
		marks, size = append(marks, m), size+m.Size()
	}
	n.telling = len(marks)
	return marks
}

// announce tells the tier.
func (n *announcements) announce(marks []tier.Mark, purge bool) error {
	a := tier.Announcement{Message: tier.EncodeMarks(marks), Purge: purge}
	for _, m := range marks {
		if m.Key != "" && !m.Soft {
			a.Keys = append(a.Keys, []byte(m.Key))
		}
	}
	ctx, done := context.WithTimeout(context.Background(), announceWait)
	defer done()
	err := n.a.Announce(ctx, a)
	if err != nil {
		n.a.errors.Add(1)
	}
	if !errors.Is(err, tier.ErrUnavailable) { // the tier reports why it cannot connect
		n.a.state.set(announcing, err)
	}
	return err
}

// tried ends a try to announce purges. Those that failed are noted before the caller hears of
// it, and tried again.
func (n *announcements) tried(list []purgeNews, marks []tier.Mark, err error) {
	if err != nil {
		n.note(list)
	}
	for i := range list {
		if list[i].done != nil {
			list[i].done <- err
			list[i].done = nil
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.telling = 0
	if err != nil {
		n.purges = append(list, n.purges...)
		return
	}
	for _, m := range marks {
		if m.Node == n.a.store.node {
			n.told = append(n.told, m)
		}
	}
	n.told = n.told[max(len(n.told)-maxRepeated, 0):]
	if n.noted && len(n.purges) == 0 && n.keeper.Keep(n.unsentNote(), nil) == nil {
		n.noted = false
	}
}

// note adds purges to the note of what was not announced.
func (n *announcements) note(list []purgeNews) {
	if n.keeper == nil {
		return
	}
	var text []byte
	for i := range list {
		if !list[i].noted {
			text = append(append(text, tier.EncodeMarks(list[i].marks)...), '\n')
		}
	}
	if len(text) == 0 {
		return
	}
	if err := n.keeper.Extend(n.unsentNote(), text); err != nil {
		if !errors.Is(err, tier.ErrUnavailable) {
			n.a.state.set(announcing, err)
		}
		return
	}
	for i := range list {
		list[i].noted = true
	}
	n.mu.Lock()
	n.noted = true
	n.mu.Unlock()
}

// keepProgress notes how far the store has followed the tier, if that has changed.
func (n *announcements) keepProgress() {
	if n.keeper == nil {
		return
	}
	n.mu.Lock()
	now := progress{Position: n.position, Doubted: n.a.store.doubted.Load()}
	known := now == n.kept
	n.mu.Unlock()
	if known {
		return
	}
	text, err := json.Marshal(now)
	if err == nil && n.keeper.Keep(n.progressNote(), text) == nil {
		n.kept = now
	}
}

// leave notes everything for the next process.
func (n *announcements) leave() {
	n.keepProgress()
	list := n.purges
	for marks := n.takeChanges(); len(marks) > 0; marks = n.takeChanges() {
		list = append(list, purgeNews{marks: marks})
	}
	n.note(list)
}
