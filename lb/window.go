package lb

import "sync/atomic"

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
