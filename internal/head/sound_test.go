package head

import (
	"bytes"
	"testing"
)

// Each byte is found at each place of a value and of a target, whatever stands beside it.
func TestBadBytes(t *testing.T) {
	for _, beside := range []byte{' ' + 1, '~', 0x80, 0xff, 'a'} {
		for n := 1; n <= 20; n++ {
			for at := range n {
				for c := range 256 {
					v := bytes.Repeat([]byte{beside}, n)
					v[at] = byte(c)
					if got, want := sound(v), c >= ' ' && c != 0x7f || c == '\t'; got != want {
						t.Fatalf("sound(%q) is %v", v, got)
					}
					if got, want := visible(v), c > ' ' && c != 0x7f; got != want {
						t.Fatalf("visible(%q) is %v", v, got)
					}
				}
			}
		}
	}
}
