package statistics

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/figures"
)

const (
	// fanOut is how many different segments may follow one another's place in a template: with one
	// more, those that are not much used become one, {any}.
	fanOut = 50
	// wide is how many there must be for that if the route has no room for more templates.
	wide = 20
	// muchUsed is the share of the exchanges at a place that a segment needs to stay itself.
	muchUsed = 4.0 / fanOut
	// unusedFor is how long a template must have been without a request before another may take its place.
	unusedFor = 10 * time.Minute
)

// other is the path of exchanges that have no template of their own.
const other = "other"

// path is what is counted for one template.
type path struct {
	template string
	figures.Figures
	slowest slowest
	marks   marks
	used    atomic.Int64 // when it was last asked for, in Unix seconds
}

// use notes that the template was asked for.
func (p *path) use(now time.Time) {
	// Most often the second is the same, and other processors read the same memory.
	if s := now.Unix(); p.used.Load() != s {
		p.used.Store(s)
	}
}

// tree has the paths of one route that were learned, those below one of the route's own paths, or all.
// Looking up takes no lock.
type tree struct {
	root node

	mu sync.Mutex
	// budget bounds the templates of all routes.
	budget *budget
	// count and limit are the numbers of learned templates that there are and may be.
	count, limit int
	// sought is when an unused template was last looked for.
	sought time.Time
	other  *path // of the route
}

// budget bounds the learned templates of all routes.
type budget struct{ count, limit atomic.Int64 }

// node is a place in templates.
type node struct {
	template string // up to here
	// children are the places of the next segment by its text; the map is never changed. nil: none.
	children atomic.Pointer[map[string]*node]
	// any is the place of all segments that are no children; nil until there were too many.
	any  atomic.Pointer[node]
	leaf atomic.Pointer[path] // nil: no template ends here
}

// next returns the place of a segment of a template after n; nil if it is not known.
func (n *node) next(segment []byte) *node {
	if c := n.child(segment); c != nil {
		return c
	}
	return n.any.Load()
}

// child returns the place after n that a segment of a template has to itself; nil if there is none.
func (n *node) child(segment []byte) *node {
	if children := n.children.Load(); children != nil {
		return (*children)[string(segment)]
	}
	return nil
}

// segments cuts a path into segments.
type segments struct {
	rest  []byte
	depth int
	done  bool
	room  [len(anID) + maxExtension + 1]byte
}

// cut cuts off the next segment, as the path has it but for what is too deep.
func (s *segments) cut() (segment []byte, ok bool) {
	if s.done {
		return nil, false
	}
	if s.depth++; s.depth > maxDepth {
		s.done = true
		return append(s.room[:0], theRest...), true
	}
	end := bytes.IndexByte(s.rest, '/')
	if end < 0 {
		s.done = true
		return s.rest, true
	}
	segment, s.rest = s.rest[:end], s.rest[end+1:]
	return segment, true
}

// fold returns what stands in a template for segment, the last one that was cut off. It is valid until
// the next call.
func (s *segments) fold(segment []byte) []byte {
	if s.depth > maxDepth {
		return segment // all the rest
	}
	return fold(s.room[:0], segment)
}

// setLimit makes limit and b the bounds of t, and returns how many templates it has.
func (t *tree) setLimit(limit int, b *budget) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit, t.budget = limit, b
	return t.count
}

// find returns the path of a request whose path goes on with rest; nil if its template was
// not learned.
func (t *tree) find(rest []byte) *path {
	s := segments{rest: rest}
	n := &t.root
	for {
		segment, ok := s.cut()
		if !ok {
			return n.leaf.Load()
		}
		// Most segments stand for themselves, and are a child. One that begins with a digit seldom does,
		// and no child has a text that would be folded.
		var next *node
		if len(segment) == 0 || segment[0] > '9' {
			next = n.child(segment)
		}
		if next == nil {
			next = n.next(s.fold(segment))
		}
		if n = next; n == nil {
			return nil
		}
	}
}

// learn returns the path of a request whose path goes on with rest, which it learns if there is
// room.
func (t *tree) learn(rest []byte, now time.Time) *path {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.find(rest); p != nil {
		return p
	}
	if !t.haveRoom(now) {
		return t.other
	}
	s := segments{rest: rest}
	n := &t.root
	for {
		segment, ok := s.cut()
		if !ok {
			return t.leafOf(n)
		}
		segment = s.fold(segment)
		next := n.next(segment)
		if next == nil {
			next = t.grow(n, string(segment))
		}
		n = next
	}
}

// leafOf returns the path of a place, a new one if there is none.
func (t *tree) leafOf(n *node) *path {
	p := n.leaf.Load()
	if p == nil {
		p = &path{template: n.template}
		n.leaf.Store(p)
		t.count++
		t.budget.count.Add(1)
	}
	return p
}

// haveRoom says whether a template may be learned. If there are too many, the place with the most
// different segments is folded, or one that was not used for long makes room.
func (t *tree) haveRoom(now time.Time) bool {
	if t.underLimit() {
		return true
	}
	if t.count == 0 || now.Sub(t.sought) < time.Second {
		return false
	}
	t.sought = now
	if w := t.root.widest(); w.width() >= wide {
		t.foldInto(w)
		t.root.prune()
		if t.underLimit() {
			return true
		}
	}
	var oldest *node
	t.root.each(func(n *node, p *path) {
		if oldest == nil || p.used.Load() < oldest.leaf.Load().used.Load() {
			oldest = n
		}
	})
	if now.Unix()-oldest.leaf.Load().used.Load() < int64(unusedFor/time.Second) {
		return false
	}
	t.move(oldest, t.other)
	t.root.prune()
	return true
}

func (t *tree) underLimit() bool {
	return t.count < t.limit && t.budget.count.Load() < t.budget.limit.Load()
}

// width is how many segments there are at a place that may still become one.
func (n *node) width() int {
	if children := n.children.Load(); children != nil && n.any.Load() == nil {
		return len(*children)
	}
	return 0
}

// widest returns the place from n on that has the most different segments.
func (n *node) widest() *node {
	most := n
	if children := n.children.Load(); children != nil {
		for _, c := range *children {
			if w := c.widest(); w.width() > most.width() {
				most = w
			}
		}
	}
	if a := n.any.Load(); a != nil {
		if w := a.widest(); w.width() > most.width() {
			most = w
		}
	}
	return most
}

// move makes what was counted at a place a part of to, and the place one without a template. What is
// counted at the same moment may be lost.
func (t *tree) move(n *node, to *path) {
	p := n.leaf.Swap(nil)
	s := p.Snapshot()
	to.Merge(&s)
	to.marks.merge(&p.marks)
	to.used.Store(max(to.used.Load(), p.used.Load()))
	t.count--
	t.budget.count.Add(-1)
}

// each calls f for all places from n on where a template ends.
func (n *node) each(f func(n *node, p *path)) {
	if p := n.leaf.Load(); p != nil {
		f(n, p)
	}
	if children := n.children.Load(); children != nil {
		for _, c := range *children {
			c.each(f)
		}
	}
	if a := n.any.Load(); a != nil {
		a.each(f)
	}
}

// prune drops places to which no template leads. It says whether one leads to n.
func (n *node) prune() (needed bool) {
	if old := n.children.Load(); old != nil {
		children := maps.Clone(*old)
		maps.DeleteFunc(children, func(_ string, c *node) bool { return !c.prune() })
		n.children.Store(&children)
		needed = len(children) > 0
	}
	if a := n.any.Load(); a != nil {
		a.prune() // it stays: what was too much once would be again
		needed = true
	}
	return needed || n.leaf.Load() != nil
}

// grow makes the place of a segment after n, or, if there are too many already, that of any.
func (t *tree) grow(n *node, segment string) *node {
	children := n.children.Load()
	if n.any.Load() == nil && children != nil && len(*children) >= fanOut {
		t.foldInto(n)
	}
	if a := n.any.Load(); a != nil {
		return a
	}
	child := &node{template: n.template + "/" + segment}
	n.add(segment, child)
	return child
}

// add makes child a child of n.
func (n *node) add(segment string, child *node) {
	next := make(map[string]*node)
	if old := n.children.Load(); old != nil {
		next = maps.Clone(*old)
	}
	next[segment] = child
	n.children.Store(&next)
}

// foldInto makes the children of n that are not much used one, {any}.
func (t *tree) foldInto(n *node) {
	children := *n.children.Load()
	total, weights := uint64(0), make(map[string]uint64)
	for segment, c := range children {
		c.each(func(_ *node, p *path) { weights[segment] += p.Snapshot().Count })
		total += weights[segment]
	}
	rest, kept := &node{template: n.template + "/" + anySeg}, make(map[string]*node)
	for _, segment := range slices.Sorted(maps.Keys(children)) {
		if strings.HasPrefix(segment, anID) || float64(weights[segment]) >= muchUsed*float64(total) {
			kept[segment] = children[segment]
		} else {
			t.merge(rest, children[segment])
		}
	}
	n.any.Store(rest)
	n.children.Store(&kept)
}

// merge makes all that is at from and after it a part of what is at to.
func (t *tree) merge(to, from *node) {
	if from.leaf.Load() != nil {
		t.move(from, t.leafOf(to))
	}
	if children := from.children.Load(); children != nil {
		for _, segment := range slices.Sorted(maps.Keys(*children)) {
			next := to.next([]byte(segment))
			if next == nil {
				next = t.grow(to, segment)
			}
			t.merge(next, (*children)[segment])
		}
	}
	if a := from.any.Load(); a != nil {
		if to.any.Load() == nil {
			to.any.Store(&node{template: to.template + "/" + anySeg})
		}
		t.merge(to.any.Load(), a)
	}
}
