package accesslog

import (
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

// absent appends the sign for a missing value: "-" in text, nothing in JSON.
func absent(dst []byte, s style) []byte {
	if s == styleText {
		return append(dst, '-')
	}
	return dst
}

// appendText appends key and v escaped, so that it cannot end its line or its quotes and
// cannot control a terminal.
func appendText[T string | []byte](dst []byte, key string, v T, s style) []byte {
	if len(v) == 0 {
		return absent(dst, s)
	}
	if s == styleText {
		return appendPlain(dst, v)
	}
	dst = append(append(dst, key...), '"')
	dst = appendJSON(dst, v)
	return append(dst, '"')
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

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// appendSeconds appends d in seconds with six decimals.
func appendSeconds(dst []byte, d time.Duration) []byte {
	us := uint64(max(d, 0) / time.Microsecond)
	dst = append(strconv.AppendUint(dst, us/1e6, 10), '.')
	us %= 1e6
	return appendTwo(appendTwo(appendTwo(dst, us/1e4), us/100%100), us%100)
}

// appendTwo appends the two digits of n, which is less than 100.
func appendTwo[T int | uint64](dst []byte, n T) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

func appendOptionalSeconds(dst []byte, key string, d time.Duration, s style) []byte {
	if d <= 0 {
		return absent(dst, s)
	}
	return appendSeconds(append(dst, key...), d)
}

// second is a second of Unix time as appendTime writes it.
type second struct {
	at   int64
	text [len("2026-01-31T23:59:59.")]byte
}

// lastSecond is the second that was written last: a busy log writes many lines in each. nil: none was.
var lastSecond atomic.Pointer[second]

// appendTime appends key and t as 2026-01-31T23:59:59.123Z.
func appendTime(dst []byte, key string, t time.Time, s style) []byte {
	at := t.Unix()
	last := lastSecond.Load()
	if last == nil || last.at != at {
		last = &second{at: at}
		t.UTC().AppendFormat(last.text[:0], "2006-01-02T15:04:05.")
		lastSecond.Store(last)
	}
	dst = append(dst, key...)
	if s == styleJSON {
		dst = append(dst, '"')
	}
	ms := t.Nanosecond() / 1e6
	dst = append(append(dst, last.text[:]...), byte('0'+ms/100))
	dst = append(appendTwo(dst, ms%100), 'Z')
	if s == styleJSON {
		dst = append(dst, '"')
	}
	return dst
}

// appendCLF appends t as 31/Jan/2026:23:59:59 +0000, which is the common log format's time.
func appendCLF(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
}

// appendHeader appends the value of a header field, lines of one name joined.
func appendHeader(dst []byte, h *head.Head, n head.Name, s style) []byte {
	if h == nil {
		return absent(dst, s)
	}
	return appendText(dst, "", h.Joined(n), s)
}

// appendAddr appends an address without its zone, which may be any text in an
// address that a proxy reported.
func appendAddr(dst []byte, key string, a netip.Addr, s style) []byte {
	if !a.IsValid() {
		return absent(dst, s)
	}
	a = a.Unmap().WithZone("")
	if s == styleText {
		return a.AppendTo(dst)
	}
	return append(a.AppendTo(append(append(dst, key...), '"')), '"')
}

func appendAddrPort(dst []byte, key string, a netip.AddrPort, s style) []byte {
	if !a.IsValid() {
		return absent(dst, s)
	}
	a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	if s == styleText {
		return a.AppendTo(dst)
	}
	return append(a.AppendTo(append(append(dst, key...), '"')), '"')
}

// appendID appends key and an id in hexadecimal.
func appendID(dst []byte, key string, id []byte, none bool, s style) []byte {
	switch {
	case none:
		return absent(dst, s)
	case s == styleText:
		return hex.AppendEncode(dst, id)
	}
	return append(hex.AppendEncode(append(append(dst, key...), '"'), id), '"')
}
