package cache_test

import (
	"bytes"
	"fmt"
	"testing"

	"weir/cache"
)

// FuzzContentRange: what is accepted is sound, and written again the same but
// for case, space around it and leading zeros.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/10", "bytes 0-4/*", "bytes */10", "bytes 4-0/10", "bytes 0-10/10", "bytes 0-4/10, bytes 0-4/10",
		"bytes=0-4/10", "BYTES 00-04/010", " bytes 9-9/10 ", "bytes 0-99999999999999999999/99999999999999999999", "bytes -1-4/10", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		first, last, length, ok := cache.ContentRangeForTest(b)
		if !ok {
			return
		}
		if first < 0 || first > last || last >= length {
			t.Fatalf("%q is %d-%d/%d", b, first, last, length)
		}
		again := fmt.Sprintf("bytes %d-%d/%d", first, last, length)
		if f2, l2, n2, ok := cache.ContentRangeForTest([]byte(again)); !ok || f2 != first || l2 != last || n2 != length {
			t.Fatalf("%q, written again as %q, is %d-%d/%d, %v", b, again, f2, l2, n2, ok)
		}
	})
}

// FuzzJoin: parts joined in any order are what was put in.
func FuzzJoin(f *testing.F) {
	f.Add([]byte{0, 2, 4, 6, 2, 4})
	f.Add([]byte{0, 9, 3, 4})
	f.Add([]byte{5, 9, 0, 5})
	body := []byte("0123456789abcdefghijklmnopqrstuv")
	f.Fuzz(func(t *testing.T, b []byte) {
		var spans [][2]int
		want := bytes.Repeat([]byte{'.'}, len(body))
		for ; len(b) >= 2 && len(spans) < 32; b = b[2:] {
			s := [2]int{int(b[0]) % len(body), int(b[1])%len(body) + 1}
			if s[0] >= s[1] {
				continue
			}
			spans = append(spans, s)
			copy(want[s[0]:s[1]], body[s[0]:])
		}
		if got, ok := cache.JoinForTest(body, spans); !ok || !bytes.Equal(got, want) {
			t.Fatalf("%v: %q, want %q, in order %v", spans, got, want, ok)
		}
	})
}
