package observe

// other is the label value that stands for all that are not among the most used.
const other = "other"

// top keeps which values of a label have series of their own: the ones that were used most.
// It counts up to limit values beside those, so that a value that comes to be used more can take
// the place of one that is used less (the space-saving algorithm of Metwally, Agrawal and El
// Abbadi). It is not safe for concurrent use.
type top struct {
	limit    int
	resident map[string]int // uses by value
	waiting  map[string]waiter
}

// waiter is a value without a place. uses is at most too much by before, which are the uses of
// the values that it has followed in waiting.
type waiter struct{ uses, before int }

// sure is how often it was certainly used.
func (w waiter) sure() int { return w.uses - w.before }

func newTop(limit int) *top {
	return &top{limit: limit, resident: make(map[string]int), waiting: make(map[string]waiter)}
}

// clearlyMore is how many times as much as a resident value a waiting one must be used to
// take its place, and leastUses how much at least: a place that changes often would
// tear counters apart.
const (
	clearlyMore = 2
	leastUses   = 10
)

// use counts a use of value. It returns the label value for it, and a value that has
// lost its place to it, if lost says so.
func (t *top) use(value string) (label, evicted string, lost bool) {
	if _, ok := t.resident[value]; ok {
		t.resident[value]++
		return value, "", false
	}
	if len(t.resident) < t.limit {
		t.resident[value] = 1
		return value, "", false
	}
	uses := t.wait(value).sure()
	if uses < leastUses {
		return other, "", false
	}
	least, n := fewest(t.resident, func(uses int) int { return uses })
	if uses < clearlyMore*n {
		return other, "", false
	}
	delete(t.resident, least)
	delete(t.waiting, value)
	t.resident[value] = uses
	t.waiting[least] = waiter{uses: n}
	return value, least, true
}

// wait counts a use of a value without a place.
func (t *top) wait(value string) waiter {
	w, known := t.waiting[value]
	if !known && len(t.waiting) >= t.limit {
		least, n := fewest(t.waiting, func(w waiter) int { return w.uses })
		delete(t.waiting, least)
		w = waiter{uses: n, before: n}
	}
	w.uses++
	t.waiting[value] = w
	return w
}

// fewest returns the value that was used least, and how often that was.
func fewest[V any](values map[string]V, uses func(V) int) (value string, n int) {
	n = -1
	for v, u := range values {
		if k := uses(u); n < 0 || k < n || k == n && v < value {
			value, n = v, k
		}
	}
	return value, n
}
