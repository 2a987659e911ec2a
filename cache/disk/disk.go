// Package disk is a tier on disk: entries survive a restart. It appends them to
// segment files, bodies that are too large for memory to files of their own,
// keeps an index in memory, and forgets the oldest when the files together
// reach their bound. It keeps bytes for package cache and knows nothing of
// entries. Only main imports it and attaches it to a store.
package disk

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weir/cache/tier"
	"weir/config"
)

// syncEvery is how often what was written is forced onto the disk: what a
// power failure can cost. A killed process loses nothing that was written.
const syncEvery = time.Second

// suffix ends the names of segments.
const suffix = ".weir"

// Tier is a tier.Tier. Use New.
type Tier struct {
	folder  string
	size    int64
	segSize int64
	largest int64
	seed    maphash.Seed
	lock    *os.File
	notes   sync.Mutex
	follow  tier.Follower
	salted  uint32 // the checksum of the folder's salt

	mu       sync.RWMutex
	segments []*segment // the oldest first; the last one is written to
	index    map[uint64]place
	blobs    list.List // whole ones, the oldest first
	freed    []*blob   // dropped; unlock deletes their files
	bytes    int64     // of segments and blobs
	opened   bool      // the folder is this process's
	ready    bool      // the index is whole
	unread   bool      // there are blobs, and the index does not know yet of which entries
	closed   bool
	dirty    bool

	after <-chan struct{}
	stop  chan struct{}
	ends  sync.WaitGroup
}

// place is where a record is.
type place struct {
	segment *segment
	offset  int64
	expires int64 // s since the epoch
	blob    *blob // nil if the record is all there is
}

func (p place) expired() bool { return p.expires <= time.Now().Unix() }

// New makes a tier of what the configuration says. It opens the folder in
// Start.
func New(c *config.CachePersist) (*Tier, error) {
	if c.Size < 1<<20 {
		return nil, fmt.Errorf("cannot use persist size %s: expected at least 1MiB", c.Size)
	}
	return &Tier{
		folder: c.Folder, size: int64(c.Size), segSize: min(max(int64(c.Size)/16, 64<<10), 256<<20),
		largest: min(int64(c.MaxObject), int64(c.Size)/4), seed: maphash.MakeSeed(), index: make(map[uint64]place), stop: make(chan struct{}),
	}, nil
}

// After makes Start leave the folder alone until released is closed: a process that this one
// replaces still has it. Until then the tier is not available.
func (t *Tier) After(released <-chan struct{}) { t.after = released }

// Name implements tier.Tier.
func (t *Tier) Name() string { return "disk" }

// Start implements tier.Tier. Only opening the folder can fail; its segments
// are read in the background, all of them whatever the position.
func (t *Tier) Start(f tier.Follower, _ string) error {
	t.follow = f
	if t.after == nil {
		return t.begin()
	}
	t.ends.Go(func() {
		select {
		case <-t.after:
			if err := t.begin(); err != nil {
				t.follow.Report(err)
			}
		case <-t.stop:
		}
	})
	return nil
}

// begin opens the folder.
func (t *Tier) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := os.MkdirAll(t.folder, 0o700); err != nil {
		return fmt.Errorf("cannot make folder %q: %w", t.folder, err)
	}
	var err error
	if t.lock, err = os.OpenFile(filepath.Join(t.folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("cannot open folder %q: %w", t.folder, err)
	}
	if err := unix.Flock(int(t.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.lock.Close()
		return fmt.Errorf("cannot use folder %q: another process does: %w", t.folder, err)
	}
	if t.salted, err = salt(filepath.Join(t.folder, "salt")); err != nil {
		t.leaveFolder()
		return err
	}
	old, blobs, err := t.open()
	if err != nil {
		t.leaveFolder()
		return err
	}
	t.opened = true
	t.ends.Go(func() { t.load(old, blobs) })
	t.ends.Go(t.syncs)
	return nil
}

// salt reads the salt of a folder, or makes one, and returns its checksum.
func salt(path string) (uint32, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("cannot read the folder's salt: %w", err)
	}
	if len(text) == 0 {
		text = []byte(rand.Text())
		if err := writeNote(path, os.O_TRUNC, text); err != nil {
			return 0, err
		}
	}
	return crc32.Checksum(text, castagnoli), nil
}

// open opens the old segments and begins a new one, after them in order. It
// finds the blobs there are, with the sizes of their files, and removes what
// is left of those that did not become whole.
func (t *Tier) open() (old []*segment, blobs map[uint64]int64, err error) {
	files, err := os.ReadDir(t.folder)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list folder %q: %w", t.folder, err)
	}
	last := 0
	blobs = make(map[uint64]int64)
	for _, file := range files {
		if !file.Type().IsRegular() {
			continue // not ours
		}
		name := filepath.Join(t.folder, file.Name())
		if id, whole, ok := blobID(file.Name()); ok {
			info, err := file.Info()
			if err != nil || !whole {
				os.Remove(name)
				continue
			}
			blobs[id] = info.Size()
			t.bytes += info.Size()
			continue
		}
		stem, ok := strings.CutSuffix(file.Name(), suffix)
		n, err := strconv.Atoi(stem)
		if !ok || err != nil {
			continue // not ours
		}
		s, err := t.openSegment(name, n)
		if err != nil {
			return nil, nil, err
		}
		last = max(last, n)
		if s.size == 0 {
			s.file.Close()
			os.Remove(name)
			continue
		}
		t.segments = append(t.segments, s)
		t.bytes += s.size
	}
	slices.SortFunc(t.segments, func(a, b *segment) int { return a.number - b.number })
	old = slices.Clone(t.segments)
	t.unread = len(blobs) > 0
	if err := t.beginLocked(last + 1); err != nil {
		return nil, nil, err
	}
	return old, blobs, t.syncFolder()
}

// beginLocked begins a segment.
func (t *Tier) beginLocked(number int) error {
	s, err := t.openSegment(filepath.Join(t.folder, fmt.Sprintf("%08d%s", number, suffix)), number)
	if err != nil {
		return err
	}
	t.segments = append(t.segments, s)
	return nil
}

// load reads the old segments. Nothing of them is believed before all of their
// announcements were. A blob that no record refers to is removed, and a record
// whose blob is not there ends those before it.
func (t *Tier) load(old []*segment, files map[uint64]int64) {
	index := make(map[uint64]place)
	blobs := make(map[uint64]*blob)
	for _, s := range old {
		scanned := s.scan(func(r record, offset int64) bool {
			p := place{segment: s, offset: offset, expires: r.expires}
			hash := maphash.Bytes(t.seed, r.key)
			switch {
			case r.kind == kindMark:
				t.follow.Follow(r.value)
			case p.expired():
				delete(index, hash)
			case r.kind == kindBlob:
				id, length, ok := readReference(r.value)
				if !ok || files[id] != fileSize(length) {
					delete(index, hash)
					break
				}
				if blobs[id] == nil {
					blobs[id] = &blob{tier: t, id: id, size: files[id], length: length, state: blobSealed}
				}
				p.blob = blobs[id]
				index[hash] = p
			default:
				index[hash] = p
			}
			select {
			case <-t.stop:
				return false
			default:
				return true
			}
		})
		for range scanned.damaged {
			t.follow.Damaged(fmt.Errorf("cannot use a record of segment %q: %w", s.file.Name(), tier.ErrDamaged))
		}
	}
	select {
	case <-t.stop:
		return // not all was read: nothing is known to be of no use
	default:
	}
	hashes := slices.SortedFunc(maps.Keys(index), func(a, b uint64) int {
		return cmp.Or(index[a].segment.number-index[b].segment.number, cmp.Compare(index[a].offset, index[b].offset))
	})
	t.mu.Lock()
	defer t.unlock()
	for _, hash := range hashes {
		// What was written meanwhile is newer; what was dropped is gone.
		if _, newer := t.index[hash]; !newer && !index[hash].segment.gone {
			t.placeLocked(hash, index[hash])
		}
	}
	for id, size := range files {
		if b := blobs[id]; b == nil {
			t.dropBlobLocked(&blob{tier: t, id: id, size: size, state: blobSealed})
		} else if len(b.hashes) == 0 {
			t.dropBlobLocked(b)
		}
	}
	t.ready, t.unread = true, false
	t.roomLocked(0)
	t.follow.CaughtUp("")
}

// syncs forces what was written onto the disk.
func (t *Tier) syncs() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		s, dirty := t.segments[len(t.segments)-1], t.dirty
		t.dirty = false
		t.mu.Unlock()
		if dirty {
			s.file.Sync() // an error shows in the next write
		}
	}
}

// Close implements tier.Tier.
func (t *Tier) Close() error {
	close(t.stop)
	t.ends.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if !t.opened {
		return nil
	}
	var errs []error
	for i, s := range t.segments {
		if i == len(t.segments)-1 {
			errs = append(errs, s.file.Sync())
		}
		errs = append(errs, s.file.Close())
	}
	errs = append(errs, t.leaveFolder())
	return errors.Join(errs...)
}

// leaveFolder leaves the folder to others. To close the file would not do: a process that is being made at this moment has a copy of its
// descriptor, and so the lock, until it becomes another program.
func (t *Tier) leaveFolder() error {
	return errors.Join(unix.Flock(int(t.lock.Fd()), unix.LOCK_UN), t.lock.Close())
}

// Get implements tier.Tier.
func (t *Tier) Get(key []byte) ([]byte, tier.Blob, error) {
	hash := maphash.Bytes(t.seed, key)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.ready || t.closed {
		return nil, nil, tier.ErrUnavailable
	}
	p, ok := t.index[hash]
	if !ok || p.expired() {
		return nil, nil, nil
	}
	// With the lock held for reading: a segment is dropped only under the lock.
	r, err := p.segment.read(p.offset)
	if errors.Is(err, tier.ErrDamaged) {
		go t.forget(hash, p)
	}
	if err != nil {
		return nil, nil, err
	}
	if string(r.key) != string(key) {
		return nil, nil, nil
	}
	if p.blob == nil {
		return r.value, nil, nil
	}
	return r.value[referenceSize:], p.blob, nil
}

// Set implements tier.Tier.
func (t *Tier) Set(key, value []byte, body tier.Blob, ttl time.Duration) error {
	r := record{kind: kindEntry, expires: time.Now().Add(ttl).Unix(), key: key, value: value}
	if body == nil {
		return t.append(r, nil)
	}
	b := body.(*blob)
	r.kind, r.value = kindBlob, append(appendReference(nil, b.id, b.Length()), value...)
	return t.append(r, b)
}

// forget drops a place in the index whose record is damaged.
func (t *Tier) forget(hash uint64, p place) {
	t.mu.Lock()
	defer t.unlock()
	if t.index[hash] == p {
		t.unplaceLocked(hash)
	}
}

// Announce implements tier.Tier. Who shares the tier is this process after its
// next start. There are two records of each mark, so that no single damaged one
// brings back what the mark has ended.
func (t *Tier) Announce(_ context.Context, a tier.Announcement) error {
	for range 2 {
		if err := t.append(record{kind: kindMark, value: a.Message}, nil); err != nil {
			return err
		}
	}
	if !a.Purge {
		return nil
	}
	t.mu.RLock()
	s := t.segments[len(t.segments)-1] // an older one was forced onto the disk when it ended
	t.mu.RUnlock()
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("cannot force segment %q onto the disk: %w", s.file.Name(), err)
	}
	return nil
}

// Shared implements tier.Tier.
func (t *Tier) Shared() bool { return false }

// Blobs implements tier.Tier.
func (t *Tier) Blobs() tier.Blobs { return t }

// append writes a record, and makes room for it. b is what it refers to; if
// that was dropped meanwhile there is nothing to write, and neither is there if
// room cannot be made yet.
func (t *Tier) append(r record, b *blob) error {
	n := r.length()
	if n > t.size/4 {
		return tier.ErrDropped // would push out too much of the rest
	}
	t.mu.Lock()
	defer t.unlock()
	if !t.opened || t.closed {
		return tier.ErrUnavailable
	}
	s := t.segments[len(t.segments)-1]
	if s.size > 0 && s.size+n > t.segSize {
		if err := s.file.Sync(); err != nil {
			return fmt.Errorf("cannot write segment %q: %w", s.file.Name(), err)
		}
		if err := t.beginLocked(s.number + 1); err != nil {
			return err
		}
		if err := t.syncFolder(); err != nil {
			return err
		}
		s = t.segments[len(t.segments)-1]
	}
	t.roomLocked(n)
	if b != nil && b.dropped || t.unread && r.kind != kindMark && t.bytes+n > t.size {
		return tier.ErrDropped
	}
	offset, err := s.append(r)
	if err != nil {
		return err
	}
	t.bytes += n
	t.dirty = true
	if r.kind != kindMark {
		t.placeLocked(maphash.Bytes(t.seed, r.key), place{s, offset, r.expires, b})
	}
	return nil
}

// roomLocked drops the oldest until n more bytes fit, as far as that goes: a
// segment, but before it the blobs that came while it was written. A few bytes
// of segments may say what many bytes of blobs are, so nothing is dropped before
// that is read.
func (t *Tier) roomLocked(n int64) {
	for t.bytes+n > t.size && !t.unread {
		oldest := t.blobs.Front()
		switch {
		case oldest != nil && (oldest.Value.(*blob).segment <= t.segments[0].number || len(t.segments) == 1):
			t.dropBlobLocked(oldest.Value.(*blob))
		case len(t.segments) > 1:
			t.dropLocked()
		default:
			return
		}
	}
}

// dropLocked removes the oldest segment. The marks in it are about entries
// before them, so they are not needed any more either.
func (t *Tier) dropLocked() {
	s := t.segments[0]
	t.segments = t.segments[1:]
	t.bytes -= s.size
	s.gone = true
	for hash, p := range t.index {
		if p.segment == s {
			t.unplaceLocked(hash)
		}
	}
	s.file.Close()
	os.Remove(s.file.Name())
}

// Bytes is how much segments and blobs hold.
func (t *Tier) Bytes() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.bytes
}

var _ tier.Tier = (*Tier)(nil)
