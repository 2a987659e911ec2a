package cli

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedHeap is a heap that only counts.
type countedHeap struct {
	b                            *burst
	bytes, collections, releases atomic.Uint64
}

func (h *countedHeap) stat() (bytes, collections uint64) {
	return h.bytes.Load(), h.collections.Load()
}

func (h *countedHeap) release() {
	h.releases.Add(1)
	h.collect()
	h.collect()
	h.bytes.Add(10 * calmBytes) // what pools had is made anew
}

func (h *countedHeap) collect() {
	h.collections.Add(1)
	h.b.collected()
}

// Memory is given back once after a burst of allocations, and not while it goes on.
func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &countedHeap{b: new(burst)}
		h.b.heap = h
		after := func(what string, pass time.Duration, want uint64) {
			t.Helper()
			time.Sleep(pass)
			synctest.Wait()
			if n := h.releases.Load(); n != want {
				t.Errorf("%s: memory was released %d times, want %d", what, n, want)
			}
		}
		after("no collection", time.Hour, 0)
		for range 100 {
			h.collect()
			h.bytes.Add(calmBytes + 1)
			after("allocations go on", calm, 0)
		}
		h.bytes.Add(calmBytes)
		after("the burst is over", calm, 1)
		h.b.collected() // late, of the collections that release made
		after("nothing happens", time.Hour, 1)
		h.collect()
		after("the next burst", calm, 2)
	})
}
