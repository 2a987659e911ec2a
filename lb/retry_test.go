package lb_test

import (
	"fmt"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/balance"
)

func TestRetryJudge(t *testing.T) {
	r := newStand(t, "a", func(c *config.Upstream) {
		c.Retry.Attempts = 3
		c.Retry.On = []string{"connect", "reset", "timeout", "503", "unavailable"}
	}).Retry()
	check := func(what string, try lb.Try, want lb.Refusal) {
		t.Helper()
		try.Attempt = max(1, try.Attempt)
		equal(t, what, r.Judge(try), want)
	}
	check("nothing was sent, POST", lb.Try{Kind: lb.ConnectFailed}, lb.RetryAllowed)
	check("something was sent, POST", lb.Try{Kind: lb.Reset, Sent: true}, lb.RetryUnsafe)
	check("something was sent, GET", lb.Try{Kind: lb.Reset, Sent: true, Repeatable: true}, lb.RetryAllowed)
	check("garbage instead of a response", lb.Try{Kind: lb.BadResponse, Sent: true, Repeatable: true}, lb.RetryAllowed)
	check("time-out, POST", lb.Try{Kind: lb.Timeout, Sent: true}, lb.RetryUnsafe)
	check("503, GET", lb.Try{Status: 503, Sent: true, Repeatable: true}, lb.RetryAllowed)
	check("503, POST", lb.Try{Status: 503, Sent: true}, lb.RetryUnsafe)
	check("503, call of gRPC", lb.Try{Status: 503, Sent: true, Call: true}, lb.RetryAllowed)
	check("reset, call of gRPC", lb.Try{Kind: lb.Reset, Sent: true, Call: true}, lb.RetryUnsafe)
	check("504, call of gRPC", lb.Try{Status: 504, Sent: true, Call: true}, lb.RetryNotAsked)
	check("502, GET", lb.Try{Status: 502, Sent: true, Repeatable: true}, lb.RetryNotAsked)
	check("200, GET", lb.Try{Status: 200, Sent: true, Repeatable: true}, lb.RetryNotAsked)
	check("no status", lb.Try{Sent: true, Repeatable: true}, lb.RetryNotAsked)
	check("absurd status", lb.Try{Status: 999, Sent: true, Repeatable: true}, lb.RetryNotAsked)
	check("the client has a byte", lb.Try{Kind: lb.Reset, Sent: true, Repeatable: true, Answered: true}, lb.RetryAnswered)
	check("the body is gone", lb.Try{Kind: lb.Reset, Sent: true, Repeatable: true, BodyGone: true}, lb.RetryBodyGone)
	check("second attempt", lb.Try{Kind: lb.ConnectFailed, Attempt: 2}, lb.RetryAllowed)
	check("last attempt", lb.Try{Kind: lb.Reset, Attempt: 3, Sent: true, Repeatable: true}, lb.RetryAttempts)
	check("one more that reached no target", lb.Try{Kind: lb.ConnectFailed, Attempt: 3}, lb.RetryAllowed)
	check("many that reached no target", lb.Try{Kind: lb.ConnectFailed, Attempt: 8}, lb.RetryAttempts)
	check("the client went away", lb.Try{Kind: lb.Canceled, Repeatable: true}, lb.RetryNotAsked)
	check("our own failure", lb.Try{Kind: lb.LocalError, Repeatable: true}, lb.RetryNotAsked)
}

// A target that says 503 costs no request that can be repeated, without any setting; what it may
// have acted on is not sent again.
func TestRetryDefault(t *testing.T) {
	r := newStand(t, "a", nil).Retry()
	equal(t, "503, GET", r.Judge(lb.Try{Attempt: 1, Status: 503, Sent: true, Repeatable: true}), lb.RetryAllowed)
	equal(t, "503, POST", r.Judge(lb.Try{Attempt: 1, Status: 503, Sent: true}), lb.RetryUnsafe)
	equal(t, "503, call of gRPC", r.Judge(lb.Try{Attempt: 1, Status: 503, Sent: true, Call: true}), lb.RetryUnsafe)
	equal(t, "502, GET", r.Judge(lb.Try{Attempt: 1, Status: 502, Sent: true, Repeatable: true}), lb.RetryNotAsked)
}

func TestIdempotent(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"} {
		equal(t, method, lb.Idempotent([]byte(method)), true)
	}
	for _, method := range []string{"POST", "PATCH", "CONNECT", "get", ""} {
		equal(t, method, lb.Idempotent([]byte(method)), false)
	}
}

func TestRetryWait(t *testing.T) {
	r := newStand(t, "a", func(c *config.Upstream) {
		c.Retry.Attempts = 8
		c.Retry.On = []string{"connect", "reset", "503"}
		c.Retry.Backoff = config.Duration(100 * time.Millisecond)
		c.Retry.BackoffMax = config.Duration(500 * time.Millisecond)
		c.Retry.RetryAfter = config.Duration(3 * time.Second)
		c.Retry.BudgetFloor = 1000
	}).Retry()
	wall := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	const least, most = 0, ^uint64(0)
	check := func(what string, try lb.Try, chance uint64, want time.Duration, refusal lb.Refusal) {
		t.Helper()
		try.Repeatable, try.Sent = true, true
		wait, got := r.Next(try, lb.Monotonic(), wall, chance)
		equal(t, what, got, refusal)
		equal(t, what, wait.Round(time.Millisecond), want)
	}
	check("first connect", lb.Try{Attempt: 1, Kind: lb.ConnectFailed}, most, 0, lb.RetryAllowed)
	check("second connect", lb.Try{Attempt: 2, Kind: lb.ConnectFailed}, most, 200*time.Millisecond, lb.RetryAllowed)
	check("first", lb.Try{Attempt: 1, Kind: lb.Reset}, most, 100*time.Millisecond, lb.RetryAllowed)
	check("first, least", lb.Try{Attempt: 1, Kind: lb.Reset}, least, 50*time.Millisecond, lb.RetryAllowed)
	check("third", lb.Try{Attempt: 3, Kind: lb.Reset}, most, 400*time.Millisecond, lb.RetryAllowed)
	check("fourth", lb.Try{Attempt: 4, Kind: lb.Reset}, most, 500*time.Millisecond, lb.RetryAllowed)
	check("seventh", lb.Try{Attempt: 7, Kind: lb.Reset}, least, 250*time.Millisecond, lb.RetryAllowed)

	after := func(value string) lb.Try {
		return lb.Try{Attempt: 1, Status: 503, RetryAfter: []byte(value)}
	}
	check("seconds", after("2"), most, 2*time.Second, lb.RetryAllowed)
	check("too many seconds", after("4"), most, 0, lb.RetryAfterTooLong)
	check("absurdly many", after("99999999999999999999999"), most, 0, lb.RetryAfterTooLong)
	check("0 seconds", after("0"), most, 100*time.Millisecond, lb.RetryAllowed)
	check("a date", after("Wed, 01 Jul 2026 12:00:03 GMT"), most, 3*time.Second, lb.RetryAllowed)
	check("a late date", after("Wed, 01 Jul 2026 12:00:04 GMT"), most, 0, lb.RetryAfterTooLong)
	check("a date that has passed", after("Wed, 01 Jul 2026 11:00:00 GMT"), most, 100*time.Millisecond, lb.RetryAllowed)
	check("an obsolete date", after("Wednesday, 01-Jul-26 12:00:02 GMT"), most, 2*time.Second, lb.RetryAllowed)
	check("nonsense", after("soon"), most, 100*time.Millisecond, lb.RetryAllowed)
}

func TestBudget(t *testing.T) {
	s := newStand(t, "a", nil) // 20 % and 10
	b := s.Retry().Budget
	withdraw := func(n int) (allowed int) {
		for range n {
			if b.Withdraw(s.Clock.Load()) {
				allowed++
			}
		}
		return allowed
	}
	equal(t, "without exchanges, the floor", withdraw(100), 10)
	s.Pass(10 * time.Second)
	for range 1000 {
		b.Deposit(s.Clock.Load())
		s.Pass(time.Millisecond)
	}
	equal(t, "a fifth and the floor", withdraw(1000), 210)
	used, allowed := b.Used(s.Clock.Load())
	equal(t, "used", used, 210)
	equal(t, "allowed", allowed, 210)
	b.Refund(s.Clock.Load())
	equal(t, "after a refund", withdraw(10), 1)

	// A reload does not fill the purse.
	s.Upstream = s.Build("a", nil, s.Upstream)
	b = s.Retry().Budget
	equal(t, "after a reload", withdraw(10), 0)

	// What is more than ten seconds ago does not count.
	s.Pass(11 * time.Second)
	equal(t, "later", withdraw(100), 10)

	// A dead upstream at a steady rate gets its load and a fifth.
	s.Pass(time.Minute)
	attempts := 0
	const exchanges = 60_000
	for range exchanges {
		now := s.Clock.Load()
		b.Deposit(now)
		for attempts++; b.Withdraw(now); attempts++ {
		}
		s.Pass(time.Millisecond)
	}
	if perRequest := float64(attempts) / exchanges; perRequest > 1.21 || perRequest < 1.15 {
		t.Errorf("%.3f attempts per request, want 1.2", perRequest)
	}

	none := newStand(t, "a", func(c *config.Upstream) { c.Retry.Budget, c.Retry.BudgetFloor = 0, 0 })
	none.Retry().Budget.Deposit(none.Clock.Load())
	equal(t, "no budget", none.Retry().Budget.Withdraw(none.Clock.Load()), false)
}

func TestHedgeDelay(t *testing.T) {
	s := newStand(t, "a b", func(c *config.Upstream) {
		c.Retry.Hedge = 0.9
		c.Retry.HedgeMin = config.Duration(5 * time.Millisecond)
	})
	send := func(n int, latency time.Duration) {
		s.Picks(n, lb.Outcome{Kind: lb.Success, Status: 200, Latency: latency})
	}
	check := func(what string, least, most time.Duration, want bool) {
		t.Helper()
		s.Pass(time.Second)
		got, on := s.HedgeDelay(s.Clock.Load())
		equal(t, what, on, want)
		if got < least || got > most {
			t.Errorf("%s: got %v, want %v to %v", what, got, least, most)
		}
	}
	send(50, 20*time.Millisecond)
	check("too few to say", 0, time.Hour, false)
	send(850, 20*time.Millisecond)
	send(100, time.Second)
	check("most are fast", 20*time.Millisecond, 23*time.Millisecond, true)
	send(500, time.Second)
	check("too many are slow", time.Second, 1130*time.Millisecond, true)
	// Old ones are forgotten.
	s.Pass(30 * time.Second)
	send(200, time.Millisecond)
	check("all are very fast", 5*time.Millisecond, 5*time.Millisecond, true)

	off := newStand(t, "a", nil)
	_, on := off.HedgeDelay(off.Clock.Load())
	equal(t, "by default", on, false)
}

func ExampleRetryPolicy_Judge() {
	cfg := config.DefaultUpstream()
	cfg.Targets = []config.Target{{URL: "http://127.0.0.1:9001"}}
	u, err := lb.NewUpstream("origin", &cfg, lb.Options{Algorithms: balance.Algorithms()}, nil)
	if err != nil {
		panic(err)
	}
	defer u.Close()
	fmt.Println(u.Retry().Judge(lb.Try{Attempt: 1, Kind: lb.Reset, Sent: true}))
	fmt.Println(u.Retry().Judge(lb.Try{Attempt: 1, Kind: lb.Reset, Sent: true, Repeatable: true}))
	// Output:
	// unsafe
	// allowed
}
