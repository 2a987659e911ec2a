package cache

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/cache/rule"
	"weir/cache/tier"
)

// A body above max_object goes to a blob while it is fetched: a goroutine of
// its own writes what the fill holds, so that a disk that hangs holds up nobody
// for long. The fill keeps in memory what is not written yet and the last
// recent bytes, for readers that keep pace; the others read from the blob.
//
// A disk that fails, is full or does nothing for diskWait makes the fill one
// that is not stored: it goes on for those who read.
const (
	recent   = 256 << 10
	diskWait = 2 * time.Second
)

var errSlow = errors.New("disk is too slow")

// shelf is where a store keeps bodies that are too large for memory.
type shelf struct {
	tier.Blobs
	tier    *attached // to which the blobs belong
	failing atomic.Bool
	ends    sync.WaitGroup
}

// report counts a body that could not be stored or opened, and logs the first
// and the end of a row of them.
func (s *shelf) report(err error) {
	if err != nil {
		s.tier.errors.Add(1)
	}
	if failing := err != nil; s.failing.CompareAndSwap(!failing, failing) {
		if failing {
			s.tier.log.Warn("large bodies cannot be stored or opened", "tier", s.tier.Name(), "error", err)
		} else {
			s.tier.log.Info("large bodies are stored again", "tier", s.tier.Name())
		}
	}
}

// keep puts an entry whose blob is written, and open, into its tier.
func (s *shelf) keep(e *Entry) {
	defer e.blob.Close()
	if err := e.blob.Seal(); err != nil {
		if !errors.Is(err, tier.ErrDropped) {
			s.report(err)
			e.blob.Drop()
		}
		return
	}
	if newer := s.tier.store.replacement(e); newer != nil {
		if newer.blob != e.blob {
			e.blob.Discard()
		}
		return // or what it is now would be overwritten by what it was
	}
	s.tier.store1(e)
}

// replacement is what the near tier has in place of e, nil if nothing.
func (s *Store) replacement(e *Entry) *Entry {
	sh := s.shard(e.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.resourceLocked(e.hash, []byte(e.key)); r != nil {
		for _, n := range r.nodes {
			if n.Value != e && !n.Value.hitForMiss && !n.Value.partial && sameVariant(n.Value, e) {
				return n.Value
			}
		}
	}
	return nil
}

// sweep drops the blobs of entries that purges have ended.
func (s *shelf) sweep() {
	s.Sweep(func(value []byte) bool {
		r, err := tier.Decode(value, nil)
		return err != nil || s.tier.marks.Ended(r.Key, r.Received, r.Groups) == tier.EndedWholly
	})
}

// seal makes sure that a value may refer to b.
func seal(b tier.Blob) error {
	if err := b.Open(); err != nil {
		return err
	}
	defer b.Close()
	return b.Seal()
}

// discard drops the blob of an entry that is not stored in its tier.
func (e *Entry) discard() {
	if e.blob != nil {
		e.blob.Discard()
	}
}

// lose ends an entry whose body cannot be read. One that was dropped to make
// room is nothing unusual, and one that only cannot be opened now stays on disk.
func (s *Store) lose(e *Entry, err error) {
	s.drop(e)
	switch {
	case errors.Is(err, tier.ErrDropped):
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		s.shelf.report(err)
	default:
		s.shelf.tier.damaged.Add(1)
		s.shelf.tier.log.Warn("a stored body is lost", "tier", s.shelf.tier.Name(), "key", e.key, "error", err)
		e.blob.Drop()
	}
}

// largest is how many bytes of a body can be stored.
func (s *Store) largest() int64 {
	if s.shelf == nil {
		return s.maxObject
	}
	return s.shelf.Largest()
}

// create begins a blob, nil if that is not possible now.
func (s *Store) create() tier.Blob {
	b, err := s.shelf.Create()
	if err != nil {
		return nil
	}
	return b
}

// spill is what a fill has of a blob; the fill's lock guards it.
type spill struct {
	blob    tier.Blob
	written int64 // bytes of the body in it
	whole   bool  // all are, and they were proven to be all
	private bool  // nobody else holds the memory that the fill's body is in
}

// spillLocked begins to write the body to b.
func (f *Fill) spillLocked(b tier.Blob) {
	f.spill = &spill{blob: b}
	for _, r := range f.readers {
		r.openLocked()
	}
	f.store.shelf.ends.Go(f.drain)
}

// spilling says that the body is on its way to a blob.
func (f *Fill) spilling() bool { return f.spill != nil && !f.passing }

// drain writes the body to the blob until its end.
func (f *Fill) drain() {
	s := f.spill
	buf := chunkBuffers.Get().(*[tier.ChunkSize]byte)
	defer chunkBuffers.Put(buf)
	f.mu.Lock()
	for f.state == fillStreaming && f.spilling() && !s.whole {
		n := copy(buf[:], f.body[s.written-f.base:])
		if n < tier.ChunkSize && !f.proven {
			f.changeLocked(nil)
			continue
		}
		f.mu.Unlock()
		var err error
		if n > 0 {
			err = s.blob.Append(buf[:n])
		} else {
			err = s.blob.Finish()
		}
		f.mu.Lock()
		if err != nil {
			f.unspillLocked(err)
			break
		}
		s.written += int64(n)
		s.whole = n == 0 && f.spilling()
		f.notifyLocked()
	}
	whole := s.whole
	f.mu.Unlock()
	if !whole {
		s.blob.Discard()
		s.blob.Close()
	}
}

// unspillLocked lets the body pass, because the blob failed.
func (f *Fill) unspillLocked(err error) {
	if f.state != fillStreaming || f.passing || f.spill.whole {
		return
	}
	f.store.shelf.report(err)
	f.passLocked(rule.ReasonDisk)
}

// shedLocked drops from memory what is in the blob, and waits for a disk that
// lags too far behind.
func (f *Fill) shedLocked() {
	f.awaitDiskLocked(func() bool {
		s := f.spill
		end := f.base + int64(len(f.body))
		if cut := min(s.written, end-recent) - f.base; len(f.body) >= window && cut*2 >= int64(len(f.body)) {
			rest := f.body[cut:]
			if !s.private || cap(f.body) > 4*window {
				// Readers may hold the old memory.
				f.body, s.private = append(make([]byte, 0, 2*window), rest...), true
			} else {
				f.body = append(f.body[:0], rest...)
			}
			f.base += cut
			f.countLocked()
		}
		return len(f.body) <= 2*window
	})
}

// awaitDiskLocked waits until done says so, or the disk has failed: then the
// fill is a passing one.
func (f *Fill) awaitDiskLocked(done func() bool) {
	var timer *time.Timer
	before := f.spill.written
	for f.spilling() && !done() {
		if timer == nil {
			timer = time.NewTimer(diskWait)
			defer timer.Stop()
		}
		if f.changeLocked(timer.C) {
			if f.spill.written == before {
				f.unspillLocked(errSlow)
			}
			before = f.spill.written
			timer.Reset(diskWait)
		}
	}
}

// chunkBuffers have room for a chunk each.
var chunkBuffers = sync.Pool{New: func() any { return new([tier.ChunkSize]byte) }}
