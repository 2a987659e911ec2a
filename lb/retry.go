package lb

import (
	"strconv"
	"time"

	"weir/config"
	"weir/internal/field"
)

// RetryPolicy decides whether an exchange gets another attempt. It is immutable
// but for the budget's counts.
type RetryPolicy struct {
	// Attempts is how often an exchange is tried at most; at least 1.
	Attempts int
	// TryTimeout bounds one attempt up to its response's head; 0 means no bound.
	TryTimeout time.Duration
	// Body is how many bytes of a request's body are kept for another attempt.
	Body int
	// Budget bounds retries and hedges.
	Budget *Budget

	backoff, backoffMax time.Duration
	retryAfter          time.Duration
	kinds               [LocalError + 1]bool
	statuses            statusSet
	unavailable         bool // retry.on has "unavailable"
}

// statusSet is a set of status codes: a bit for each below 640.
type statusSet [10]uint64

func (s *statusSet) has(status int) bool {
	return status >= 0 && status < 64*len(s) && s[status/64]&(1<<(status%64)) != 0
}

// add adds the code that text names, or returns false if that is none from 400 to 599.
func (s *statusSet) add(text string) bool {
	status, err := strconv.Atoi(text)
	if err != nil || len(text) != 3 || status < 400 || status > 599 {
		return false
	}
	s[status/64] |= 1 << (status % 64)
	return true
}

// Refusal is why an exchange gets no other attempt; its name is for logs and metrics.
type Refusal uint8

// The reasons against another attempt.
const (
	// RetryAllowed: there is no reason against it.
	RetryAllowed Refusal = iota
	// RetryNotAsked: retry.on does not name what happened.
	RetryNotAsked
	// RetryAnswered: the client has the beginning of a response.
	RetryAnswered
	// RetryUnsafe: the target may have acted on the request, and repeating it is not safe.
	RetryUnsafe
	// RetryBodyGone: the request's body was longer than what is kept.
	RetryBodyGone
	// RetryAttempts: all attempts are used up.
	RetryAttempts
	// RetryAfterTooLong: the target asks to come back later than may be waited.
	RetryAfterTooLong
	// RetryBudget: the upstream's budget is used up.
	RetryBudget
	// RetryTooLate: the exchange's time would be over.
	RetryTooLate
	// RetryNoTarget: no usable target is left that was not tried.
	RetryNoTarget

	// RetryRefusals is the number of reasons, RetryAllowed included.
	RetryRefusals
)

// String returns the refusal's name.
func (r Refusal) String() string {
	switch r {
	case RetryAllowed:
		return "allowed"
	case RetryNotAsked:
		return "not_asked"
	case RetryAnswered:
		return "answered"
	case RetryUnsafe:
		return "unsafe"
	case RetryBodyGone:
		return "body_gone"
	case RetryAttempts:
		return "attempts"
	case RetryAfterTooLong:
		return "retry_after"
	case RetryBudget:
		return "budget"
	case RetryTooLate:
		return "too_late"
	case RetryNoTarget:
		return "no_target"
	}
	panic("BUG: a refusal has no name")
}

// Try is what is known when an attempt has ended.
type Try struct {
	// Attempt counts from 1.
	Attempt int
	// Kind and Status are as in Outcome.
	Kind   Kind
	Status int
	// Sent says that any byte of the request may have reached the target.
	Sent bool
	// Repeatable says that the request may be sent twice: its method is
	// idempotent (see Idempotent), or it has an Idempotency-Key.
	Repeatable bool
	// Call says that the request is a call of gRPC, whose status of its own Status
	// stands for.
	Call bool
	// Answered says that the client got the first byte of a response.
	Answered bool
	// BodyGone says that not all of the request's body, as far as it was read,
	// was kept.
	BodyGone bool
	// RetryAfter is the response's field of that name; empty means none.
	RetryAfter []byte
}

// Retry returns the upstream's policy.
func (u *Upstream) Retry() *RetryPolicy { return u.retry }

// Judge says whether t may be followed by another attempt as far as t itself
// says. The budget is not asked: see Next.
func (r *RetryPolicy) Judge(t Try) Refusal {
	switch {
	case t.Answered:
		return RetryAnswered
	case !r.asked(&t):
		return RetryNotAsked
	case t.Attempt >= r.limit(t.Kind):
		return RetryAttempts
	case t.Sent && !t.Repeatable && !r.onUnavailable(t.Status, t.Call):
		return RetryUnsafe
	case t.BodyGone:
		return RetryBodyGone
	}
	return RetryAllowed
}

// limit is how many attempts may be made in all, if the last ended like this. A
// failed connect sent nothing and cost next to nothing, so it uses up no attempt
// as long as there may be a target that was not tried; but one attempt is one.
func (r *RetryPolicy) limit(kind Kind) int {
	if kind == ConnectFailed && r.Attempts > 1 {
		return maxTried
	}
	return r.Attempts
}

// Next decides whether t is followed by another attempt, and after which wait.
// It takes that attempt from the budget. now is Monotonic time, wall the time
// of day for a Retry-After that names a date, chance any random number.
func (r *RetryPolicy) Next(t Try, now int64, wall time.Time, chance uint64) (wait time.Duration, refusal Refusal) {
	if refusal := r.Judge(t); refusal != RetryAllowed {
		return 0, refusal
	}
	if t.Kind != ConnectFailed || t.Attempt > 1 {
		wait = r.wait(t.Attempt, chance)
	}
	if t.Kind == Success && len(t.RetryAfter) > 0 {
		asked, ok := parseRetryAfter(t.RetryAfter, wall)
		if ok && asked > r.retryAfter {
			return 0, RetryAfterTooLong
		}
		wait = max(wait, asked)
	}
	// A target that could not be connected to has had no work of the exchange, so
	// the next attempt adds no load.
	if t.Kind != ConnectFailed && !r.Budget.Withdraw(now) {
		return 0, RetryBudget
	}
	return wait, RetryAllowed
}

// asked says whether retry.on names what happened.
func (r *RetryPolicy) asked(t *Try) bool {
	if t.Kind != Success {
		return r.kinds[t.Kind]
	}
	return r.OnStatus(t.Status, t.Call)
}

// OnStatus says whether a response with this status, to a call of gRPC or another
// request, may be tried again.
func (r *RetryPolicy) OnStatus(status int, call bool) bool {
	return r.statuses.has(status) || r.onUnavailable(status, call)
}

// onUnavailable says whether retry.on has "unavailable", and the status is that of a call of gRPC.
func (r *RetryPolicy) onUnavailable(status int, call bool) bool {
	return r.unavailable && call && status == 503
}

// wait returns the back-off after an attempt: it doubles each time, and is cut
// by up to a half by chance, so that exchanges that failed together do not come
// back together.
func (r *RetryPolicy) wait(attempt int, chance uint64) time.Duration {
	full := r.backoff
	for range attempt - 1 {
		if full = 2 * full; full >= r.backoffMax {
			full = r.backoffMax
			break
		}
	}
	half := full / 2
	return full - half + time.Duration(float64(half)*float64(chance>>11)/(1<<53))
}

// Idempotent says whether a request of this method may be sent twice
// (RFC 9110 section 9.2.2, and QUERY, which is safe).
func Idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY":
		return true
	}
	return false
}

// RetryConditions returns the names that retry.on knows besides status codes.
func RetryConditions() []string {
	return []string{ConnectFailed.String(), Reset.String(), Timeout.String(), unavailable}
}

// newRetryPolicy makes the policy of cfg. Its budget has no counts yet.
func newRetryPolicy(cfg *config.Retry) (r *RetryPolicy, problems []config.Problem) {
	r = &RetryPolicy{
		Attempts:   max(1, min(cfg.Attempts, maxTried)),
		TryTimeout: cfg.TryTimeout.D(),
		Body:       int(cfg.Body),
		Budget:     &Budget{share: cfg.Budget, floor: cfg.BudgetFloor},
		backoff:    cfg.Backoff.D(),
		backoffMax: max(cfg.Backoff, cfg.BackoffMax).D(),
		retryAfter: cfg.RetryAfter.D(),
	}
	for i, name := range cfg.On {
		if p := r.add(name); p != nil {
			p.Key = config.Key("retry", "on", i)
			problems = append(problems, *p)
		}
	}
	return r, problems
}

// unavailable in retry.on is the status UNAVAILABLE of gRPC, which stands for 503.
const unavailable = "unavailable"

// add makes r retry on name.
func (r *RetryPolicy) add(name string) *config.Problem {
	for _, k := range []Kind{ConnectFailed, Reset, Timeout} {
		if name == k.String() {
			r.kinds[k] = true
			// A response whose head is garbage or broken off is as good as none.
			r.kinds[BadResponse] = r.kinds[BadResponse] || k == Reset
			return nil
		}
	}
	if name == unavailable {
		r.unavailable = true
		return nil
	}
	if r.statuses.add(name) {
		return nil
	}
	return &config.Problem{
		Found: strconv.Quote(name),
		Want:  config.OneOf(RetryConditions()) + `, or a status from "400" to "599"`,
		Hint:  config.Nearest(name, RetryConditions()),
	}
}

// parseRetryAfter returns how long a Retry-After field asks to wait: RFC 9110
// section 10.2.3, seconds or a date.
func parseRetryAfter(value []byte, wall time.Time) (time.Duration, bool) {
	seconds, digits := 0, true
	for _, c := range value {
		if c < '0' || c > '9' {
			digits = false
			break
		}
		seconds = min(seconds*10+int(c-'0'), 1e8)
	}
	if digits {
		return time.Duration(seconds) * time.Second, true
	}
	if at, ok := field.ParseDate(value, wall.Unix()); ok {
		return max(0, time.Unix(at, 0).Sub(wall)), true
	}
	return 0, false
}
