package redis_test

import (
	"testing"
	"time"

	"weir/cache/redis"
	"weir/config"
	"weir/internal/testkit"
)

// reports is a tier.Follower that counts.
type reports struct{ all, caughtUp chan struct{} }

func (reports) Follow([]byte) {}
func (reports) Lost(int64)    {}
func (reports) Damaged(error) {}

func (r reports) CaughtUp(string) {
	select {
	case r.caughtUp <- struct{}{}:
	default:
	}
}

func (r reports) Report(error) {
	select {
	case r.all <- struct{}{}:
	default:
	}
}

// TestClockAhead: a weir whose clock is a day ahead of the server's uses it, and does not fill the
// stream of purges.
func TestClockAhead(t *testing.T) {
	p := newProcess(t)
	c := config.Default().Cache.Far
	c.URL, c.Timeout = "redis://"+p.addr(), timeout
	r, err := redis.New(&c, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWall(func() time.Time { return time.Now().Add(24 * time.Hour) })
	seen := reports{make(chan struct{}), make(chan struct{}, 1)}
	if err := r.Start(seen, ""); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		<-seen.all
	}
	if n := p.cli("XLEN", c.Prefix+"marks"); n != "1" && n != "2" {
		t.Errorf("the stream has %s entries", n)
	}
	testkit.Eventually(t, "the tier is usable", func() bool { _, _, err := r.Get([]byte("x")); return err == nil })
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
