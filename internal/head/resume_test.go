package head

import (
	"bytes"
	"strings"
	"testing"
)

// No byte is searched for the end of a line twice, however a head trickles in.
func TestScanIsLinear(t *testing.T) {
	check := func(text string) {
		t.Helper()
		scan := func(step int) (searched int) {
			var h Head
			for n := 0; n <= len(text); n += step {
				from, lines := max(h.scan.off, h.scan.seen), h.scan.lines
				err := h.ScanRequest([]byte(text[:n]))
				if err != ErrShort {
					t.Fatalf("%v after %d bytes", err, n)
				}
				if h.scan.seen != n {
					t.Fatalf("%d of %d bytes were searched", h.scan.seen, n)
				}
				searched += n - from
				if n-from > step || h.scan.lines-lines > step {
					t.Fatalf("%d bytes and %d lines for %d new bytes", n-from, h.scan.lines-lines, step)
				}
			}
			return searched
		}
		for _, step := range []int{1, 2, 7} {
			if got := scan(step); got > len(text) {
				t.Errorf("%d bytes were searched of %d", got, len(text))
			}
		}
	}
	check("GET /" + strings.Repeat("x", 5000))
	check("GET / HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("x", 5000))
	check("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-A: 1\r\n", 600))
}

// The names have slots of their own, or the package would panic; and they are what fold
// can compare.
func TestSlots(t *testing.T) {
	for i := connection; i < ids; i++ {
		if i == xForwarded {
			continue
		}
		if got := lookup([]byte(names[i])); got != i {
			t.Errorf("lookup(%q) is %d, want %d", names[i], got, i)
		}
		if bytes.ContainsFunc(lowerNames[i], func(r rune) bool { return !letter(byte(r)) && !digit(byte(r)) && r != '-' }) {
			t.Errorf("%q has a byte that fold cannot compare", names[i])
		}
	}
}
