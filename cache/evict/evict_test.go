package evict_test

import (
	"slices"
	"strings"
	"testing"

	"weir/cache/evict"
)

// full is a ranking with room for that many nodes of cost 1.
type full struct {
	evict.Ranking[string]
	room  int
	nodes map[string]*evict.Node[string]
}

func newFull(t *testing.T, policy string, room int) *full {
	t.Helper()
	newRanking, err := evict.New[string](policy)
	if err != nil {
		t.Fatal(err)
	}
	return &full{newRanking(), room, map[string]*evict.Node[string]{}}
}

// ask touches each of the names, or adds it and drops what leaves for it.
func (f *full) ask(names ...string) {
	for _, name := range names {
		if n := f.nodes[name]; n != nil {
			f.Touch(n)
			continue
		}
		for len(f.nodes) >= f.room {
			n := f.Victim()
			f.Remove(n)
			delete(f.nodes, n.Value)
		}
		hash := uint64(14695981039346656037)
		for _, c := range []byte(name) {
			hash = (hash ^ uint64(c)) * 1099511628211
		}
		f.nodes[name] = &evict.Node[string]{Value: name, Hash: hash, Cost: 1}
		f.Add(f.nodes[name])
	}
}

func TestLRU(t *testing.T) {
	f := newFull(t, "lru", 3)
	f.ask("a", "b", "c", "a", "d")
	if f.nodes["b"] != nil || f.nodes["a"] == nil {
		t.Errorf("%v are left", f.nodes)
	}
	f.Remove(f.nodes["c"])
	delete(f.nodes, "c")
	f.ask("e", "f")
	if f.nodes["a"] != nil || f.nodes["d"] == nil {
		t.Errorf("%v are left", f.nodes)
	}
}

// TestScan: what is asked for again and again survives names that are asked for
// once.
func TestScan(t *testing.T) {
	f := newFull(t, "tinylfu", 100)
	var popular []string
	for i := range 40 {
		popular = append(popular, "popular"+strings.Repeat("x", i))
	}
	for range 5 {
		f.ask(popular...)
	}
	for i := range 1000 {
		f.ask("once" + strings.Repeat("y", i))
	}
	left := 0
	for _, name := range popular {
		if f.nodes[name] != nil {
			left++
		}
	}
	if left < 36 {
		t.Errorf("%d of %d popular names are left", left, len(popular))
	}
}

// TestPolicies: every policy gives back what it was given, and then has nothing.
func TestPolicies(t *testing.T) {
	for _, policy := range evict.Policies() {
		f := newFull(t, policy, 50)
		for i := range 50 {
			f.ask(strings.Repeat("z", i+1), "z")
		}
		for i := range 50 {
			n := f.Victim()
			if n == nil {
				t.Fatalf("%s has nothing after %d of 50", policy, i)
			}
			f.Remove(n)
		}
		if n := f.Victim(); n != nil {
			t.Errorf("%s still has %q", policy, n.Value)
		}
	}
	if _, err := evict.New[int]("fifo"); err == nil || !strings.Contains(err.Error(), strings.Join(evict.Policies(), ", ")) {
		t.Errorf("an unknown policy: %v", err)
	}
	if !slices.Contains(evict.Policies(), "lru") {
		t.Error("no lru")
	}
}
