package cache_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weir/cache"
	"weir/cache/evict"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
)

// BenchmarkHit is a fresh hit from look-up to head.
func BenchmarkHit(b *testing.B) {
	for _, vary := range []string{"X: y", "Vary: Accept-Encoding"} {
		b.Run(vary, func(b *testing.B) {
			d := newDriver(b, 64<<20, nil)
			fields := rule.Fields("Accept-Encoding: gzip, br\r\nUser-Agent: x\r\nAccept: */*\r\n")
			for i := range 1000 {
				d.do(b, fmt.Sprintf("GET http://www.example.org/some/path/%d?x=y", i), fields, "", func(*head.Head) message {
					m := answer(200, "Cache-Control: max-age=1000", "ETag: \"a\"", "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT", vary)
					m.body = strings.Repeat("x", 1<<10)
					return m
				})
			}
			q := d.request(b, "GET http://www.example.org/some/path/77?x=y", fields, "")
			var h head.Head
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				found := d.store.Lookup(q)
				a, ok := d.store.Answer(q, &found)
				if !ok || found.Outcome != rule.Fresh {
					b.Fatal(found.Outcome)
				}
				a.Lend(&h)
				h.Add(head.Age, []byte("1"))
				out = h.AppendTo(out[:0])
			}
		})
	}
}

// traces are ways to ask for keys.
var traces = []struct {
	name string
	make func(n int) []int
}{
	{"zipf", func(n int) []int {
		z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, 1<<20)
		keys := make([]int, n)
		for i := range keys {
			keys[i] = int(z.Uint64())
		}
		return keys
	}},
	{"zipf and scan", func(n int) []int {
		z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, 1<<20)
		keys := make([]int, n)
		for i := range keys {
			if i/20000%2 == 1 {
				keys[i] = 1<<21 + i
			} else {
				keys[i] = int(z.Uint64())
			}
		}
		return keys
	}},
	{"loop", func(n int) []int {
		keys := make([]int, n)
		for i := range keys {
			keys[i] = i % 15000
		}
		return keys
	}},
	{"shift", func(n int) []int {
		z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<18)
		keys := make([]int, n)
		for i := range keys {
			keys[i] = int(z.Uint64()) + i/100000<<18
		}
		return keys
	}},
}

// BenchmarkPolicy reports the share of hits, in percent, of each policy on each
// trace, for a tier that holds about 10,000 entries.
func BenchmarkPolicy(b *testing.B) {
	for _, trace := range traces {
		keys := trace.make(400_000)
		for _, policy := range evict.Policies() {
			b.Run(trace.name+"/"+policy, func(b *testing.B) {
				for b.Loop() {
					b.ReportMetric(replay(b, policy, keys), "hit%")
				}
			})
		}
	}
}

func replay(b *testing.B, policy string, keys []int) float64 {
	c := config.Default().Cache
	c.Size, c.MaxObject, c.Policy = 6<<20, 1<<20, policy
	store, err := cache.NewStore(&c)
	if err != nil {
		b.Fatal(err)
	}
	p, err := rule.NewPolicy(config.DefaultRouteCache())
	if err != nil {
		b.Fatal(err)
	}
	d := &driver{store: store, policy: p, now: epoch}
	q := d.request(b, "GET http://h/", nil, "")
	hits := 0
	answer := response(200, "Cache-Control: max-age=100000\r\n")
	answer.Requested, answer.Received = epoch, epoch
	for _, k := range keys {
		q.Target = fmt.Appendf(q.Target[:0], "/%d", k)
		found := store.Lookup(q)
		if found.Outcome == rule.Fresh {
			hits++
			continue
		}
		f, _ := store.Join(q, &found, false)
		f.Respond(q, answer)
		f.Write(nil)
		f.Commit()
	}
	return 100 * float64(hits) / float64(len(keys))
}
