package cache

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"weir/cache/evict"
	"weir/cache/rule"
	"weir/cache/tier"
	"weir/config"
)

// Store keeps entries. Any number of exchanges may use it at once; it outlives
// the generations of a configuration as long as its own part stays the same.
type Store struct {
	seed      maphash.Seed
	shards    []shard
	limit     int64
	maxObject int64
	used      *atomic.Int64
	filling   atomic.Int64
	next      atomic.Uint32 // the shard to evict from when one's own is empty
	evicted   atomic.Uint64
	tiers     []*attached  // asked for what is not in memory
	node      string       // the store's name among those who share tiers
	marks     *tier.Marks  // of tiers; empty if there are none
	skew      atomic.Int64 // how far the clocks of those who fill the tiers may differ, in ns
	begun     time.Time    // when the store was made
	doubted   atomic.Int64 // what was received until then must be validated, in ns
	newest    atomic.Int64 // when the newest of what was fetched was received, in ns
	keeper    tier.Keeper  // of notes on other tiers; nil if there is none
	blobs     *blobStore   // for large bodies; nil if there is none
	pages     *filePages   // for sending without a copy; nil if there are none
	recalled  Memory       // of the process before this one
	other     Link
	alone     atomic.Uint64  // numbers the fetches that no request joins
	encoding  [16]sync.Mutex // by an entry's hash, held while its body is compressed

	variations variations
	ends       ends
}

// NewStore makes a store. c.Policy is one of evict.Policies.
func NewStore(c *config.Cache) (*Store, error) {
	ranking, err := evict.New[*Entry](c.Policy)
	if err != nil {
		return nil, err
	}
	if err := checkSizes(c); err != nil {
		return nil, err
	}
	// Many shards for a large store, one for a small one, where the order of
	// leaving matters more than a lock.
	count := 1
	for count < 64 && int64(count) < int64(c.Size)/(1<<20) {
		count *= 2
	}
	s := &Store{
		seed:      maphash.MakeSeed(),
		shards:    make([]shard, count),
		limit:     int64(c.Size),
		maxObject: int64(c.MaxObject),
		used:      new(atomic.Int64),
		node:      tier.NewNode(),
		marks:     tier.NewMarks(tier.MarksLimit),
		begun:     time.Now(),
	}
	s.variations.seed = s.seed
	for i := range s.shards {
		s.shards[i].init(ranking(), &s.variations)
	}
	s.pages = newFilePages(s.limit, s.used)
	return s, nil
}

func checkSizes(c *config.Cache) error {
	if c.Size <= 0 {
		return fmt.Errorf("cannot use cache size %s: expected more than 0", c.Size)
	}
	if c.MaxObject <= 0 || c.MaxObject > c.Size {
		return fmt.Errorf("cannot use max_object %s: expected more than 0 and at most size, %s", c.MaxObject, c.Size)
	}
	return nil
}

// hash places a key. The bits that choose the shard are those of its URL, so that a
// purge finds all keys of a URL in one shard.
func (s *Store) hash(key []byte) uint64 {
	url := rule.KeyURL(key)
	hash := maphash.Bytes(s.seed, url)
	if len(url) == len(key) {
		return hash
	}
	low := uint64(len(s.shards) - 1)
	return maphash.Bytes(s.seed, key)&^low | hash&low
}

func (s *Store) shard(hash uint64) *shard { return &s.shards[hash&uint64(len(s.shards)-1)] }

// Found is what a look-up found.
type Found struct {
	// Outcome is what to do.
	Outcome rule.Outcome
	// Reason is its name in detail; none for Fresh.
	Reason rule.Reason
	// Entry answers if Outcome is Fresh or Stale. If it is Revalidate it is
	// what to validate, and what may answer if the origin fails.
	Entry *Entry
	// Refresh says that a Stale entry should be validated in the background.
	Refresh bool
	// Collapsed says that another request's fetch brought the entry.
	Collapsed bool

	// uncacheable is when an answer for the key was noted not to be storable, in ns; 0 if
	// there is no such note.
	uncacheable int64
	fetch       *Fetch // still fetching the body of Entry
}

// InMemory says whether Answer can be given without waiting for a file or a fetch.
func (f *Found) InMemory() bool { return f.Entry != nil && f.Entry.blob == nil && f.fetch == nil }

// Lookup looks a request up. It prepares q, does not block and does not
// allocate.
func (s *Store) Lookup(q *Request) Found {
	q.prepare(s)
	if q.Bypass != rule.ReasonNone {
		return Found{Outcome: rule.Bypass, Reason: q.Bypass}
	}
	e, uncacheable, missed := s.find(q)
	return q.decide(e, uncacheable, missed)
}

// decide says what an entry, or none, means for the request.
func (q *Request) decide(e *Entry, uncacheable int64, missed rule.Reason) Found {
	f := Found{Outcome: rule.Miss, Reason: missed, Entry: e, uncacheable: uncacheable}
	if e != nil {
		f.Outcome, f.Reason = q.judge(e)
		switch f.Outcome {
		case rule.Revalidate:
			if f.Reason == rule.ReasonStale {
				f.Reason = cmp.Or(q.Policy.Withheld(&e.Stored, e.purged.Load(), q.At, false), f.Reason)
			}
		case rule.Fresh, rule.Stale:
			f.Refresh = f.Reason == rule.ReasonStaleWhileRevalidate
			if q.Conditional() && e.Precondition(&q.Request) == rule.AskOrigin {
				return Found{Outcome: rule.Bypass, Reason: rule.ReasonPrecondition}
			}
			e.hits.Add(1)
			return f
		}
	}
	if q.Conditional() && q.ForOrigin() {
		return Found{Outcome: rule.Bypass, Reason: rule.ReasonPrecondition}
	}
	if q.Control.OnlyIfCached {
		return Found{Outcome: rule.Unavailable, Reason: rule.ReasonOnlyIfCached}
	}
	return f
}

// Answer makes the answer from what was found. If ok is false there is none:
// either only the origin can judge the client's own condition, and the caller
// forwards the request as it is; or the body of the entry cannot be had any
// more, and found is what a look-up would find now. Once ok, a Reader in the answer
// must be closed.
func (s *Store) Answer(q *Request, found *Found) (a Answer, ok bool) {
	e := found.Entry
	a, ok = q.Answer(e)
	switch {
	case !ok, a.Bodyless, a.Status == 416:
	case e.blob != nil:
		r, err := s.newBlobReader(e, a.runs)
		if err != nil {
			s.dropDamaged(e, err)
			*found = q.decide(nil, 0, rule.ReasonEvicted)
			return Answer{}, false
		}
		a.Reader = r
	case found.fetch != nil && e.body == nil:
		first := int64(0)
		if a.Status == 206 {
			list, _ := q.spans(e)
			first = list[0].First
		}
		r, reason := found.fetch.reader(first, a.Length)
		if r == nil {
			*found = q.decide(nil, 0, reason)
			return Answer{}, false
		}
		a.Reader = r
	}
	return a, ok
}

// StaleFor says whether what was found may answer although it is stale,
// because the origin failed, and under which name.
func (f *Found) StaleFor(q *Request, failure rule.Failure) (rule.Reason, bool) {
	if f.Entry == nil || f.Outcome != rule.Revalidate {
		return rule.ReasonNone, false
	}
	return q.mayAnswer(f.Entry, failure)
}

// Withheld says why what was found may not answer although a stale window is open, when
// the origin cannot be reached; none if that is not so.
func (f *Found) Withheld(q *Request) rule.Reason {
	if f.Entry == nil || f.Outcome != rule.Revalidate {
		return rule.ReasonNone
	}
	return q.Policy.Withheld(&f.Entry.Stored, f.Entry.purged.Load(), q.At, true)
}

// keep stores e, which f brought, in all tiers, or says why not.
func (s *Store) keep(e *Entry, f *Fetch) rule.Reason {
	reason := s.put(e, f)
	if reason == rule.ReasonNone {
		s.toTiers(e)
	}
	return reason
}

// put stores e, which f brought, in the near tier and makes room for it, or says why not.
// f is nil for a note.
func (s *Store) put(e *Entry, f *Fetch) rule.Reason {
	cost := e.cost()
	sh := s.shard(e.hash)
	if cost > s.limit || !s.reserve(cost, sh) {
		return rule.ReasonTooLarge
	}
	moved := f != nil && f.moves(e)
	if moved {
		s.variations.hold(e.key, e.v) // or a purge from here on would not find e
		defer s.variations.release(e.key, e.v)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f != nil && f.isDoomed() || moved && f.ends != s.ends.of(f.path) {
		// Decided under the lock with which a purge dooms: either the purge sees e, or
		// this sees the purge.
		s.used.Add(-cost)
		return rule.ReasonDoomed
	}
	s.used.Add(-sh.insertLocked(e, cost))
	return rule.ReasonNone
}

// reserve makes room for n bytes, which it counts as used. Entries of sh go
// first; nil means those of all shards in turn. It reports false if there is no
// room.
func (s *Store) reserve(n int64, sh *shard) bool {
	for {
		used := s.used.Load()
		if used+n <= s.limit {
			if s.used.CompareAndSwap(used, used+n) {
				return true
			}
			continue
		}
		if !s.evict(sh) {
			return false
		}
	}
}

// evict drops one entry, of sh if it has any, else of the next shard that has.
// It reports false if nothing is left to drop.
func (s *Store) evict(sh *shard) bool {
	for range len(s.shards) + 1 {
		if sh == nil {
			sh = &s.shards[s.next.Add(1)&uint32(len(s.shards)-1)]
		}
		sh.mu.Lock()
		if n := sh.ranking.Victim(); n != nil {
			s.used.Add(-sh.removeLocked(n))
			sh.mu.Unlock()
			s.evicted.Add(1)
			return true
		}
		sh.mu.Unlock()
		sh = nil
	}
	return false
}

// Stats are numbers for metrics and the admin page.
type Stats struct {
	// Entries and Bytes are what the near tier holds, Limit its bound.
	Entries, Bytes, Limit int64
	// Copied is the part of Bytes that second copies of bodies have.
	Copied int64
	// Filling are the bytes of bodies that are being fetched.
	Filling int64
	// Evicted counts entries that left because the tier was full.
	Evicted uint64
}

// Stats reports the numbers of now.
func (s *Store) Stats() Stats {
	st := Stats{Bytes: s.used.Load(), Limit: s.limit, Filling: s.filling.Load(), Evicted: s.evicted.Load()}
	if s.pages != nil {
		st.Copied = s.pages.bytes()
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, r := range sh.resources {
			for ; r != nil; r = r.next {
				st.Entries += int64(len(r.nodes))
			}
		}
		sh.mu.Unlock()
	}
	return st
}
