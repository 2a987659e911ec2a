// Package evict decides which entry leaves a full cache: the replacement
// policies, over the hash of a key and a cost. It knows neither entries nor
// locks; package cache calls it with the lock of a shard held.
package evict

import (
	"fmt"
	"strings"
)

// Node is the place of a value in a Ranking, which owns what is not exported.
type Node[T any] struct {
	Value T
	// Hash is that of the value's key, Cost what counts against the bound.
	// Neither changes while the node is in a Ranking.
	Hash       uint64
	Cost       int64
	prev, next *Node[T]
	list       uint8 // which of the ranking's lists holds it
}

// Ranking decides which node leaves. Its methods are called by one goroutine at a
// time.
type Ranking[T any] interface {
	// Add takes a new node.
	Add(n *Node[T])
	// Touch says that n was asked for.
	Touch(n *Node[T])
	// Remove forgets n.
	Remove(n *Node[T])
	// Victim is the node to drop next, nil if there is none. It stays in the
	// ranking until it is removed.
	Victim() *Node[T]
}

// policy is a replacement policy by its name.
type policy[T any] struct {
	name string
	make func() Ranking[T]
}

func policies[T any]() []policy[T] {
	return []policy[T]{
		{"lru", func() Ranking[T] { return newLRU[T]() }},
		{"tinylfu", func() Ranking[T] { return newTinyLFU[T]() }},
	}
}

// Policies are the names of the replacement policies. The caller owns the list.
func Policies() (names []string) {
	for _, p := range policies[struct{}]() {
		names = append(names, p.name)
	}
	return names
}

// New returns what makes rankings of the policy with that name.
func New[T any](name string) (func() Ranking[T], error) {
	for _, p := range policies[T]() {
		if p.name == name {
			return p.make, nil
		}
	}
	return nil, fmt.Errorf("cannot use cache policy %q: expected one of %s", name, strings.Join(Policies(), ", "))
}

// queue is a ring of nodes, the most recent first.
type queue[T any] struct {
	root  Node[T]
	bytes int64
}

func (q *queue[T]) init() { q.root.prev, q.root.next = &q.root, &q.root }

func (q *queue[T]) push(n *Node[T]) {
	n.prev, n.next = &q.root, q.root.next
	n.prev.next, n.next.prev = n, n
	q.bytes += n.Cost
}

func (q *queue[T]) cut(n *Node[T]) {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
	q.bytes -= n.Cost
}

func (q *queue[T]) front(n *Node[T]) {
	if q.root.next == n {
		return
	}
	q.cut(n)
	q.push(n)
}

// last is the least recent node, nil if there is none.
func (q *queue[T]) last() *Node[T] {
	if q.root.prev == &q.root {
		return nil
	}
	return q.root.prev
}

// lru drops what was not used for longest.
type lru[T any] struct{ queue[T] }

func newLRU[T any]() *lru[T] {
	l := new(lru[T])
	l.init()
	return l
}

func (l *lru[T]) Add(n *Node[T])    { l.push(n) }
func (l *lru[T]) Touch(n *Node[T])  { l.front(n) }
func (l *lru[T]) Remove(n *Node[T]) { l.cut(n) }
func (l *lru[T]) Victim() *Node[T]  { return l.last() }
