package lb_test

import (
	"testing"
	"time"

	"weir/config"
	"weir/lb"
)

// FuzzRetryAfter holds that no field makes a wait that is negative or longer
// than configured.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "3", "99999999999999999999", "-1", "Wed, 01 Jul 2026 12:00:03 GMT", "Wed, 01 Jul 0000 12:00:03 GMT", "soon"} {
		f.Add(seed)
	}
	const longest = 3 * time.Second
	r := newStand(f, "a", func(c *config.Upstream) {
		c.Retry.On = []string{"503"}
		c.Retry.RetryAfter = config.Duration(longest)
		c.Retry.Budget, c.Retry.BudgetFloor = 1, 1<<30
	}).Retry()
	wall := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		wait, refusal := r.Next(lb.Try{Attempt: 1, Status: 503, Repeatable: true, RetryAfter: []byte(value)}, lb.Monotonic(), wall, 0)
		if wait < 0 || wait > longest || refusal != lb.RetryAllowed && refusal != lb.RetryAfterTooLong {
			t.Errorf("%q: wait %v, %v", value, wait, refusal)
		}
	})
}
