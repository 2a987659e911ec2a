package tier

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/klauspost/compress/s2"

	"weir/cache/rule"
)

// Encoded entries live in far tiers and on disk, written and read by different
// versions of weir. The first byte is the version of everything after it; with
// an unknown one the bytes are not read. The last four are a CRC-32C of all
// before.
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

// Record is a stored response with its key and body, as tiers keep it.
type Record struct {
	rule.Stored
	Key, Variant string
	// Purged is when a soft purge ended its lifetime, in ns; 0 means never.
	Purged int64
	// Body is the body, empty if a Blob has it.
	Body []byte
}

// Append adds the encoding of r, the body compressed if it has at least that
// many bytes (0 means never), is not compressed already and gets smaller.
func (r *Record) Append(dst []byte, compress int) []byte {
	flags := uint64(0)
	if r.Validate {
		flags |= flagValidate
	}
	if r.NeverStale {
		flags |= flagNeverStale
	}
	body := r.Body
	if compress > 0 && len(body) >= compress && !r.Fields().Has("Content-Encoding") {
		if packed := s2.Encode(nil, body); len(packed) < len(body)/8*7 {
			body, flags = packed, flags|flagCompressed
		}
	}
	start := len(dst)
	dst = append(dst, encodingVersion)
	for _, n := range []uint64{
		flags, uint64(r.Status), uint64(r.Received), uint64(r.Age), uint64(r.Lifetime),
		uint64(r.SWR), uint64(r.SIE), uint64(r.Disconnect), uint64(r.Date), uint64(r.Purged),
	} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = appendString(dst, r.Key)
	dst = appendStrings(dst, r.Vary)
	dst = appendString(dst, r.Variant)
	dst = appendStrings(dst, r.Groups)
	dst = appendString(dst, string(r.Head[:r.Line]))
	dst = appendString(dst, string(r.Fields()))
	dst = appendString(dst, string(body))
	return Seal(dst, start)
}

// Seal adds the checksum of what follows start in b.
func Seal(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
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

// Decode reads what Append wrote. The record keeps nothing of b. blob has its
// body if that is not nil.
func Decode(b []byte, blob Blob) (*Record, error) {
	if len(b) < 5 || b[0] != encodingVersion {
		return nil, errEncoding
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, errEncoding
	}
	d := decoder{b: b[1:end]}
	flags := d.number()
	status := int(d.number())
	t := rule.Terms{Validate: flags&flagValidate != 0, NeverStale: flags&flagNeverStale != 0}
	for _, n := range []*int64{&t.Received, &t.Age, &t.Lifetime, &t.SWR, &t.SIE, &t.Disconnect, &t.Date} {
		*n = int64(d.number())
	}
	r := &Record{Purged: int64(d.number()), Key: string(d.bytes())}
	vary := d.strings()
	r.Variant = string(d.bytes())
	groups := d.strings()
	line, fields, body := d.bytes(), d.bytes(), d.bytes()
	if d.bad || len(d.b) > 0 || status < 200 || status > 999 || t.Lifetime < 0 || t.Lifetime > rule.MaxDelta || t.Age < 0 {
		return nil, errEncoding
	}
	var err error
	if r.Body, err = unpack(body, flags); err != nil {
		return nil, err
	}
	length := int64(len(r.Body))
	if blob != nil {
		r.Body, length = nil, blob.Length()
	}
	var ok bool
	if r.Stored, ok = rule.Load(t, status, line, fields, length); !ok {
		return nil, errEncoding
	}
	r.Vary, r.Groups = vary, groups
	return r, nil
}

// unpack is a copy of a body, uncompressed.
func unpack(body []byte, flags uint64) ([]byte, error) {
	if flags&flagCompressed == 0 {
		return append([]byte(nil), body...), nil
	}
	n, err := s2.DecodedLen(body)
	if err != nil || n > maxDecoded {
		return nil, errEncoding
	}
	unpacked, err := s2.Decode(make([]byte, 0, n), body)
	if err != nil {
		return nil, errEncoding
	}
	return unpacked, nil
}

// A pointer stands in a tier at the key of entries that vary: the names of the
// request fields that select among them.
const pointerMark = 0xff

// AppendPointer adds a pointer.
func AppendPointer(dst []byte, vary []string) []byte {
	return appendStrings(append(dst, pointerMark, encodingVersion), vary)
}

// IsPointer says whether a value is a pointer.
func IsPointer(b []byte) bool { return len(b) > 2 && b[0] == pointerMark && b[1] == encodingVersion }

// ReadPointer is what AppendPointer added, nil if b is damaged.
func ReadPointer(b []byte) []string {
	d := decoder{b: b[2:]}
	names := d.strings()
	if d.bad || len(names) > rule.MaxVary {
		return nil
	}
	return names
}

// VariantKey is the key in a tier of a variant.
func VariantKey(key string, names []string, variant []byte) []byte {
	b := append([]byte(key), 0)
	b = appendStrings(b, names)
	b = binary.AppendUvarint(b, uint64(len(variant)))
	return append(b, variant...)
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
