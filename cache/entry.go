package cache

import (
	"strings"
	"sync/atomic"

	"weir/cache/rule"
	"weir/cache/tier"
)

// Entry is a stored response, or one that is being stored. Everything in it is
// a copy of its own and never changes, but for the atomics; so any number
// of exchanges may write its bytes to their clients at once, and the garbage
// collector takes it when the last of them is done.
type Entry struct {
	rule.Stored
	key     string
	hash    uint64
	v       *rule.Variation // what of the query counts: key is its key; nil if all does
	variant string          // what its request said in the fields of Vary
	body    []byte
	blob    tier.Blob // has the body instead, if it is too large for memory
	// hitForMiss marks a key whose answers may not be stored, until FreshUntil;
	// such an entry has no response.
	hitForMiss bool
	// partial says that pieces are all there is of the body, and Length is that
	// of the whole; the pieces are in order and do not touch.
	partial bool
	pieces  []piece

	// vouched is until when all purges by others are known to have spared the entry: a tier that
	// others share has given it, or it was asked for only after what Store.doubted is about. 0 if
	// nothing is known beyond Received.
	vouched int64
	// purged is when a soft purge ended the lifetime, in ns; 0 means never.
	purged atomic.Int64

	// hits are the requests that it answered, and the variants that it replaced.
	hits atomic.Uint64

	// encoded are compressed copies of body; nil as long as none was asked for.
	encoded atomic.Pointer[encodings]
	// copied is a second copy of body, asked how often there might have been one.
	copied atomic.Pointer[bodyCopy]
	asked  atomic.Uint32
}

// entryOverhead is what an entry costs beside its bytes: the Entry, its node and
// resource, its place in the maps, and what the allocator rounds up. TestMemoryCost
// compares it with the heap.
const entryOverhead = 512

// cost is the memory that the entry holds.
func (e *Entry) cost() int64 {
	n := entryOverhead + cap(e.Head) + cap(e.body) + len(e.key) + len(e.variant)
	if strings.IndexByte(e.key, '\n') >= 0 {
		n += 128 // its place in shard.extended
	}
	if e.v != nil {
		n += 64 + e.v.Size() // its place in Store.variations
	}
	for _, s := range e.Vary {
		n += 16 + len(s)
	}
	for _, s := range e.Groups {
		n += 160 + len(s)
	}
	for _, p := range e.pieces {
		n += 32 + cap(p.data)
	}
	if all := e.encoded.Load(); all != nil {
		for _, b := range all {
			n += encodedCost(b)
		}
	}
	return int64(n)
}

// Key is the entry's key, for Cache-Status and the inspector.
func (e *Entry) Key() string { return e.key }

// doubtful says whether the entry may have been purged by another weir whose purges had not
// arrived until then.
func (e *Entry) doubtful(until int64) bool { return max(e.Received, e.vouched) <= until }

// vouch notes that no purge had ended the entry at now. doubted was Store.doubted then, and is later
// if the clock was set back since.
func (e *Entry) vouch(now, doubted int64) {
	if e.vouched = now; doubted > 0 {
		e.vouched = max(now, doubted+1)
	}
}

// expire ends the entry's lifetime. The first time counts.
func (e *Entry) expire(now int64) { e.purged.CompareAndSwap(0, now) }

// withBody is the entry with its whole body, which it keeps.
func (e *Entry) withBody(body []byte) *Entry {
	n := e.bare()
	n.Stored, n.body = e.WithLength(int64(len(body))), body
	return n
}

// withBlob is the entry with its whole body on disk.
func (e *Entry) withBlob(b tier.Blob) *Entry {
	n := e.bare()
	n.Stored, n.blob = e.WithLength(b.Length()), b
	return n
}

// withPieces is the entry with pieces of its body, which it keeps.
func (e *Entry) withPieces(pieces []piece) *Entry {
	n := e.bare()
	n.partial, n.pieces = true, pieces
	return n
}

// bare is a copy of the entry without body, pieces and atomics.
func (e *Entry) bare() *Entry {
	return &Entry{Stored: e.Stored, key: e.key, hash: e.hash, v: e.v, variant: e.variant, hitForMiss: e.hitForMiss, vouched: e.vouched}
}

// record is the entry as tiers keep it.
func (e *Entry) record() *tier.Record {
	return &tier.Record{Stored: e.Stored, Key: e.key, Variant: e.variant, Purged: e.purged.Load(), Body: e.body}
}

// entryOf is what a tier kept as an entry of s. blob has its body if that is not nil.
func (s *Store) entryOf(r *tier.Record, blob tier.Blob) *Entry {
	e := &Entry{Stored: r.Stored, key: r.Key, hash: s.hash([]byte(r.Key)), variant: r.Variant, body: r.Body, blob: blob}
	if rule.KeyVaries(r.Key) {
		e.v = s.variations.admit(s.variations.path([]byte(r.Key)), rule.ParseVariation(e.Fields().Joined("No-Vary-Search")))
	}
	e.purged.Store(r.Purged)
	return e
}
