package prefetch_test

import (
	"testing"

	"weir/internal/prefetch"
)

type large struct{ b [4000]byte }

func TestChangesNothing(t *testing.T) {
	// Not parallel: AllocsPerRun forbids it.
	v := new(large)
	for i := range v.b {
		v.b[i] = byte(i)
	}
	prefetch.Region{}.Fetch()
	prefetch.Of(v).Fetch()
	prefetch.Of(&struct{}{}).Fetch()
	prefetch.Stack()
	prefetch.Slice([]byte(nil))
	prefetch.Slice(v.b[63:65])
	prefetch.Slice(v.b[:])
	for i, b := range v.b {
		if b != byte(i) {
			t.Fatalf("byte %d is %d after the memory was fetched, want %d", i, b, byte(i))
		}
	}
	if n := testing.AllocsPerRun(100, func() { prefetch.Of(v).Fetch(); prefetch.Slice(v.b[1:]); prefetch.Stack() }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
