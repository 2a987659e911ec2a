package server_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"weir/lb"
)

// processorTime returns how long the process has used processors.
func processorTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkRegistryChanges makes 1,000 changes a second to a service of 10,000 endpoints: half of them
// change a weight, a quarter removes an endpoint, and a quarter brings a new one. It reports the
// share of one processor that this takes; -benchtime 10000x takes ten seconds.
func BenchmarkRegistryChanges(b *testing.B) {
	w := launch(b, byVersion)
	r := w.Registry()
	add := func(i, weight int) {
		e := lb.Endpoint{URL: fmt.Sprintf("http://10.%d.%d.%d:80", i>>16&255, i>>8&255, i&255), Weight: weight}
		if err := r.Add("shop", "v1", e); err != nil {
			b.Fatal(err)
		}
	}
	const endpoints = 10_000
	for i := range endpoints {
		add(i, 1)
	}
	time.Sleep(2 * time.Second) // the first large set is there
	used, began := processorTime(b), time.Now()
	b.ResetTimer()
	oldest, newest := 0, endpoints
	for n := range b.N {
		switch n % 4 {
		case 0:
			list := fmt.Sprintf("http://10.%d.%d.%d:80", oldest>>16&255, oldest>>8&255, oldest&255)
			r.Delete("shop", "v1", list)
			oldest++
		case 1:
			add(newest, 1)
			newest++
		default:
			add(oldest+n%(newest-oldest), 1+n%7)
		}
		if n%10 == 9 {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Millisecond)))
		}
	}
	b.ReportMetric(100*float64(processorTime(b)-used)/float64(time.Since(began)), "%cpu")
}
