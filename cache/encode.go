package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
)

// Encoded entries live in far tiers and on disk, written and read by different
// versions of weir. The first byte is the version of everything behind it; an
// unknown one is no entry. The last four bytes are a CRC-32C of all before.
const encodingVersion = 1

const (
	flagValidate uint64 = 1 << iota
	flagNeverStale
	flagCompressed
)

// maxDecoded bounds what a compressed body may unpack to.
const maxDecoded = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errEncoding = errors.New("not an entry of this version, or damaged")

// appendEntry adds the encoding of e, its body compressed if it has at least
// that many bytes (0 means never), is not compressed already and gets smaller.
func appendEntry(dst []byte, e *Entry, compress int) []byte {
	flags := uint64(0)
	if e.validate {
		flags |= flagValidate
	}
	if e.neverStale {
		flags |= flagNeverStale
	}
	body := e.body
	if compress > 0 && len(body) >= compress && !Fields(e.head[e.line:e.fields]).has("Content-Encoding") {
		if packed := s2.Encode(nil, body); len(packed) < len(body)/8*7 {
			body, flags = packed, flags|flagCompressed
		}
	}
	start := len(dst)
	dst = append(dst, encodingVersion)
	for _, n := range []uint64{
		flags, uint64(e.status), uint64(e.received), uint64(e.age), uint64(e.lifetime),
		uint64(e.swr), uint64(e.sie), uint64(e.disconnect), uint64(e.date), uint64(e.purged.Load()),
	} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = appendString(dst, e.key)
	dst = appendStrings(dst, e.vary)
	dst = appendString(dst, e.variant)
	dst = appendStrings(dst, e.groups)
	dst = appendString(dst, string(e.head[:e.line]))
	dst = appendString(dst, string(e.head[e.line:e.fields]))
	dst = appendString(dst, string(body))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendString(dst, s)
	}
	return dst
}

// decodeEntry reads what appendEntry wrote. The entry keeps nothing of b. blob
// has its body if that is not nil. hash places its key.
func decodeEntry(b []byte, blob Blob, hash func([]byte) uint64) (*Entry, error) {
	if len(b) < 5 || b[0] != encodingVersion {
		return nil, errEncoding
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, errEncoding
	}
	d := decoder{b: b[1:end]}
	flags := d.number()
	e := &Entry{status: int(d.number())}
	for _, n := range []*int64{&e.received, &e.age, &e.lifetime, &e.swr, &e.sie, &e.disconnect, &e.date} {
		*n = int64(d.number())
	}
	e.purged.Store(int64(d.number()))
	e.validate, e.neverStale = flags&flagValidate != 0, flags&flagNeverStale != 0
	e.key = string(d.bytes())
	e.vary = d.strings()
	e.variant = string(d.bytes())
	e.groups = d.strings()
	line := d.bytes()
	fields := d.bytes()
	body := d.bytes()
	if d.bad || len(d.b) > 0 || e.status < 200 || e.status > 999 || e.lifetime < 0 || e.lifetime > maxDelta || e.age < 0 {
		return nil, errEncoding
	}
	if flags&flagCompressed != 0 {
		n, err := s2.DecodedLen(body)
		if err != nil || n > maxDecoded {
			return nil, errEncoding
		}
		if e.body, err = s2.Decode(make([]byte, 0, n), body); err != nil {
			return nil, errEncoding
		}
	} else {
		e.body = append([]byte(nil), body...)
	}
	e.line = len(line)
	e.fields = e.line + len(fields)
	e.length = int64(len(e.body))
	if blob != nil {
		e.body, e.blob, e.length = nil, blob, blob.Length()
	}
	head := make([]byte, 0, e.fields+32)
	e.finish(append(append(head, line...), fields...))
	e.hash = hash([]byte(e.key))
	return e, nil
}

// decoder reads varints and strings; bad is set once something does not fit.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) strings() []string {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	var list []string
	for range n {
		list = append(list, string(d.bytes()))
	}
	return list
}
