package balance_test

import (
	"fmt"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/lb"
	"weir/lb/balance"
)

// large builds an upstream of n targets, every third of double weight.
func large(t testing.TB, algorithm string, n int) *lb.Upstream {
	cfg := config.DefaultUpstream()
	cfg.Balance = algorithm
	for i := range n {
		cfg.Targets = append(cfg.Targets, config.Target{URL: fmt.Sprintf("http://10.%d.%d.%d", i>>16, i>>8&255, i&255), Weight: 1 + i%3/2})
	}
	u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: balance.Algorithms()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// BenchmarkPick is one Acquire and Release per turn, while as many exchanges
// run as there are targets, so that no algorithm finds an idle one at once.
func BenchmarkPick(b *testing.B) {
	for _, a := range balance.Algorithms() {
		for _, n := range []int{3, 100, testkit.Rounds(1_000, 10_000)} {
			b.Run(fmt.Sprintf("%s/%d", a.Name, n), func(b *testing.B) {
				u := large(b, a.Name, n)
				open := make([]*lb.Target, n)
				for i := range open {
					open[i], _ = u.Acquire(new(lb.Pick))
					u.Report(open[i], ok)
				}
				var p lb.Pick
				key := []byte("192.0.2.1")
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					p.Reset()
					key[0] = byte(i)
					if a.NeedsKey {
						p.SetKey(key)
					}
					p.Now = lb.Monotonic()
					t, err := u.Acquire(&p)
					if err != nil {
						b.Fatal(err)
					}
					u.Release(open[i%n], ok)
					open[i%n] = t
				}
			})
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, a := range balance.Algorithms() {
		for _, n := range []int{3, 100, testkit.Rounds(1_000, 10_000)} {
			u := large(t, a.Name, n)
			var p lb.Pick
			key := []byte("192.0.2.1")
			if got := testing.AllocsPerRun(100, func() {
				p.Reset()
				if a.NeedsKey {
					p.SetKey(key)
				}
				target, err := u.Acquire(&p)
				if err != nil {
					t.Fatal(err)
				}
				u.Release(target, ok)
			}); got != 0 {
				t.Errorf("%s with %d targets: %v allocations per pick", a.Name, n, got)
			}
		}
	}
}

// BenchmarkPickWhileSetsChange is BenchmarkPick of p2c with 10,000 targets that were found, of which the
// weight of one changes five times a second: a pick takes no lock, so it costs what it costs without.
func BenchmarkPickWhileSetsChange(b *testing.B) {
	u := large(b, "p2c", 1)
	found := make([]lb.Endpoint, 10_000)
	for i := range found {
		found[i] = lb.Endpoint{URL: fmt.Sprintf("http://10.0.%d.%d:80", i>>8, i&255), Weight: 1}
	}
	if err := u.SetEndpoints(found); err != nil {
		b.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				found[i%len(found)].Weight++
				if err := u.SetEndpoints(found); err != nil {
					b.Error(err)
				}
			case <-stop:
				return
			}
		}
	}()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			t, err := u.Acquire(&lb.Pick{Now: lb.Monotonic()})
			if err != nil {
				b.Error(err)
				return
			}
			u.Release(t, ok)
		}
	})
	close(stop)
	<-stopped
}
