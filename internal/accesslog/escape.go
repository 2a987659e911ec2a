package accesslog

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"weir/internal/head"
)

const hexDigits = "0123456789abcdef"

// plain holds the bytes that need no escape in either style: printable ASCII
// without quotes and backslashes.
var plain = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// isPlain says whether v needs no escape in either style.
func isPlain(v []byte) bool {
	switch last := len(v) - 8; {
	case last >= 0:
		// Eight bytes at a time; the last eight overlap those before them.
		for i := 0; i < last; i += 8 {
			if hasOdd(binary.LittleEndian.Uint64(v[i:])) {
				return false
			}
		}
		return !hasOdd(binary.LittleEndian.Uint64(v[last:]))
	case last >= -4:
		return !hasOdd(uint64(binary.LittleEndian.Uint32(v)) | uint64(binary.LittleEndian.Uint32(v[len(v)-4:]))<<32)
	}
	for _, c := range v {
		if !plain[c] {
			return false
		}
	}
	return true
}

// hasOdd says whether one of the eight bytes of w is not plain.
func hasOdd(w uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	// The first difference sets the high bit of bytes below a space, the sum that of 0x7f, and the others
	// those of the bytes that they look for. &^w is for bytes whose high bit is set before.
	odd := (w - ones*' ') | (w + ones) | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)
	return (w|odd&^w)&high != 0
}

// appendText appends v escaped, so that it cannot end its line or its quotes and cannot control a
// terminal; "-" if it is empty.
func appendText[T string | []byte](dst []byte, v T) []byte {
	if len(v) == 0 {
		return append(dst, '-')
	}
	start := len(dst)
	dst = append(dst, v...)
	if !isPlain(dst[start:]) {
		return appendPlain(dst[:start], v)
	}
	return dst
}

// appendMember appends the key of f and v as a JSON string, escaped as appendText does; nothing if v is
// empty. It is not inlined: a line needs it so often that its code would push other code out of the
// processor's cache.
//
//go:noinline
func appendMember[T string | []byte](dst []byte, f field, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	return append(appendJSON(f.appendKey(dst), v), '"')
}

// appendNumber appends the key of f and n.
//
//go:noinline
func appendNumber(dst []byte, f field, n int64) []byte {
	return appendInt(f.appendKey(dst), n)
}

// orHyphen returns longer, or, if nothing was appended to dst to make it, dst with "-".
func orHyphen(dst, longer []byte) []byte {
	if len(longer) == len(dst) {
		return append(dst, '-')
	}
	return longer
}

// appendPlain appends v with everything but printable ASCII as \xNN, and with
// quotes and backslashes escaped, so that a template may put a field in quotes.
func appendPlain[T string | []byte](dst []byte, v T) []byte {
	start := 0
	for i := 0; i < len(v); i++ {
		c := v[i]
		if plain[c] {
			continue
		}
		dst = append(dst, v[start:i]...)
		start = i + 1
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
			continue
		}
		dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, v[start:]...)
}

// appendJSON appends v as the inside of a JSON string (RFC 8259 section 7).
// Bytes that are not UTF-8 become U+FFFD. DEL, the C1 controls and the two line
// separators are escaped although JSON allows them: terminals and line readers
// act on them.
func appendJSON[T string | []byte](dst []byte, v T) []byte {
	from := len(dst)
	if dst = append(dst, v...); isPlain(dst[from:]) {
		return dst
	}
	dst = dst[:from]
	start := 0
	for i := 0; i < len(v); {
		c := v[i]
		if plain[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, v[start:i]...)
			if c == '"' || c == '\\' {
				dst = append(dst, '\\', c)
			} else {
				dst = appendEscape(dst, rune(c))
			}
			i++
			start = i
			continue
		}
		r, size := decodeRune(v[i:])
		if r == utf8.RuneError && size == 1 || r < 0xa0 || r == '\u2028' || r == '\u2029' {
			dst = append(dst, v[start:i]...)
			dst = appendEscape(dst, r)
			start = i + size
		}
		i += size
	}
	return append(dst, v[start:]...)
}

// decodeRune is utf8.DecodeRune for both kinds of text, without a copy of v.
func decodeRune[T string | []byte](v T) (rune, int) {
	var head [utf8.UTFMax]byte
	n := copy(head[:], v)
	return utf8.DecodeRune(head[:n])
}

// appendEscape appends r, of the basic plane, as \uNNNN.
func appendEscape(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return strconv.AppendInt(dst, n, 10)
	}
	return appendUint(dst, uint64(n))
}

// appendUint appends n. Most numbers of a line are short, and need not go through strconv's buffer.
func appendUint(dst []byte, n uint64) []byte {
	switch {
	case n < 10:
		return append(dst, byte('0'+n))
	case n < 100:
		return appendTwo(dst, n)
	case n < 1000:
		return append(dst, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
	case n < 10_000:
		return appendTwo(appendTwo(dst, n/100), n%100)
	case n < 100_000:
		return appendTwo(appendTwo(append(dst, byte('0'+n/10_000)), n/100%100), n%100)
	}
	return strconv.AppendUint(dst, n, 10)
}

// appendSeconds appends d in seconds with six decimals.
func appendSeconds(dst []byte, d time.Duration) []byte {
	us := uint64(max(d, 0) / time.Microsecond)
	dst = append(appendUint(dst, us/1e6), '.')
	us %= 1e6
	return appendTwo(appendTwo(appendTwo(dst, us/1e4), us/100%100), us%100)
}

// appendTwo appends the two digits of n, which is less than 100.
func appendTwo[T int | uint64](dst []byte, n T) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// second is a second of Unix time as appendTime and appendCLF write it.
type second struct {
	at   int64
	text [len("2026-01-31T23:59:59.")]byte
	clf  [len("31/Jan/2026:23:59:59 +0000")]byte
}

// lastSecond is the second that was written last: a busy log writes many lines in each. nil: none was.
var lastSecond atomic.Pointer[second]

// secondOf returns the second of t.
func secondOf(t time.Time) *second {
	at := t.Unix()
	s := lastSecond.Load()
	if s == nil || s.at != at {
		s = &second{at: at}
		t = t.UTC()
		t.AppendFormat(s.text[:0], "2006-01-02T15:04:05.")
		t.AppendFormat(s.clf[:0], "02/Jan/2006:15:04:05 -0700")
		lastSecond.Store(s)
	}
	return s
}

// appendTime appends t as 2026-01-31T23:59:59.123Z.
func appendTime(dst []byte, t time.Time) []byte {
	ms := t.Nanosecond() / 1e6
	dst = append(append(dst, secondOf(t).text[:]...), byte('0'+ms/100))
	return append(appendTwo(dst, ms%100), 'Z')
}

// appendCLF appends t as 31/Jan/2026:23:59:59 +0000, which is the common log format's time.
func appendCLF(dst []byte, t time.Time) []byte { return append(dst, secondOf(t).clf[:]...) }

// appendHeader appends the value of a header field, lines of one name joined.
func appendHeader(dst []byte, h *head.Head, n head.Name) []byte {
	if h == nil {
		return append(dst, '-')
	}
	return appendText(dst, h.Joined(n))
}

// appendAddr appends an address without its zone, which may be any text in an
// address that a proxy reported; nothing for an invalid one.
func appendAddr(dst []byte, a netip.Addr) []byte {
	if a = a.Unmap(); !a.IsValid() {
		return dst
	}
	if a.Is4() {
		return appendIPv4(dst, a.As4())
	}
	return a.WithZone("").AppendTo(dst)
}

func appendIPv4(dst []byte, a [4]byte) []byte {
	for i, part := range a {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = appendUint(dst, uint64(part))
	}
	return dst
}

// appendAddrPort does the same for an address with a port.
func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return dst
	}
	if host := a.Addr().Unmap(); host.Is4() {
		return appendUint(append(appendIPv4(dst, host.As4()), ':'), uint64(a.Port()))
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).AppendTo(dst)
}

// appendID appends an id in hexadecimal; nothing for one of zeros.
func appendID(dst []byte, id []byte) []byte {
	for _, b := range id {
		if b != 0 {
			return hex.AppendEncode(dst, id)
		}
	}
	return dst
}
