// Package disk is a tier on disk: entries survive a restart. It appends them to
// segment files, keeps an index of them in memory, and forgets the oldest
// segment when the files together reach their bound. It keeps bytes for package
// cache and knows nothing of entries. Only main imports it and attaches it to a
// store.
package disk

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weir/cache"
	"weir/config"
)

// syncEvery is how often what was written is forced onto the disk: what a
// power failure can cost. A killed process loses nothing that was written.
const syncEvery = time.Second

// suffix ends the names of segments.
const suffix = ".weir"

// Tier is a cache.Tier. Use New.
type Tier struct {
	folder  string
	size    int64
	segSize int64
	seed    maphash.Seed
	lock    *os.File

	mu       sync.RWMutex
	segments []*segment // the oldest first; the last one is written to
	index    map[uint64]place
	bytes    int64
	ready    bool // the index is whole
	closed   bool
	dirty    bool

	stop chan struct{}
	ends sync.WaitGroup
}

// place is where a record is.
type place struct {
	segment *segment
	offset  int64
	expires int64 // s since the epoch
}

// New makes a tier of what the configuration says. It opens the folder in
// Start.
func New(c *config.CachePersist) (*Tier, error) {
	if c.Size < 1<<20 {
		return nil, fmt.Errorf("cannot use persist size %s: expected at least 1MiB", c.Size)
	}
	return &Tier{
		folder: c.Folder, size: int64(c.Size), segSize: min(max(int64(c.Size)/16, 64<<10), 256<<20),
		seed: maphash.MakeSeed(), index: make(map[uint64]place), stop: make(chan struct{}),
	}, nil
}

// Name implements cache.Tier.
func (t *Tier) Name() string { return "disk" }

// Start implements cache.Tier. Only opening the folder can fail; its segments
// are read in the background.
func (t *Tier) Start(follow func([]byte)) error {
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
	old, err := t.open()
	if err != nil {
		t.lock.Close()
		return err
	}
	t.ends.Go(func() { t.load(old, follow) })
	t.ends.Go(t.syncs)
	return nil
}

// open opens the old segments and begins a new one, behind them in order.
func (t *Tier) open() ([]*segment, error) {
	names, err := filepath.Glob(filepath.Join(t.folder, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("cannot list folder %q: %w", t.folder, err)
	}
	last := 0
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), suffix))
		if err != nil {
			continue // not ours
		}
		s, err := openSegment(name, n)
		if err != nil {
			return nil, err
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
	old := slices.Clone(t.segments)
	return old, t.beginLocked(last + 1)
}

// beginLocked begins a segment.
func (t *Tier) beginLocked(number int) error {
	s, err := openSegment(filepath.Join(t.folder, fmt.Sprintf("%08d%s", number, suffix)), number)
	if err != nil {
		return err
	}
	t.segments = append(t.segments, s)
	return nil
}

// load reads the old segments. Nothing of them is believed before all of their
// announcements were.
func (t *Tier) load(old []*segment, follow func([]byte)) {
	now := time.Now().Unix()
	index := make(map[uint64]place)
	for _, s := range old {
		s.scan(func(r record, offset int64) bool {
			switch {
			case r.kind == kindMark:
				follow(r.value)
			case r.expires > now:
				index[maphash.Bytes(t.seed, r.key)] = place{s, offset, r.expires}
			}
			select {
			case <-t.stop:
				return false
			default:
				return true
			}
		})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash, p := range index {
		// What was written meanwhile is newer; what was dropped is gone.
		if _, newer := t.index[hash]; !newer && !p.segment.gone {
			t.index[hash] = p
		}
	}
	t.ready = true
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

// Close implements cache.Tier.
func (t *Tier) Close() error {
	close(t.stop)
	t.ends.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	var errs []error
	for i, s := range t.segments {
		if i == len(t.segments)-1 {
			errs = append(errs, s.file.Sync())
		}
		errs = append(errs, s.file.Close())
	}
	errs = append(errs, t.lock.Close())
	return errors.Join(errs...)
}

// Get implements cache.Tier.
func (t *Tier) Get(key []byte) ([]byte, error) {
	hash := maphash.Bytes(t.seed, key)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.ready || t.closed {
		return nil, cache.ErrUnavailable
	}
	p, ok := t.index[hash]
	if !ok || p.expires <= time.Now().Unix() {
		return nil, nil
	}
	// With the lock held for reading: a segment is dropped only under the lock.
	r, err := p.segment.read(p.offset)
	if err != nil {
		return nil, err
	}
	if string(r.key) != string(key) {
		return nil, nil
	}
	return r.value, nil
}

// Set implements cache.Tier.
func (t *Tier) Set(key, value []byte, ttl time.Duration) error {
	return t.append(record{kind: kindEntry, expires: time.Now().Add(ttl).Unix(), key: key, value: value})
}

// Announce implements cache.Tier. Who shares the tier is this process after its
// next start.
func (t *Tier) Announce(message []byte) error {
	return t.append(record{kind: kindMark, value: message})
}

// append writes a record, and drops the oldest segments to make room for it.
func (t *Tier) append(r record) error {
	n := r.length()
	if n > t.size/4 {
		return nil // would push out too much of the rest
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return cache.ErrUnavailable
	}
	s := t.segments[len(t.segments)-1]
	if s.size > 0 && s.size+n > t.segSize {
		if err := s.file.Sync(); err != nil {
			return fmt.Errorf("cannot write segment %q: %w", s.file.Name(), err)
		}
		if err := t.beginLocked(s.number + 1); err != nil {
			return err
		}
		s = t.segments[len(t.segments)-1]
	}
	for t.bytes+n > t.size && len(t.segments) > 1 {
		t.dropLocked()
	}
	offset, err := s.append(r)
	if err != nil {
		return err
	}
	t.bytes += n
	t.dirty = true
	if r.kind == kindEntry {
		t.index[maphash.Bytes(t.seed, r.key)] = place{s, offset, r.expires}
	}
	return nil
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
			delete(t.index, hash)
		}
	}
	s.file.Close()
	os.Remove(s.file.Name())
}

// Bytes is how much the segments hold.
func (t *Tier) Bytes() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.bytes
}

var _ cache.Tier = (*Tier)(nil)
