package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// A segment is a file of records, one after the other:
//
//	magic    4 bytes, "weir" and its version in the last one
//	kind     1 byte
//	expires  8 bytes, s since the epoch
//	key      4 bytes, its length
//	value    4 bytes, its length
//	sum      4 bytes, CRC-32C of the value
//	head     4 bytes, CRC-32C of all before and of the key
//	key, value
//
// Numbers are little-endian. A record that is not whole ends its segment: what
// a process or machine was writing when it died.
const (
	headSize = 4 + 1 + 8 + 4 + 4 + 4 + 4
	magic    = 0x31726577 // "wer1"
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

var errDamaged = errors.New("damaged record")

// segment is one file. Its size and gone are guarded by the tier's lock.
type segment struct {
	file   *os.File
	number int
	size   int64
	gone   bool
	buf    []byte
}

func openSegment(name string, number int) (*segment, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open segment %q: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open segment %q: %w", name, err)
	}
	return &segment{file: f, number: number, size: info.Size()}, nil
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
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, r.key))
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

// head reads a record's head, without key and value, and their checksums.
func readHead(b []byte) (r record, key, value int, sum, head uint32, err error) {
	if binary.LittleEndian.Uint32(b) != magic {
		return r, 0, 0, 0, 0, errDamaged
	}
	r.kind = kind(b[4])
	r.expires = int64(binary.LittleEndian.Uint64(b[5:]))
	key, value = int(binary.LittleEndian.Uint32(b[13:])), int(binary.LittleEndian.Uint32(b[17:]))
	sum, head = binary.LittleEndian.Uint32(b[21:]), binary.LittleEndian.Uint32(b[25:])
	if key > maxKey || value > maxValue {
		return r, 0, 0, 0, 0, errDamaged
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
	if crc32.Update(crc32.Checksum(b[:headSize-4], castagnoli), castagnoli, r.key) != head ||
		crc32.Checksum(r.value, castagnoli) != sum {
		return record{}, errDamaged
	}
	return r, nil
}

// scan calls f for each record from the start, until one is not whole or f
// says false. Values of entries are skipped: they are checked when they are
// read. That of a blob is nil if it is damaged.
func (s *segment) scan(f func(r record, offset int64) bool) {
	size := s.size
	br := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, size), 256<<10)
	var b [headSize]byte
	var data []byte
	for offset := int64(0); offset+headSize <= size; {
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return
		}
		r, key, value, sum, head, err := readHead(b[:])
		end := offset + headSize + int64(key) + int64(value)
		if err != nil || end > size {
			return
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
			return
		}
		r.key = data[:key]
		if crc32.Update(crc32.Checksum(b[:headSize-4], castagnoli), castagnoli, r.key) != head {
			return
		}
		if r.kind != kindEntry {
			r.value = data[key:]
			if crc32.Checksum(r.value, castagnoli) != sum {
				if r.kind != kindBlob {
					return
				}
				r.value = nil
			}
		} else if _, err := br.Discard(value); err != nil {
			return
		}
		if !f(r, offset) {
			return
		}
		offset = end
	}
}
