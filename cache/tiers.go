package cache

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/cache/rule"
	"weir/cache/tier"
)

// maxTierQueue bounds the bytes of bodies that wait to be written to a tier.
const maxTierQueue = 64 << 20

// TierStats are the numbers of one tier.
type TierStats struct {
	Name string
	// Up says that the tier works, as far as it was tried.
	Up bool
	// Hits and Misses count look-ups, Errors those that failed, Damaged what
	// could not be decoded, Purged what a purge had ended.
	Hits, Misses, Errors, Damaged, Purged uint64
	// Written and Dropped count entries to be stored.
	Written, Dropped uint64
	// Waiting is how many wait to be written, Unannounced how many purges and
	// invalidations the tier is still to be told. Forgotten counts the invalidations of
	// which it was not told in the end.
	Waiting, Unannounced int
	Forgotten            uint64
}

// attached is a tier with what the store needs to use it.
type attached struct {
	tier.Tier
	store    *Store
	log      *slog.Logger
	compress int
	state    condition
	news     announcements
	from     string // up to where a process before this one was told
	caughtUp atomic.Bool
	locals   []*attached // if it is shared, those that are not

	queue  chan *Entry
	queued atomic.Int64 // bytes
	// released says that another process has the tier now.
	released atomic.Bool
	unswept  atomic.Bool // marks came since the last sweep
	stop     chan struct{}
	ends     sync.WaitGroup

	hits, misses, errors, damaged, purged, written, dropped atomic.Uint64
}

// Attach adds a tier and starts it; after the memory, tiers are asked in the
// order they were attached. queue bounds the writes that wait, compress is the
// size from which bodies are compressed. The store owns the tier from here on.
// Attach must come before the store is used, and tiers that are not shared come first.
func (s *Store) Attach(t tier.Tier, queue, compress int, log *slog.Logger) error {
	a := &attached{
		Tier: t, store: s, log: log, compress: compress,
		queue: make(chan *Entry, max(queue, 1)), stop: make(chan struct{}),
	}
	a.state.init(t.Name(), log)
	for _, other := range s.tiers {
		if t.Shared() && !other.Shared() {
			a.locals = append(a.locals, other)
		}
	}
	a.news.init(a)
	if t.Shared() {
		s.skew.Store(rule.Skew)
	}
	s.tiers = append(s.tiers, a)
	a.from = a.news.recall()
	if err := t.Start(a, a.from); err != nil {
		s.tiers = s.tiers[:len(s.tiers)-1]
		return err
	}
	if k, ok := t.(tier.Keeper); ok && s.keeper == nil {
		s.keeper = k
	}
	if b := t.Blobs(); b != nil && s.blobs == nil && b.Largest() > s.maxObject {
		s.blobs = &blobStore{Blobs: b, tier: a}
	}
	a.ends.Go(a.work)
	a.ends.Go(a.news.run)
	return nil
}

// Close ends the tiers after what waits was written, as far as that goes.
func (s *Store) Close() error {
	if s.blobs != nil {
		s.blobs.ends.Wait()
	}
	var errs []error
	for _, a := range slices.Backward(s.tiers) { // the first may keep notes of the others
		errs = append(errs, a.release())
	}
	return errors.Join(errs...)
}

// TierStats are the numbers of all tiers that were attached.
func (s *Store) TierStats() []TierStats {
	var list []TierStats
	for _, a := range s.tiers {
		unannounced, forgotten := a.news.count()
		list = append(list, TierStats{
			Name: a.Name(), Up: a.state.works(), Hits: a.hits.Load(), Misses: a.misses.Load(), Errors: a.errors.Load(), Damaged: a.damaged.Load(),
			Purged: a.purged.Load(), Written: a.written.Load(), Dropped: a.dropped.Load(), Waiting: len(a.queue),
			Unannounced: unannounced, Forgotten: forgotten,
		})
	}
	return list
}

// fromTiers looks for the entry that q selects in the tiers and puts it into the
// near one, unless it was purged meanwhile, which f knows. It may block for as long as a
// tier's time-out.
func (s *Store) fromTiers(q *Request, f *Fetch) *Entry {
	for i, a := range s.tiers {
		e := a.find(q)
		if e == nil {
			continue
		}
		if s.put(e, f) == rule.ReasonDoomed {
			return nil
		}
		for _, nearer := range s.tiers[:i] {
			nearer.enqueue(e)
		}
		return e
	}
	return nil
}

// toTiers stores e in the attached tiers, in the background.
func (s *Store) toTiers(e *Entry) {
	for _, a := range s.tiers {
		a.enqueue(e)
	}
}

// enqueue queues an entry. One with a blob belongs to the tier that keeps that.
func (a *attached) enqueue(e *Entry) {
	if e.blob != nil && a.store.blobs.tier != a {
		return
	}
	if a.released.Load() {
		e.discard()
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

// work writes what is queued.
func (a *attached) work() {
	var buf []byte
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ticks := 1; ; {
		select {
		case e := <-a.queue:
			buf = a.take(buf, e)
		case <-a.stop:
			for len(a.queue) > 0 && a.state.works() {
				buf = a.take(buf, <-a.queue)
			}
			return
		case <-tick.C:
			ticks++
			if s := a.store.blobs; s != nil && s.tier == a && (a.unswept.Swap(false) || ticks%60 == 0) {
				s.sweep()
			}
		}
	}
}

// take writes one entry; buf is used again.
func (a *attached) take(buf []byte, e *Entry) []byte {
	a.queued.Add(-int64(len(e.body)))
	buf, err := a.write(buf[:0], e)
	switch {
	case errors.Is(err, tier.ErrDropped):
		a.dropped.Add(1)
	case errors.Is(err, tier.ErrUnavailable):
		a.errors.Add(1) // the tier reports why it cannot connect
	case err != nil:
		a.errors.Add(1)
		a.state.set(writing, err)
	}
	if cap(buf) > 1<<20 {
		return nil
	}
	return buf
}

// write stores an entry. One that varies is stored under what selects it, and
// the key itself leads there.
func (a *attached) write(buf []byte, e *Entry) ([]byte, error) {
	ttl := e.keep(time.Now().UnixNano())
	if ttl < time.Second || a.ended(e) != tier.NotEnded || e.doubtful(a.store.doubted.Load()) {
		e.discard()
		return buf, nil
	}
	if e.blob != nil {
		if err := seal(e.blob); err != nil {
			return buf, nil // dropped; blobStore.keep reports other failures
		}
	}
	key := rule.PlainKey(e.key)
	place := []byte(key)
	if len(e.Vary) > 0 {
		if err := a.Set(place, tier.AppendPointer(nil, e.Vary), nil, tier.MaxTime); err != nil {
			return buf, err
		}
		place = tier.VariantKey(key, e.Vary, []byte(e.variant))
	}
	buf = e.record().Append(buf, a.compress)
	if err := a.Set(place, buf, e.blob, ttl); err != nil {
		e.discard()
		return buf, err
	}
	a.written.Add(1)
	a.state.set(writing, nil)
	return buf, nil
}

// keep is how long the entry is of any use from now on.
func (e *Entry) keep(now int64) time.Duration {
	left := time.Duration(e.Until(e.purged.Load()) - now)
	left += time.Duration(max(e.SWR, e.SIE, e.Disconnect)) * time.Second
	if e.Validatable() {
		left = max(left, 0) + 10*time.Minute // it can be validated
	}
	return min(left, tier.MaxTime)
}

// find looks for what q selects.
func (a *attached) find(q *Request) *Entry {
	if a.released.Load() || !a.store.informed(a) {
		a.misses.Add(1)
		return nil
	}
	// A variation is not in a tier's key: a request for the URL in that form finds the entry
	// where the variation is not known yet, as after a restart.
	key := rule.PlainKey(string(q.Key))
	b, body, err := a.Get([]byte(key))
	if err == nil && tier.IsPointer(b) {
		names := tier.ReadPointer(b)
		q.variant = q.AppendVariant(q.variant[:0], names)
		b, body, err = a.Get(tier.VariantKey(key, names, q.variant))
	}
	switch {
	case errors.Is(err, tier.ErrDamaged):
		a.Damaged(err)
		return nil
	case err != nil:
		a.errors.Add(1)
		return nil
	case b == nil:
		a.misses.Add(1)
		return nil
	}
	r, err := tier.Decode(b, body)
	if err != nil || rule.PlainKey(r.Key) != key {
		a.damaged.Add(1)
		return nil
	}
	if int64(len(r.Body)) > a.store.maxObject { // of a weir with a larger max_object
		a.misses.Add(1)
		return nil
	}
	e := a.store.entryOf(r, body)
	if !q.named(e) {
		a.misses.Add(1)
		return nil
	}
	if !q.selects(e) {
		a.damaged.Add(1)
		return nil
	}
	switch a.ended(e) {
	case tier.EndedWholly:
		a.purged.Add(1)
		return nil
	case tier.EndedSoftly:
		e.expire(q.At)
	}
	if a.Shared() {
		e.vouch(q.At, q.doubted)
	}
	a.hits.Add(1)
	return e
}

// ended says whether e was purged after it came in.
func (a *attached) ended(e *Entry) tier.Ended {
	return a.store.marks.Ended(e.key, e.Received, e.Groups, a.store.skew.Load())
}
