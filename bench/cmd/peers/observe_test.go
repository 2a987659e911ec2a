package main

import "testing"

// What counts is the ratio of the turns that were neighbours, whatever the machine did to both.
func TestObserved(t *testing.T) {
	t.Parallel()
	var pairs []pair
	for _, p := range [][2]float64{{10, 11}, {30, 33}, {20, 20}, {10, 12}, {20, 26}} {
		pairs = append(pairs, pair{sample{CPU: p[0]}, sample{CPU: p[1]}})
	}
	want := "| what is watched | off | on | ratio | quartiles |\n|---|---|---|---|---|\n| access log | 20.00 | 20.00 | 1.100 | 1.100 to 1.200 |\n"
	if got := observed(watches()[:1], [][]pair{pairs}); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	for n, want := range []float64{1, 1.5, 2, 2.5, 3} {
		if got := quartile([]float64{1, 2, 3}, n); got != want {
			t.Errorf("quartile %d is %g, want %g", n, got, want)
		}
	}
}
