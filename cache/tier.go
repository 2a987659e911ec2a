package cache

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Tier is a place where entries live besides the near tier: Redis, or a disk.
// It keeps bytes and knows nothing of what they mean. Its methods may be called
// by any goroutine.
type Tier interface {
	// Name labels the tier in metrics and logs.
	Name() string
	// Shared says that others use it too, whose clocks may differ by a second.
	Shared() bool
	// Start makes the tier work. follow is called for each announcement, those
	// of the last day included, one after the other until Close returns. It
	// must not be slow to return itself: what can fail later is tried again in
	// the background.
	Start(follow func(message []byte)) error
	// Get returns what was stored, nil if there is nothing. It takes no longer
	// than its time-out, and fails with ErrUnavailable while the tier cannot be
	// reached or might not have seen all announcements.
	Get(key []byte) (value []byte, body Blob, err error)
	// Set stores value for about ttl, and with it body, a sealed blob of the
	// tier's own or nil. It is called in the background only.
	Set(key, value []byte, body Blob, ttl time.Duration) error
	// Blobs is the tier's place for large bodies, nil if it has none.
	Blobs() Blobs
	// Announce tells everybody who shares the tier. It is called in the
	// background only.
	Announce(message []byte) error
	// Close ends the tier's work and waits for it.
	Close() error
}

// ErrUnavailable: the tier cannot be used now. It costs a miss.
var ErrUnavailable = errors.New("tier is not available")

// maxTierTime is the longest that an entry stays in a tier. Announcements are
// remembered longer, so no purged entry can come back.
const (
	maxTierTime  = 24 * time.Hour
	maxMarkTime  = 26 * time.Hour
	maxTierQueue = 64 << 20 // bytes of bodies that wait to be written
)

// skew is how far the clocks of those who share a tier may differ.
const skew = int64(time.Second)

// TierStats are the numbers of one tier.
type TierStats struct {
	Name string
	// Hits and Misses count look-ups, Errors those that failed, Damaged what
	// could not be decoded, Purged what a purge had ended.
	Hits, Misses, Errors, Damaged, Purged uint64
	// Written and Dropped count entries to be stored.
	Written, Dropped uint64
	// Waiting is how many wait to be written.
	Waiting int
}

// attached is a tier with what the store needs to use it.
type attached struct {
	Tier
	store    *Store
	log      *slog.Logger
	compress int
	node     string

	queue   chan *Entry
	queued  atomic.Int64 // bytes
	kick    chan struct{}
	stop    chan struct{}
	mu      sync.Mutex
	unsent  []mark      // announcements that are still to be made
	unswept atomic.Bool // marks came since the last sweep
	ends    sync.WaitGroup
	marks   marks
	failing bool // work only

	hits, misses, errors, damaged, purged, written, dropped atomic.Uint64
}

// maxUnsent bounds the announcements that wait for a tier to come back; beyond
// it they become one that ends everything.
const maxUnsent = 10_000

// Attach adds a tier behind the near one and starts it; tiers are asked in the
// order they were attached. queue bounds the writes that wait, compress is the
// size from which bodies are compressed. The store owns the tier from here on.
// Attach must come before the store is used.
func (s *Store) Attach(t Tier, queue, compress int, log *slog.Logger) error {
	a := &attached{
		Tier: t, store: s, log: log, compress: compress, node: newNode(),
		queue: make(chan *Entry, max(queue, 1)), kick: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	a.marks.init()
	if t.Shared() {
		a.marks.skew = skew
	}
	if err := t.Start(a.follow); err != nil {
		return err
	}
	s.tiers = append(s.tiers, a)
	if b := t.Blobs(); b != nil && s.shelf == nil && b.Largest() > s.maxObject {
		s.shelf = &shelf{Blobs: b, tier: a}
	}
	a.ends.Go(a.work)
	return nil
}

// Close ends the tiers after what waits was written, as far as that goes.
func (s *Store) Close() error {
	if s.shelf != nil {
		s.shelf.ends.Wait()
	}
	var errs []error
	for _, a := range s.tiers {
		close(a.stop)
		a.ends.Wait()
		errs = append(errs, a.Tier.Close())
	}
	return errors.Join(errs...)
}

// TierStats are the numbers of all tiers behind the near one.
func (s *Store) TierStats() []TierStats {
	var list []TierStats
	for _, a := range s.tiers {
		list = append(list, TierStats{
			Name: a.Name(), Hits: a.hits.Load(), Misses: a.misses.Load(), Errors: a.errors.Load(), Damaged: a.damaged.Load(),
			Purged: a.purged.Load(), Written: a.written.Load(), Dropped: a.dropped.Load(), Waiting: len(a.queue),
		})
	}
	return list
}

// fromTiers looks for the entry that q selects behind the near tier and puts it
// there. It may block for as long as a tier's time-out.
func (s *Store) fromTiers(q *Request) *Entry {
	for i, a := range s.tiers {
		e := a.find(q)
		if e == nil {
			continue
		}
		s.put(e)
		for _, nearer := range s.tiers[:i] {
			nearer.store1(e)
		}
		return e
	}
	return nil
}

// toTiers stores e behind the near tier, in the background.
func (s *Store) toTiers(e *Entry) {
	for _, a := range s.tiers {
		a.store1(e)
	}
}

// store1 queues an entry. One with a blob belongs to the tier that keeps that.
func (a *attached) store1(e *Entry) {
	if e.blob != nil && a.store.shelf.tier != a {
		return
	}
	size := int64(len(e.body))
	if a.queued.Add(size) <= maxTierQueue+size {
		select {
		case a.queue <- e:
			return
		default:
		}
	}
	a.queued.Add(-size)
	a.dropped.Add(1)
	e.discard()
}

// announce tells the others of a purge, in the background and for as long as it
// takes.
func (a *attached) announce(m mark) {
	m.Node = a.node
	a.marks.add(m)
	a.unswept.Store(true)
	a.mu.Lock()
	if len(a.unsent) >= maxUnsent {
		a.unsent = []mark{{Node: a.node, At: m.At, All: true}}
	} else {
		a.unsent = append(a.unsent, m)
	}
	a.mu.Unlock()
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// work writes what is queued.
func (a *attached) work() {
	var buf []byte
	ticks := 0
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case e := <-a.queue:
			buf = a.take(buf, e)
		case <-a.stop:
			for a.report(a.tell()); len(a.queue) > 0 && !a.failing; {
				buf = a.take(buf, <-a.queue)
			}
			return
		case <-a.kick:
			a.report(a.tell())
		case <-again.C:
			if a.failing {
				a.report(a.tell())
			}
			ticks++
			if s := a.store.shelf; s != nil && s.tier == a && (a.unswept.Swap(false) || ticks%60 == 0) {
				s.sweep()
			}
		}
	}
}

// take writes one entry; buf is used again.
func (a *attached) take(buf []byte, e *Entry) []byte {
	a.queued.Add(-int64(len(e.body)))
	buf, err := a.write(buf[:0], e)
	a.report(err)
	if cap(buf) > 1<<20 {
		return nil
	}
	return buf
}

// tell makes the announcements that wait, in order, until one fails.
func (a *attached) tell() error {
	for {
		a.mu.Lock()
		if len(a.unsent) == 0 {
			a.mu.Unlock()
			return nil
		}
		m := a.unsent[0]
		a.mu.Unlock()
		if err := a.Announce(m.encode()); err != nil {
			return err
		}
		a.mu.Lock()
		if len(a.unsent) > 0 && a.unsent[0] == m {
			a.unsent = a.unsent[1:]
		}
		a.mu.Unlock()
	}
}

// report counts a failure, and logs the first and the end of a row of them.
func (a *attached) report(err error) {
	if err != nil {
		a.errors.Add(1)
	}
	if a.failing == (err != nil) {
		return
	}
	if a.failing = err != nil; a.failing {
		a.log.Warn("cache tier fails", "tier", a.Name(), "error", err)
	} else {
		a.log.Info("cache tier works again", "tier", a.Name())
	}
}

// write stores an entry. One that varies is stored under what selects it, and
// the key itself leads there.
func (a *attached) write(buf []byte, e *Entry) ([]byte, error) {
	ttl := e.keep(time.Now().UnixNano())
	if ttl < time.Second || a.marks.ended(e) != markNone {
		e.discard()
		return buf, nil
	}
	if e.blob != nil {
		if err := seal(e.blob); err != nil {
			return buf, nil // dropped, or told to whoever wrote it
		}
	}
	place := []byte(e.key)
	if len(e.vary) > 0 {
		if err := a.Set(place, appendPointer(nil, e), nil, maxTierTime); err != nil {
			return buf, err
		}
		place = variantPlace(e.key, e.vary, []byte(e.variant))
	}
	buf = appendEntry(buf, e, a.compress)
	if err := a.Set(place, buf, e.blob, ttl); err != nil {
		e.discard()
		return buf, err
	}
	a.written.Add(1)
	return buf, nil
}

// keep is how long the entry is of any use from now on.
func (e *Entry) keep(now int64) time.Duration {
	left := time.Duration(e.until() - now)
	left += time.Duration(max(e.swr, e.sie, e.disconnect)) * time.Second
	if len(e.etag) > 0 || e.hasModified {
		left = max(left, 0) + 10*time.Minute // it can be validated
	}
	return min(left, maxTierTime)
}

// find looks for what q selects.
func (a *attached) find(q *Request) *Entry {
	b, body, err := a.Get(q.key)
	if err == nil && isPointer(b) {
		names := readPointer(b)
		q.variant = q.Policy.appendVary(q.variant[:0], names, q.Header)
		b, body, err = a.Get(variantPlace(string(q.key), names, q.variant))
	}
	switch {
	case err != nil:
		a.errors.Add(1)
		return nil
	case b == nil:
		a.misses.Add(1)
		return nil
	}
	e, err := decodeEntry(b, body, a.store.hash)
	if err != nil || e.key != string(q.key) || !q.selects(e) {
		a.damaged.Add(1)
		return nil
	}
	switch a.marks.ended(e) {
	case markHard:
		a.purged.Add(1)
		return nil
	case markSoft:
		e.expire(q.now)
	}
	a.hits.Add(1)
	return e
}

// follow takes an announcement of somebody else's, or of one's own.
func (a *attached) follow(message []byte) {
	m, err := decodeMark(message)
	if err != nil {
		a.damaged.Add(1)
		return
	}
	a.marks.add(m)
	a.unswept.Store(true)
	if m.Node != a.node {
		a.store.end(m, m.At+a.marks.skew)
	}
}
