package evict

// tinyLFU is W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly
// Efficient Cache Admission Policy"): new nodes enter a small window; one that
// leaves it must have been asked for more often than the one it would push
// out. A scan of things asked for once therefore cannot flush what is popular.
type tinyLFU[T any] struct {
	sketch sketch
	window queue[T]
	// probation and protected are the main part: a node moves up when it is
	// used again.
	probation, protected queue[T]
}

const (
	inWindow uint8 = iota
	inProbation
	inProtected
)

func newTinyLFU[T any]() *tinyLFU[T] {
	t := new(tinyLFU[T])
	t.window.init()
	t.probation.init()
	t.protected.init()
	t.sketch.init(1 << 10)
	return t
}

func (t *tinyLFU[T]) total() int64 { return t.window.bytes + t.probation.bytes + t.protected.bytes }

func (t *tinyLFU[T]) Add(n *Node[T]) {
	n.list = inWindow
	t.window.push(n)
	t.sketch.add(n.Hash)
	t.sketch.grow(n.Cost, t.total())
}

func (t *tinyLFU[T]) Touch(n *Node[T]) {
	t.sketch.add(n.Hash)
	switch n.list {
	case inWindow:
		t.window.front(n)
	case inProtected:
		t.protected.front(n)
	case inProbation:
		t.probation.cut(n)
		n.list = inProtected
		t.protected.push(n)
		// At most four fifths of the main part are protected.
		for t.protected.bytes > (t.protected.bytes+t.probation.bytes)/5*4 {
			last := t.protected.last()
			if last == n {
				break
			}
			t.protected.cut(last)
			last.list = inProbation
			t.probation.push(last)
		}
	}
}

func (t *tinyLFU[T]) Remove(n *Node[T]) { t.listOf(n).cut(n) }

func (t *tinyLFU[T]) listOf(n *Node[T]) *queue[T] {
	switch n.list {
	case inWindow:
		return &t.window
	case inProbation:
		return &t.probation
	}
	return &t.protected
}

// Victim compares what leaves the window with what would leave the main part;
// the less popular of the two goes. Only a full shard asks, so the window
// spills over here and not when something is added.
func (t *tinyLFU[T]) Victim() *Node[T] {
	limit := t.total() / 100
	for {
		candidate := t.window.last()
		if t.window.bytes <= limit {
			candidate = nil
		}
		old := t.probation.last()
		if old == nil {
			old = t.protected.last()
		}
		switch {
		case candidate == nil && old == nil:
			return t.window.last()
		case candidate == nil:
			return old
		case t.probation.bytes+t.protected.bytes < t.total()/10*9 && candidate != t.window.root.next:
			// The main part is still to be filled.
			t.promote(candidate)
		case old == nil:
			return candidate
		case t.sketch.count(candidate.Hash) > t.sketch.count(old.Hash):
			t.promote(candidate)
			return old
		default:
			return candidate
		}
	}
}

func (t *tinyLFU[T]) promote(n *Node[T]) {
	t.window.cut(n)
	n.list = inProbation
	t.probation.push(n)
}

// sketch counts how often something was asked for, about, in four bits, and
// halves all counts now and then.
type sketch struct {
	table []uint64 // 16 counters each
	adds  int
	costs int64 // average cost of an entry, smoothed
}

func (s *sketch) init(words int) { s.table = make([]uint64, words); s.adds = 0 }

// grow keeps about a word of counters for each entry that fits.
func (s *sketch) grow(cost, total int64) {
	if s.costs == 0 {
		s.costs = cost
	}
	s.costs += (cost - s.costs) / 64
	if want := total / max(s.costs, 1); want > int64(len(s.table)) && len(s.table) < 1<<20 {
		old := s.table
		s.table = make([]uint64, 2*len(old))
		// An index keeps its low bits: both halves start from the old counts.
		copy(s.table, old)
		copy(s.table[len(old):], old)
	}
}

// spots are the four counters of a hash: word index and shift.
func (s *sketch) spot(h uint64, i uint) (word int, shift uint) {
	h = (h ^ h>>32) * [4]uint64{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0xff51afd7ed558ccd, 0x94d049bb133111eb}[i&3]
	return int(h>>20) & (len(s.table) - 1), uint(h>>58) & 15 * 4
}

func (s *sketch) add(h uint64) {
	added := false
	for i := range uint(4) {
		w, shift := s.spot(h, i)
		if s.table[w]>>shift&15 < 15 {
			s.table[w] += 1 << shift
			added = true
		}
	}
	if added {
		if s.adds++; s.adds >= 10*len(s.table) {
			for i, w := range s.table {
				s.table[i] = w >> 1 & 0x7777777777777777
			}
			s.adds /= 2
		}
	}
}

func (s *sketch) count(h uint64) uint64 {
	least := uint64(15)
	for i := range uint(4) {
		w, shift := s.spot(h, i)
		least = min(least, s.table[w]>>shift&15)
	}
	return least
}
