package disk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"weir/cache/tier"
)

// A segment is a file of records, one after the other:
//
//	magic    4 bytes, "weir" and its version in the last one
//	kind     1 byte
//	expires  8 bytes, s since the epoch
//	key      4 bytes, its length
//	value    4 bytes, its length
//	sum      4 bytes, CRC-32C of the value
//	head     4 bytes, CRC-32C of the folder's salt, of all before and of the key
//	key, value
//
// Numbers are little-endian. What is no record is skipped, up to the next that is one:
// a damaged byte costs the record it is in. A record whose end is not there, at the end of
// its segment, is what a process or machine was writing when it died. Only weir knows
// the salt, so that no body of an origin can hold what would be taken for a record.
const (
	headSize = 4 + 1 + 8 + 4 + 4 + 4 + 4
	magic    = 0x32726577 // "wer2"
	maxKey   = 1 << 20
	maxValue = 1 << 30
)

type kind uint8

const (
	kindEntry kind = 1
	kindMark  kind = 2
	kindBlob  kind = 3
)

type record struct {
	kind       kind
	expires    int64
	key, value []byte
}

func (r *record) length() int64 { return int64(headSize + len(r.key) + len(r.value)) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is one file. Its size and gone are guarded by the tier's lock.
type segment struct {
	file   *os.File
	number int
	size   int64
	gone   bool
	salted uint32 // the checksum of the salt
	buf    []byte
}

func (t *Tier) openSegment(name string, number int) (*segment, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open segment %q: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open segment %q: %w", name, err)
	}
	return &segment{file: f, number: number, size: info.Size(), salted: t.salted}, nil
}

// append writes r in one piece and returns where it is. After an error the
// next record goes over what was written of this one.
func (s *segment) append(r record) (int64, error) {
	b := binary.LittleEndian.AppendUint32(s.buf[:0], magic)
	b = append(b, byte(r.kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.expires))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.key)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.value)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(r.value, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, s.headSum(b, r.key))
	b = append(append(b, r.key...), r.value...)
	if cap(b) <= 1<<20 {
		s.buf = b[:0]
	}
	offset := s.size
	if _, err := s.file.WriteAt(b, offset); err != nil {
		return 0, fmt.Errorf("cannot write segment %q: %w", s.file.Name(), err)
	}
	s.size += int64(len(b))
	return offset, nil
}

// headSum is the checksum of a record's head and key.
func (s *segment) headSum(b, key []byte) uint32 {
	return crc32.Update(crc32.Update(s.salted, castagnoli, b), castagnoli, key)
}

// readHead reads a record's head: the lengths of key and value, the checksum of the value and that of head and key.
func readHead(b []byte) (r record, key, value int, sum, head uint32, err error) {
	if binary.LittleEndian.Uint32(b) != magic {
		return r, 0, 0, 0, 0, tier.ErrDamaged
	}
	r.kind = kind(b[4])
	r.expires = int64(binary.LittleEndian.Uint64(b[5:]))
	key, value = int(binary.LittleEndian.Uint32(b[13:])), int(binary.LittleEndian.Uint32(b[17:]))
	sum, head = binary.LittleEndian.Uint32(b[21:]), binary.LittleEndian.Uint32(b[25:])
	if key > maxKey || value > maxValue {
		return r, 0, 0, 0, 0, tier.ErrDamaged
	}
	return r, key, value, sum, head, nil
}

// read returns the record at offset, checked.
func (s *segment) read(offset int64) (record, error) {
	var b [headSize]byte
	if _, err := s.file.ReadAt(b[:], offset); err != nil {
		return record{}, fmt.Errorf("cannot read segment %q: %w", s.file.Name(), err)
	}
	r, key, value, sum, head, err := readHead(b[:])
	if err != nil {
		return record{}, err
	}
	data := make([]byte, key+value)
	if _, err := s.file.ReadAt(data, offset+headSize); err != nil {
		return record{}, fmt.Errorf("cannot read segment %q: %w", s.file.Name(), err)
	}
	r.key, r.value = data[:key:key], data[key:]
	if s.headSum(b[:headSize-4], r.key) != head ||
		crc32.Checksum(r.value, castagnoli) != sum {
		return record{}, tier.ErrDamaged
	}
	return r, nil
}

// scanned is what a scan has met besides records.
type scanned struct {
	damaged int // places where records should be and are not
}

// scan calls f for each record from the start, until f says false. Values of
// entries are skipped: they are checked when they are read. That of a blob is nil
// if it is damaged.
func (s *segment) scan(f func(r record, offset int64) bool) (found scanned) {
	for offset := int64(0); offset < s.size; {
		next, more := s.scanFrom(offset, f)
		if !more {
			return found
		}
		if s.torn(next) {
			return found
		}
		found.damaged++
		if offset = s.resume(next + 1); offset < 0 {
			return found
		}
	}
	return found
}

// scanFrom is scan up to the first place that has no record, which it returns. more is
// false if there is none, or f does not want more.
func (s *segment) scanFrom(offset int64, f func(r record, offset int64) bool) (next int64, more bool) {
	br := bufio.NewReaderSize(io.NewSectionReader(s.file, offset, s.size-offset), 256<<10)
	var b [headSize]byte
	var data []byte
	for offset < s.size {
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return offset, true
		}
		r, key, value, sum, head, err := readHead(b[:])
		end := offset + headSize + int64(key) + int64(value)
		if err != nil || end > s.size {
			return offset, true
		}
		want := key
		if r.kind != kindEntry {
			want += value
		}
		if cap(data) < want {
			data = make([]byte, want)
		}
		data = data[:want]
		if _, err := io.ReadFull(br, data); err != nil {
			return offset, true
		}
		r.key = data[:key]
		if s.headSum(b[:headSize-4], r.key) != head {
			return offset, true
		}
		if r.kind != kindEntry {
			r.value = data[key:]
			if crc32.Checksum(r.value, castagnoli) != sum {
				if r.kind != kindBlob {
					return offset, true
				}
				r.value = nil
			}
		} else if _, err := br.Discard(value); err != nil {
			return offset, true
		}
		if !f(r, offset) {
			return offset, false
		}
		offset = end
	}
	return offset, false
}

// torn says whether what begins there is the start of a record that goes on beyond the
// end of the segment.
func (s *segment) torn(offset int64) bool {
	var b [headSize]byte
	if offset+headSize > s.size {
		return true
	}
	if _, err := s.file.ReadAt(b[:], offset); err != nil {
		return false
	}
	_, key, value, _, _, err := readHead(b[:])
	return err == nil && offset+headSize+int64(key)+int64(value) > s.size && s.resume(offset+1) < 0
}

// resume is the first place from there on where a record may begin; negative if there is
// none.
func (s *segment) resume(offset int64) int64 {
	start := binary.LittleEndian.AppendUint32(nil, magic)
	b := make([]byte, 256<<10)
	for offset+headSize <= s.size {
		n, err := s.file.ReadAt(b[:min(int64(len(b)), s.size-offset)], offset)
		if n < headSize {
			return -1
		}
		for at := 0; ; at++ {
			i := bytes.Index(b[at:n], start)
			if i < 0 {
				break
			}
			if at += i; s.begins(offset + int64(at)) {
				return offset + int64(at)
			}
		}
		if err != nil {
			return -1
		}
		offset += int64(n - len(start) + 1)
	}
	return -1
}

// begins says whether there is a record, as far as its head and key say.
func (s *segment) begins(offset int64) bool {
	var b [headSize]byte
	if _, err := s.file.ReadAt(b[:], offset); err != nil {
		return false
	}
	_, key, value, _, head, err := readHead(b[:])
	if err != nil || offset+headSize+int64(key)+int64(value) > s.size {
		return false
	}
	data := make([]byte, key)
	if _, err := s.file.ReadAt(data, offset+headSize); err != nil {
		return false
	}
	return s.headSum(b[:headSize-4], data) == head
}
