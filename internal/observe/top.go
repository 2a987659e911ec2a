package observe

import "strings"

// other is the label value that stands for all that are not among the most used.
const other = "other"

// top keeps which values of a label have series of their own: the ones that were used most.
// It counts up to limit values beside those, so that a value that comes to be used more can take
// the place of one that is used less (the space-saving algorithm of Metwally, Agrawal and El
// Abbadi). It is not safe for concurrent use.
type top struct {
	limit    int
	resident map[string]*used
	waiting  map[string]*used
}

// used is how often a value was used. If it has no place, uses is at most too much by before, which are the uses of
// the values that it has followed in waiting.
type used struct {
	value        string // a copy of its own
	uses, before int
}

// sure is how often it was certainly used.
func (u *used) sure() int { return u.uses - u.before }

func newTop(limit int) *top {
	return &top{limit: limit, resident: make(map[string]*used), waiting: make(map[string]*used)}
}

// clearlyMore is how many times as much as a resident value a waiting one must be used to
// take its place, and leastUses how much at least: a place that changes often would
// tear counters apart.
const (
	clearlyMore = 2
	leastUses   = 10
)

// use counts a use of value, of which it keeps nothing. It returns the label value for it, and a value that has
// lost its place to it, if lost says so.
func (t *top) use(value string) (label, evicted string, lost bool) {
	if u := t.resident[value]; u != nil {
		u.uses++
		return u.value, "", false
	}
	if len(t.resident) < t.limit {
		u := add(t.resident, value)
		u.uses = 1
		return u.value, "", false
	}
	u := t.wait(value)
	uses := u.sure()
	if uses < leastUses {
		return other, "", false
	}
	least := fewest(t.resident)
	if uses < clearlyMore*least.uses {
		return other, "", false
	}
	delete(t.resident, least.value)
	delete(t.waiting, u.value)
	u.uses, u.before = uses, 0
	t.resident[u.value], t.waiting[least.value] = u, least
	return u.value, least.value, true
}

// add makes value one of values.
func add(values map[string]*used, value string) *used {
	u := &used{value: strings.Clone(value)}
	values[u.value] = u
	return u
}

// wait counts a use of a value without a place.
func (t *top) wait(value string) *used {
	u := t.waiting[value]
	if u == nil {
		before := 0
		if len(t.waiting) >= t.limit {
			least := fewest(t.waiting)
			delete(t.waiting, least.value)
			before = least.uses
		}
		u = add(t.waiting, value)
		u.uses, u.before = before, before
	}
	u.uses++
	return u
}

// fewest returns the one of values that was used least.
func fewest(values map[string]*used) (least *used) {
	for _, u := range values {
		if least == nil || u.uses < least.uses || u.uses == least.uses && u.value < least.value {
			least = u
		}
	}
	return least
}
