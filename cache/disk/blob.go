package disk

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"weir/cache/tier"
)

// A blob is a file with the body of one entry, which a record refers to:
//
//	body
//	sums     4 bytes for each chunk of the body, its CRC-32C
//	id       8 bytes, by which the file is called
//	length   8 bytes, of the body
//	sum      4 bytes, CRC-32C of sums, id and length
//
// Numbers are little-endian. Ids are random, so a file is never taken for
// another one. As long as it is not whole and forced onto the disk its name
// ends in partSuffix.
const (
	blobSuffix = ".blob"
	partSuffix = ".part"
	tailSize   = 8 + 8 + 4
)

var errFull = errors.New("no room is left for another blob")

type blobState uint8

const (
	blobWriting blobState = iota
	blobWhole             // but not sealed
	blobSealed
	blobGone
)

// blob is a tier.Blob.
type blob struct {
	tier *Tier
	id   uint64

	// Guarded by the tier's lock.
	size    int64         // bytes counted for it
	hashes  []uint64      // of the places in the index that refer to it
	segment int           // the number of the one that was written to when it came
	element *list.Element // in the tier's order; nil before Finish
	dropped bool

	mu     sync.Mutex
	state  blobState
	users  int
	file   *os.File // while there are users
	sums   []uint32 // while file is there
	length int64
}

func (b *blob) path() string {
	return filepath.Join(b.tier.folder, fmt.Sprintf("%016x%s", b.id, blobSuffix))
}

// blobID reads the name of a blob's file, whole or not. ok is false if it
// is the name of another file.
func blobID(name string) (id uint64, whole, ok bool) {
	stem, whole := strings.CutSuffix(name, blobSuffix)
	if !whole {
		stem = strings.TrimSuffix(name, blobSuffix+partSuffix)
	}
	id, err := strconv.ParseUint(stem, 16, 64)
	return id, whole, err == nil && len(stem) == 16 && len(stem) < len(name) && strings.ToLower(stem) == stem
}

// fileSize is how long the file of a body is.
func fileSize(length int64) int64 {
	return length + 4*((length+tier.ChunkSize-1)/tier.ChunkSize) + tailSize
}

// Append implements tier.Blob.
func (b *blob) Append(chunk []byte) error {
	if b.length%tier.ChunkSize != 0 || len(chunk) == 0 || len(chunk) > tier.ChunkSize {
		panic("BUG: a chunk after one that is not full")
	}
	if b.length == 0 {
		if err := b.create(); err != nil {
			return err
		}
	}
	if err := b.write(chunk, b.length); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums = append(b.sums, crc32.Checksum(chunk, castagnoli))
	b.length += int64(len(chunk))
	return nil
}

// create makes the file.
func (b *blob) create() error {
	f, err := os.OpenFile(b.path()+partSuffix, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make a blob: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.file = f
	return nil
}

// write adds bytes to the file, once there is room for them.
func (b *blob) write(p []byte, offset int64) error {
	if err := b.tier.reserve(b, int64(len(p))); err != nil {
		return err
	}
	if _, err := b.file.WriteAt(p, offset); err != nil {
		return fmt.Errorf("cannot write blob %q: %w", b.file.Name(), err)
	}
	return nil
}

// Finish implements tier.Blob.
func (b *blob) Finish() error {
	tail := make([]byte, 0, 4*len(b.sums)+tailSize)
	for _, sum := range b.sums {
		tail = binary.LittleEndian.AppendUint32(tail, sum)
	}
	tail = binary.LittleEndian.AppendUint64(tail, b.id)
	tail = binary.LittleEndian.AppendUint64(tail, uint64(b.length))
	tail = binary.LittleEndian.AppendUint32(tail, crc32.Checksum(tail, castagnoli))
	if err := b.write(tail, b.length); err != nil {
		return err
	}
	b.mu.Lock()
	b.state = blobWhole
	b.mu.Unlock()
	b.tier.mu.Lock()
	defer b.tier.mu.Unlock()
	b.tier.orderLocked(b, b.tier.segments[len(b.tier.segments)-1])
	return nil
}

// Seal implements tier.Blob.
func (b *blob) Seal() error {
	b.mu.Lock()
	file, state := b.file, b.state
	b.mu.Unlock()
	if state == blobWhole {
		// Without the lock: that takes as long as the disk does.
		if err := file.Sync(); err != nil {
			return fmt.Errorf("cannot write blob %q: %w", file.Name(), err)
		}
	}
	if b.tier.available() != nil {
		return tier.ErrDropped // the folder may be another process's
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case blobSealed:
		return nil
	case blobGone:
		return tier.ErrDropped
	}
	if err := os.Rename(b.path()+partSuffix, b.path()); err != nil {
		return fmt.Errorf("cannot keep a blob: %w", err)
	}
	b.state = blobSealed
	return nil
}

// Length implements tier.Blob.
func (b *blob) Length() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.length
}

// Open implements tier.Blob.
func (b *blob) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users == 0 {
		if b.state != blobSealed {
			return tier.ErrDropped
		}
		if err := b.openLocked(); err != nil {
			return err
		}
	}
	b.users++
	return nil
}

// openLocked opens the file and reads the checksums.
func (b *blob) openLocked() error {
	f, err := os.Open(b.path())
	if err != nil {
		return fmt.Errorf("cannot open blob: %w", err)
	}
	sums, err := readSums(f, b.id, b.length)
	if err != nil {
		f.Close()
		return fmt.Errorf("cannot use blob %q: %w", f.Name(), err)
	}
	b.file, b.sums = f, sums
	return nil
}

// readSums reads the checksums of the blob with that id and length.
func readSums(f *os.File, id uint64, length int64) ([]uint32, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != fileSize(length) {
		return nil, tier.ErrDamaged
	}
	tail := make([]byte, fileSize(length)-length)
	if _, err := f.ReadAt(tail, length); err != nil {
		return nil, err
	}
	end := len(tail) - tailSize
	if crc32.Checksum(tail[:len(tail)-4], castagnoli) != binary.LittleEndian.Uint32(tail[len(tail)-4:]) ||
		binary.LittleEndian.Uint64(tail[end:]) != id || binary.LittleEndian.Uint64(tail[end+8:]) != uint64(length) {
		return nil, tier.ErrDamaged
	}
	sums := make([]uint32, end/4)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(tail[4*i:])
	}
	return sums, nil
}

// Close implements tier.Blob.
func (b *blob) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users == 0 && b.file != nil {
		b.file.Close()
		b.file, b.sums = nil, nil
	}
}

// Read implements tier.Blob.
func (b *blob) Read(buf []byte, offset int64) ([]byte, error) {
	i := offset / tier.ChunkSize
	start := i * tier.ChunkSize
	b.mu.Lock()
	if offset < 0 || offset >= b.length {
		b.mu.Unlock()
		return nil, tier.ErrDamaged // another length was written down
	}
	file, sum, n := b.file, b.sums[i], min(tier.ChunkSize, b.length-start)
	b.mu.Unlock()
	if _, err := file.ReadAt(buf[:n], start); err != nil {
		return nil, fmt.Errorf("cannot read blob %q: %w", file.Name(), err)
	}
	if crc32.Checksum(buf[:n], castagnoli) != sum {
		return nil, fmt.Errorf("cannot use blob %q: %w", file.Name(), tier.ErrDamaged)
	}
	return buf[offset-start : n], nil
}

// Discard implements tier.Blob.
func (b *blob) Discard() {
	b.tier.mu.Lock()
	defer b.tier.unlock()
	if len(b.hashes) == 0 {
		b.tier.dropBlobLocked(b)
	}
}

// Drop implements tier.Blob.
func (b *blob) Drop() {
	b.tier.mu.Lock()
	defer b.tier.unlock()
	b.tier.dropBlobLocked(b)
}

// remove deletes the file. Who has it open reads on.
func (b *blob) remove() {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case blobWriting, blobWhole:
		os.Remove(b.path() + partSuffix) // which need not be there yet
	case blobSealed:
		os.Remove(b.path())
	}
	b.state = blobGone
}

// Largest implements tier.Blobs.
func (t *Tier) Largest() int64 { return t.largest }

// Create implements tier.Blobs.
func (t *Tier) Create() (tier.Blob, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.ready || t.closed {
		return nil, tier.ErrUnavailable
	}
	return &blob{tier: t, id: rand.Uint64(), users: 1}, nil
}

// Sweep implements tier.Blobs.
func (t *Tier) Sweep(ended func(value []byte) bool) {
	type reference struct {
		hash uint64
		place
	}
	var list []reference
	t.mu.RLock()
	for e := t.blobs.Front(); e != nil; e = e.Next() {
		for _, hash := range e.Value.(*blob).hashes {
			list = append(list, reference{hash, t.index[hash]})
		}
	}
	t.mu.RUnlock()
	for _, r := range list {
		if t.useful(r.place, ended) {
			continue
		}
		t.mu.Lock()
		if t.index[r.hash] == r.place {
			t.unplaceLocked(r.hash)
		}
		t.unlock()
	}
}

// useful says whether the record there may still be asked for.
func (t *Tier) useful(p place, ended func(value []byte) bool) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return true
	}
	if p.segment.gone || p.expired() {
		return false
	}
	r, err := p.segment.read(p.offset)
	return err == nil && !ended(r.value[referenceSize:])
}

// reserve counts n more bytes for a blob that is being written, and makes room
// for them.
func (t *Tier) reserve(b *blob, n int64) error {
	t.mu.Lock()
	defer t.unlock()
	if t.closed || b.dropped {
		return tier.ErrDropped
	}
	if t.roomLocked(n); t.bytes+n > t.size {
		return errFull
	}
	t.bytes += n
	b.size += n
	return nil
}

// orderLocked makes b the newest blob, which came when s was written.
func (t *Tier) orderLocked(b *blob, s *segment) {
	b.segment = s.number
	if b.element == nil {
		b.element = t.blobs.PushBack(b)
	} else {
		t.blobs.MoveToBack(b.element)
	}
}

// dropBlobLocked ends b and what refers to it; unlock deletes the file.
func (t *Tier) dropBlobLocked(b *blob) {
	if b.dropped {
		return
	}
	b.dropped = true
	for _, hash := range b.hashes {
		delete(t.index, hash)
	}
	b.hashes = nil
	if b.element != nil {
		t.blobs.Remove(b.element)
	}
	t.bytes -= b.size
	t.freed = append(t.freed, b)
}

// unlock releases the lock and then deletes the files of the blobs that were
// dropped under it, which may take long. Of a closed tier the files stay: the folder may be
// another process's, which deletes those that it does not need.
func (t *Tier) unlock() {
	freed := t.freed
	t.freed = nil
	if t.closed {
		freed = nil
	}
	t.mu.Unlock()
	for _, b := range freed {
		b.remove()
	}
}

// A record of kindBlob refers to a blob: its value is a version, the blob's id
// and length, and what Set was given. The version is that of no entry, so that
// the value is never taken for one.
const (
	referenceSize    = 1 + 8 + 8
	referenceVersion = 2
)

func appendReference(dst []byte, id uint64, length int64) []byte {
	dst = append(dst, referenceVersion)
	dst = binary.LittleEndian.AppendUint64(dst, id)
	return binary.LittleEndian.AppendUint64(dst, uint64(length))
}

func readReference(value []byte) (id uint64, length int64, ok bool) {
	if len(value) < referenceSize || value[0] != referenceVersion {
		return 0, 0, false
	}
	length = int64(binary.LittleEndian.Uint64(value[9:]))
	return binary.LittleEndian.Uint64(value[1:]), length, length > 0
}

// placeLocked makes p the place of a key.
func (t *Tier) placeLocked(hash uint64, p place) {
	if old := t.index[hash].blob; old != nil && old == p.blob {
		t.index[hash] = p
		t.orderLocked(old, p.segment)
		return
	}
	t.unplaceLocked(hash)
	t.index[hash] = p
	if p.blob != nil {
		p.blob.hashes = append(p.blob.hashes, hash)
		t.orderLocked(p.blob, p.segment)
	}
}

// unplaceLocked forgets the place of a key, and its blob if nothing else refers
// to that.
func (t *Tier) unplaceLocked(hash uint64) {
	b := t.index[hash].blob
	delete(t.index, hash)
	if b == nil {
		return
	}
	b.hashes = slices.DeleteFunc(b.hashes, func(h uint64) bool { return h == hash })
	if len(b.hashes) == 0 {
		t.dropBlobLocked(b)
	}
}

var (
	_ tier.Blobs = (*Tier)(nil)
	_ tier.Blob  = (*blob)(nil)
)
