package lb

import (
	"sync/atomic"
	"time"
)

// budgetSlice is a tenth of what a Budget calls recent.
const budgetSlice = int64(time.Second)

// Budget bounds retries and hedges to a share of the exchanges of the last ten
// seconds, plus a floor, so that an upstream in trouble never gets multiplied
// load. All generations of an upstream count together.
type Budget struct {
	share  float64
	floor  int
	counts *budgetCounts
}

// budgetCounts is the part of a Budget that survives a reload.
type budgetCounts struct {
	exchanges, retries window
}

// Deposit counts an exchange; once for each, whatever becomes of it.
func (b *Budget) Deposit(now int64) { b.counts.exchanges.add(now, budgetSlice, 1) }

// Withdraw asks for one more attempt and counts it if it is allowed.
func (b *Budget) Withdraw(now int64) bool {
	// Counting first keeps the bound exact when many ask at once.
	b.counts.retries.add(now, budgetSlice, 1)
	if float64(b.counts.retries.sum(now, budgetSlice)) <= b.allowed(now) {
		return true
	}
	b.counts.retries.add(now, budgetSlice, -1)
	return false
}

// Refund gives back an attempt that was allowed but not made.
func (b *Budget) Refund(now int64) { b.counts.retries.add(now, budgetSlice, -1) }

// Used returns the retries of the last ten seconds, and how many are allowed.
func (b *Budget) Used(now int64) (retries, allowed int) {
	return b.counts.retries.sum(now, budgetSlice), int(b.allowed(now))
}

func (b *Budget) allowed(now int64) float64 {
	return float64(b.floor) + b.share*float64(b.counts.exchanges.sum(now, budgetSlice))
}

// windowSlots is how many parts a window has.
const windowSlots = 10

// window counts what happened in the last stretch of time, without a lock. The
// zero window is empty. Its slots are reused in a circle; each packs the number
// of the time slice it counts (upper half) and the count (lower half), so that
// both change at once.
type window struct {
	slots [windowSlots]atomic.Uint64
}

// add counts n more at now, where a slice of time is width nanoseconds long. A
// negative n takes back what was counted with the same now.
func (w *window) add(now, width int64, n int) {
	slice := uint32(now / width)
	slot := &w.slots[slice%windowSlots]
	for {
		old := slot.Load()
		count := int64(n)
		if uint32(old>>32) == slice {
			count += int64(uint32(old))
		}
		if slot.CompareAndSwap(old, uint64(slice)<<32|uint64(max(0, count))) {
			return
		}
	}
}

// sum returns what was counted in the ten slices up to now.
func (w *window) sum(now, width int64) int {
	slice := uint32(now / width)
	total := 0
	for i := range w.slots {
		if v := w.slots[i].Load(); slice-uint32(v>>32) < windowSlots {
			total += int(uint32(v))
		}
	}
	return total
}

// clear forgets everything.
func (w *window) clear() {
	for i := range w.slots {
		w.slots[i].Store(0)
	}
}
