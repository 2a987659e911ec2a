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
// its own writes what the fetch holds, so that a disk that hangs does not hold up
// its readers for long. The fetch keeps in memory what is not written yet and the
// last recent bytes, for readers that keep pace; the others read from the blob.
//
// When a disk fails, is full or does nothing for diskWait, the body is not
// stored: it passes to its readers.
const (
	recent   = 256 << 10
	diskWait = 2 * time.Second
)

var errSlow = errors.New("disk is too slow")

// blobStore is where a store keeps bodies that are too large for memory.
type blobStore struct {
	tier.Blobs
	tier    *attached // to which the blobs belong
	failing atomic.Bool
	ends    sync.WaitGroup
}

// report counts a body that could not be stored or opened, and logs the first
// and the end of a row of them.
func (s *blobStore) report(err error) {
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
func (s *blobStore) keep(e *Entry) {
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
	s.tier.enqueue(e)
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

// end is called when the body of e is in its blob, which is open. An entry that
// is stored goes to its tier, in the background; the blob of another is dropped.
func (s *blobStore) end(e *Entry, stored bool) {
	if !stored {
		e.blob.Discard()
		e.blob.Close()
		return
	}
	s.report(nil)
	s.ends.Go(func() { s.keep(e) })
}

// sweep drops the blobs of entries that purges have ended.
func (s *blobStore) sweep() {
	s.Sweep(func(value []byte) bool {
		r, err := tier.Decode(value, nil)
		return err != nil || s.tier.store.marks.Ended(r.Key, r.Received, r.Groups, s.tier.store.skew.Load()) == tier.EndedWholly
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

// dropDamaged ends an entry whose body cannot be read. One that was dropped to make
// room is nothing unusual, and one that only cannot be opened now stays on disk.
func (s *Store) dropDamaged(e *Entry, err error) {
	s.drop(e)
	switch {
	case errors.Is(err, tier.ErrDropped):
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		s.blobs.report(err)
	default:
		s.blobs.tier.damaged.Add(1)
		s.blobs.tier.log.Warn("a stored body is lost", "tier", s.blobs.tier.Name(), "key", e.key, "error", err)
		e.blob.Drop()
	}
}

// largest is how many bytes of a body can be stored.
func (s *Store) largest() int64 {
	if s.blobs == nil {
		return s.maxObject
	}
	return s.blobs.Largest()
}

// create begins a blob, nil if that is not possible now.
func (s *Store) create() tier.Blob {
	b, err := s.blobs.Create()
	if err != nil {
		return nil
	}
	return b
}

// blobWriter moves the body of a fetch into a blob. The fetch's lock guards it.
type blobWriter struct {
	blob    tier.Blob
	written int64 // bytes of the body in it
	whole   bool  // all are, and they were proven to be all
	private bool  // no reader holds the memory that the fetch's body is in
}

// intoBlobLocked begins to write the body to b.
func (f *Fetch) intoBlobLocked(b tier.Blob) {
	f.state, f.writer = inBlob, &blobWriter{blob: b}
	for _, r := range f.readers {
		r.openLocked()
	}
	f.store.blobs.ends.Go(f.drain)
}

// drain writes the body to the blob until its end.
func (f *Fetch) drain() {
	w := f.writer
	buf := chunkBuffers.Get().(*[tier.ChunkSize]byte)
	defer chunkBuffers.Put(buf)
	f.mu.Lock()
	for f.state == inBlob && !w.whole {
		n := copy(buf[:], f.body[w.written-f.base:])
		if n < tier.ChunkSize && !f.whole {
			f.waitForChange(nil, nil)
			continue
		}
		f.mu.Unlock()
		err := write(w.blob, buf[:n])
		f.mu.Lock()
		if err != nil {
			f.waitToLoseBlob(err)
			break
		}
		w.written += int64(n)
		w.whole = n == 0 && f.state == inBlob
		f.notifyLocked()
	}
	whole := w.whole
	f.mu.Unlock()
	if !whole {
		w.blob.Discard()
		w.blob.Close()
	}
}

// write adds a chunk to b, which ends with an empty one.
func write(b tier.Blob, chunk []byte) error {
	if len(chunk) == 0 {
		return b.Finish()
	}
	return b.Append(chunk)
}

// waitToLoseBlob lets the body pass, because the blob failed.
func (f *Fetch) waitToLoseBlob(err error) {
	if f.state == inBlob && !f.writer.whole {
		f.store.blobs.report(err)
		f.waitToPass(rule.ReasonDisk)
	}
}

// shedLocked drops from memory what is in the blob. It reports false if the disk
// lags too far.
func (f *Fetch) shedLocked() (near bool) {
	w := f.writer
	if cut := min(w.written, f.endLocked()-recent) - f.base; len(f.body) >= window && cut*2 >= int64(len(f.body)) {
		rest := f.body[cut:]
		if !w.private || cap(f.body) > 4*window {
			// Readers may hold the old memory.
			f.body, w.private = append(make([]byte, 0, 2*window), rest...), true
		} else {
			f.body = append(f.body[:0], rest...)
		}
		f.base += cut
		f.countLocked()
	}
	return len(f.body) <= 2*window
}

// waitForDisk waits until done says so, or the disk has failed: then the body
// passes.
func (f *Fetch) waitForDisk(done func() bool) {
	var timer *time.Timer
	before := f.writer.written
	for f.state == inBlob && !done() {
		if timer == nil {
			timer = time.NewTimer(diskWait)
			defer timer.Stop()
		}
		if f.waitForChange(nil, timer.C) != nil {
			if f.writer.written == before {
				f.waitToLoseBlob(errSlow)
			}
			before = f.writer.written
			timer.Reset(diskWait)
		}
	}
}

// chunkBuffers have room for a chunk each.
var chunkBuffers = sync.Pool{New: func() any { return new([tier.ChunkSize]byte) }}
