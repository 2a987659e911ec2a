package cache_test

import (
	"bytes"
	"testing"

	"weir/cache"
)

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
