package refs

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestCount(t *testing.T) {
	var c Count
	check := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("first hold", c.Hold(), true)
	check("second hold", c.Hold(), true)
	check("first release", c.Release(), false)
	check("last release", c.Release(), true)
	check("hold of a closed one", c.Hold(), false)
	check("and again", c.Hold(), false)
}

// However holders come and go, the thing is closed once, and never while it is held.
func TestClosedOnce(t *testing.T) {
	for range 2000 {
		var c Count
		var closings, broken atomic.Int32
		c.Hold()
		release := func() {
			if c.Release() {
				closings.Add(1)
			}
		}
		var running sync.WaitGroup
		running.Go(release)
		for range 4 {
			running.Go(func() {
				for range 4 {
					if !c.Hold() {
						continue
					}
					if closings.Load() > 0 {
						broken.Add(1)
					}
					release()
				}
			})
		}
		running.Wait()
		if closings.Load() != 1 || broken.Load() != 0 {
			t.Fatalf("closed %d times, %d times while held", closings.Load(), broken.Load())
		}
	}
}
