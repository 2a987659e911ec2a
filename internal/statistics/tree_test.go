package statistics

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/figures"
)

// garden is a tree that may learn as many templates as is said.
func garden(limit, total int) *tree {
	t := &tree{budget: new(budget), limit: limit, other: &path{template: other}}
	t.budget.limit.Store(int64(total))
	return t
}

var start = time.Unix(1_700_000_000, 0)

// ask counts a request and returns its template.
func (t *tree) ask(rest string, now time.Time) string {
	p := t.find([]byte(rest))
	if p == nil {
		p = t.learn([]byte(rest), now)
	}
	p.used.Store(now.Unix())
	p.Add(&figures.Sample{Duration: time.Millisecond})
	return p.template
}

// total is what all templates have counted.
func (t *tree) total() (n uint64) {
	t.root.each(func(_ *node, p *path) { n += p.Snapshot().Count })
	return n + t.other.Snapshot().Count
}

func (t *tree) templates() (list []string) {
	t.root.each(func(_ *node, p *path) { list = append(list, p.template) })
	slices.Sort(list)
	return list
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                                       "/",
		"users":                                  "/users",
		"users/":                                 "/users/",
		"users/17/orders":                        "/users/{id}/orders",
		"users/alice/orders":                     "/users/alice/orders",
		"v1/models/pets:predict":                 "/v1/models/pets:predict",
		"a/6ba7b810-9dad-11d1-80b4-00c04fd430c8": "/a/{id}",
		"a/deadbeef01":                           "/a/{id}",
		"a/deadbeef":                             "/a/deadbeef", // may be a word
		"a/2026-11-26":                           "/a/{id}",
		"a/order-12345":                          "/a/{id}",
		"static/app.3f2a9c1b.js":                 "/static/{id}.js",
		"static/app.js":                          "/static/app.js",
		"static/17.mp4":                          "/static/{id}.mp4",
		"s3/base64/oauth2":                       "/s3/base64/oauth2",
		"1.2.3":                                  "/{id}",
		"-5":                                     "/{id}",
		"über/uns":                               "/über/uns",
		"a/%2F":                                  "/a/{id}",
		"a/\xff\xfe":                             "/a/{id}",
		"a/\u202e":                               "/a/{id}",
		"a/{id}":                                 "/a/{id}",
		`a/x"y`:                                  "/a/{id}",
		"a/b c":                                  "/a/{id}",
		"a//b":                                   "/a//b",
		"a/" + strings.Repeat("x", 41):           "/a/{id}",
		"1/2/3/4/5/6/7/8/9/10":                   "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{rest...}",
		"a/b/c/d/e/f/g/h":                        "/a/b/c/d/e/f/g/h",
	} {
		if got := garden(10, 10).ask(path, start); got != want {
			t.Errorf("%q: found %q, want %q", path, got, want)
		}
	}
}

// Names without the look of identifiers become one where there are too many; those that are much
// used stay.
func TestManySegments(t *testing.T) {
	t.Parallel()
	g := garden(1000, 1000)
	asked := uint64(0)
	for i := range 300 {
		for range 20 {
			g.ask("blog/new", start)
		}
		g.ask("blog/"+words(i), start)
		g.ask("blog/"+words(i)+"/comments", start)
		g.ask("about", start)
		asked += 23
	}
	want := []string{"/about", "/blog/new", "/blog/{any}", "/blog/{any}/comments"}
	if got := g.templates(); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if got := g.total(); got != asked {
		t.Errorf("%d exchanges were counted, want %d", got, asked)
	}
	if g.count != len(want) || g.budget.count.Load() != int64(len(want)) {
		t.Errorf("counted %d and %d templates, want %d", g.count, g.budget.count.Load(), len(want))
	}
}

// words is a text without digits for each number.
func words(i int) string {
	return strings.Map(func(r rune) rune { return r - '0' + 'g' }, strconv.Itoa(i))
}

// A route with as many templates as it may have folds its widest place; if none is wide, what gets no requests
// leaves, and nothing else.
func TestFull(t *testing.T) {
	t.Parallel()
	g := garden(60, 1000)
	for i := range 30 {
		name := fmt.Sprintf("user-%c%c", 'a'+i%26, 'a'+i/26)
		for _, what := range []string{"orders", "profile", "likes"} {
			g.ask("users/"+name+"/"+what, start.Add(time.Duration(i)*2*time.Second))
		}
	}
	want := []string{"/users/{any}/likes", "/users/{any}/orders", "/users/{any}/profile"}
	if got := g.templates(); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}

	g = garden(3, 1000)
	g.ask("a", start)
	g.ask("b", start.Add(time.Minute))
	g.ask("c", start.Add(9*time.Minute))
	if got := g.ask("d", start.Add(9*time.Minute)); got != other {
		t.Errorf("all are in use: found %q", got)
	}
	if got := g.ask("e", start.Add(10*time.Minute)); got != "/e" {
		t.Errorf("one has not been used for ten minutes: found %q", got)
	}
	if got := g.templates(); !slices.Equal(got, []string{"/b", "/c", "/e"}) {
		t.Errorf("found %q", got)
	}
	if n := g.other.Snapshot().Count; n != 2 {
		t.Errorf("other has counted %d, want 2: a request, and what left", n)
	}
	if got := g.total(); got != 5 {
		t.Errorf("%d exchanges, want 5", got)
	}
}

// All routes share a bound.
func TestBudget(t *testing.T) {
	t.Parallel()
	a := garden(100, 3)
	b := &tree{budget: a.budget, limit: 100, other: &path{template: other}}
	for _, x := range []string{"a", "b"} {
		a.ask(x, start)
		b.ask(x, start)
	}
	if got := len(a.templates()) + len(b.templates()); got != 3 {
		t.Errorf("%d templates, want 3", got)
	}
	if got := b.other.Snapshot().Count; got != 1 {
		t.Errorf("other has counted %d, want 1", got)
	}
}

// Whatever is asked, there are no more templates than may be, nothing is lost, and memory does not grow.
func TestAnythingIsAsked(t *testing.T) {
	g := garden(200, 1000)
	const n = 100_000
	ask := func(from, to int) {
		for i := from; i < to; i++ {
			paths := [...]string{"p" + words(i), words(i/7) + "/" + words(i), fmt.Sprintf("a/%d/%s", i, words(i%300))}
			g.ask(paths[i%len(paths)], start.Add(time.Duration(i)*time.Millisecond))
		}
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	empty := heap()
	ask(0, n/2)
	half := heap()
	ask(n/2, n)
	if all := heap(); all-empty > 1<<20 || all-half > 256<<10 {
		t.Errorf("%d bytes after %d paths, %d after %d", half-empty, n/2, all-empty, n)
	}
	if got := len(g.templates()); got > 200 || got != g.count {
		t.Errorf("%d templates, counted %d, want 200 at most", got, g.count)
	}
	if got := g.total(); got != n {
		t.Errorf("%d exchanges, want %d", got, n)
	}
	nodes := 0
	var walk func(n *node)
	walk = func(n *node) {
		nodes++
		if c := n.children.Load(); c != nil {
			for _, child := range *c {
				walk(child)
			}
		}
		if a := n.any.Load(); a != nil {
			walk(a)
		}
	}
	if walk(&g.root); nodes > 200*(maxDepth+2) {
		t.Errorf("%d places for 200 templates", nodes)
	}
}

// Known templates are found without a lock and without allocating.
func TestFindAllocatesNothing(t *testing.T) {
	g := garden(10, 10)
	rest := []byte("users/1234/orders/app.3f2a9c1b.js")
	g.ask(string(rest), start)
	if n := testing.AllocsPerRun(1000, func() {
		if g.find(rest) == nil {
			t.Error("not found")
		}
	}); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestLearningAtOnce(t *testing.T) {
	t.Parallel()
	g := garden(60, 60)
	var group sync.WaitGroup
	for k := range 4 {
		group.Go(func() {
			for i := range 2000 {
				g.ask(fmt.Sprintf("%s/%s", words(i%90), words(k)), start)
			}
		})
	}
	group.Wait()
	if got := len(g.templates()); got > 60 {
		t.Errorf("%d templates", got)
	}
}

func BenchmarkFind(b *testing.B) {
	g := garden(10, 10)
	rest := []byte("users/1234/orders")
	g.ask(string(rest), start)
	for b.Loop() {
		g.find(rest)
	}
}
