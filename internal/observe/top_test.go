package observe

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// The values that are used most have a place in the end, whatever comes between them.
func TestTop(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	top := newTop(5)
	for i := range 20_000 {
		value := fmt.Sprint("once-", i)
		if r.IntN(2) == 0 {
			value = fmt.Sprint("often-", r.IntN(5))
		}
		top.use(value)
		if len(top.resident) > 5 || len(top.waiting) > 5 {
			t.Fatalf("%d values have places and %d wait, want at most 5", len(top.resident), len(top.waiting))
		}
	}
	want := []string{"often-0", "often-1", "often-2", "often-3", "often-4"}
	if got := slices.Sorted(maps.Keys(top.resident)); !slices.Equal(got, want) {
		t.Errorf("%q have places, want %q", got, want)
	}
}

// A flood of values that are used once takes no place from those that have one.
func TestTopOfFlood(t *testing.T) {
	t.Parallel()
	top := newTop(3)
	top.use("a")
	top.use("b")
	top.use("c")
	for i := range 10_000 {
		if label, _, lost := top.use(fmt.Sprint(i)); lost || label != other {
			t.Fatalf("value %d became %q", i, label)
		}
	}
}

// What an evicted value has counted is counted on as other: no total gets less.
func TestEvictionKeepsTotals(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"counter", "histogram"} {
		f := newFamily(shape{route: "r", name: "n", kind: kind, labels: []string{"a", "b"}, values: 2, buckets: []float64{1, 2}})
		r := rand.New(rand.NewPCG(3, 4))
		for i := range 5000 {
			f.observe(1, []string{fmt.Sprint(r.IntN(3 + i/500)), fmt.Sprint(r.IntN(4))})
		}
		sum, count, seen := 0.0, uint64(0), map[string]bool{}
		for _, s := range f.series {
			if seen[fmt.Sprint(s.labels)] {
				t.Errorf("%s: the labels %q are there twice", kind, s.labels)
			}
			seen[fmt.Sprint(s.labels)] = true
			sum += s.value
			for _, n := range s.counts {
				count += n
			}
		}
		if sum != 5000 || kind == "histogram" && count != 5000 {
			t.Errorf("%s: sum %g and count %d, want 5000", kind, sum, count)
		}
		if len(f.series) > 9 {
			t.Errorf("%s: %d series, want at most 3 x 3", kind, len(f.series))
		}
	}
}
