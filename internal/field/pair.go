package field

import (
	"bytes"
	"iter"
)

// Cookies are the names and values in a Cookie field (RFC 6265 section 4.2.1).
// The value is nil where there is no "=".
func Cookies(line []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := line; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			name, value, _ := bytes.Cut(pair, []byte{'='})
			if !yield(Trim(name), Trim(value)) {
				return
			}
		}
	}
}

// Cookie is the value of the first cookie of that name in a Cookie field, nil
// if there is none.
func Cookie(line []byte, name string) []byte {
	for n, v := range Cookies(line) {
		if v != nil && string(n) == name {
			return v
		}
	}
	return nil
}

// Parameters are the names and values in a query as they stand there. The value
// is nil where there is no "=".
func Parameters(query []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := query; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{'&'})
			name, value, _ := bytes.Cut(pair, []byte{'='})
			if !yield(name, value) {
				return
			}
		}
	}
}

// Parameter is the value of the first parameter of that name in a query, nil if
// there is none.
func Parameter(query []byte, name string) []byte {
	for n, v := range Parameters(query) {
		if string(n) == name {
			return v
		}
	}
	return nil
}

// AppendDecoded adds a text without its percent-encoding. A broken escape
// stands for itself.
func AppendDecoded(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			if high, low := Unhex(text[i+1]), Unhex(text[i+2]); high < 16 && low < 16 {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}
