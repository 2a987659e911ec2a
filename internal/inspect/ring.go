package inspect

import "sort"

// ring keeps the last exchanges that fit into a number of bytes. Recorder.mu guards it.
type ring struct {
	budget int64
	used   int64
	// list[first:] are the exchanges, in the order of their numbers.
	list  []*kept
	first int
}

// push adds k, and drops the oldest until it fits. It returns false if k alone is too large.
func (r *ring) push(k *kept) bool {
	if k.size > r.budget {
		return false
	}
	for r.used+k.size > r.budget {
		r.drop()
	}
	r.list = append(r.list, k)
	r.used += k.size
	return true
}

// drop drops the oldest.
func (r *ring) drop() {
	r.used -= r.list[r.first].size
	r.list[r.first] = nil
	r.first++
	if r.first > len(r.list)/2 {
		r.list = append(r.list[:0], r.list[r.first:]...)
		clear(r.list[len(r.list):cap(r.list)])
		r.first = 0
	}
}

// setBudget changes the budget, and drops the oldest until the rest fits.
func (r *ring) setBudget(budget int64) {
	r.budget = budget
	for r.used > budget {
		r.drop()
	}
}

// all are the exchanges, oldest first.
func (r *ring) all() []*kept { return r.list[r.first:] }

func (r *ring) clear() (n int) {
	n = len(r.all())
	r.list, r.first, r.used = nil, 0, 0
	return n
}

// find returns the exchange of that number, or nil.
func (r *ring) find(number uint64) *kept {
	list := r.all()
	i := sort.Search(len(list), func(i int) bool { return list[i].number >= number })
	if i < len(list) && list[i].number == number {
		return list[i]
	}
	return nil
}
