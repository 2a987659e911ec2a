package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/testkit"
	"weir/internal/transport"
)

// told is what the model knows about one request that reached a target.
type told struct {
	target string
	body   string // of the request, as far as it came
	// What the target did: the status of its head and when it gave it, the body that belongs to
	// it, and whether that was whole.
	status int
	at     time.Time
	answer string
	whole  bool
	// The cause that weir must find if nothing else comes; CauseOK if it answered.
	cause Cause
	// stale says that a connection which was used before broke, so that weir may take another
	// one in the same attempt.
	stale bool
}

// model is an origin of two targets that notes what it did for each request.
type model struct {
	mu    sync.Mutex
	r     *rand.Rand
	calls map[string][]*told // by the request's X-Id
}

// dice returns random numbers of their own for one call.
func (m *model) dice() *rand.Rand {
	m.mu.Lock()
	defer m.mu.Unlock()
	return rand.New(rand.NewPCG(m.r.Uint64(), m.r.Uint64()))
}

// wait is most often shorter than the time after which a hedge is sent. No two are equal.
func wait(r *rand.Rand) time.Duration {
	longest := 5 * time.Millisecond
	switch r.IntN(10) {
	case 0, 1, 2:
		longest = 100 * time.Millisecond
	case 3:
		longest = 3 * time.Second // beyond first_byte
	}
	return time.Duration(1 + r.Int64N(int64(longest)))
}

// open says whether there is a connection to the target.
func (m *model) open(s *fakeStream) error {
	r := m.dice()
	if r.IntN(4) == 0 {
		time.Sleep(wait(r) / 4)
	}
	s.reused = r.IntN(3) == 0
	switch r.IntN(25) {
	case 0:
		return &transport.DialError{Phase: "connect", Err: errBroken}
	case 1:
		s.sendErr = errBroken // nothing leaves weir
	}
	return nil
}

// play is the script of both targets.
func (m *model) play(s *fakeStream) {
	r := m.dice()
	_, rest, _ := strings.Cut(s.head, "X-Id: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	c := &told{target: s.target.name, cause: CauseFirstByte}
	m.mu.Lock()
	m.calls[id] = append(m.calls[id], c)
	m.mu.Unlock()
	note := func(change func()) {
		m.mu.Lock()
		defer m.mu.Unlock()
		change()
	}
	if r.IntN(4) > 0 {
		text, err := s.readAll()
		note(func() { c.body = text })
		if err != nil {
			<-s.gone
			return
		}
	}
	select {
	case <-time.After(wait(r)):
	case <-s.gone:
		return
	}
	text := strings.Repeat(id+" "+c.target+" ", 1+r.IntN(20))
	fields := fmt.Sprintf("\nX-Id: %s\nX-From: %s\nContent-Length: %d", id, c.target, len(text))
	answer := func(status int, whole bool) {
		note(func() { c.status, c.at, c.answer, c.whole, c.cause = status, time.Now(), text, whole, CauseOK })
	}
	switch kind := r.IntN(20); kind {
	case 0, 1:
		note(func() { c.cause, c.stale = CauseReset, s.reused })
		s.fail(errBroken)
	case 2:
		<-s.gone // never
	case 3:
		note(func() { c.cause = CauseBadResponse })
		s.heads <- "nonsense\r\n\r\n"
		<-s.gone
	case 4, 5:
		answer(503, true)
		s.body.send(text).end()
		s.respond("503" + fields)
	case 6:
		answer(200, false)
		s.body.send(text[:1+r.IntN(len(text)-1)])
		s.respond("200" + fields)
		s.body.fail(errBroken)
	default:
		answer(200, true)
		if kind < 10 {
			s.respond("103" + fields[:strings.Index(fields, "\nContent")])
		}
		s.body.send(text[:len(text)/2], text[len(text)/2:]).end()
		s.respond("200" + fields)
	}
}

// TestHedgeModel has clients ask two targets that do anything, with hedges and retries, and
// compares each exchange with what the targets did for it.
func TestHedgeModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(testkit.Rounds(3, 8)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) { playHedges(t, seed) })
		})
	}
}

func playHedges(t *testing.T, seed uint64) {
	s := newStand(t, twoTargets+`
timeouts = { first_byte = "2s", connect = "5s" }
health.passive.failures = 0
retry = { attempts = 3, on = ["connect", "reset", "timeout", "503"], hedge = 0.5, hedge_min = "10ms", budget = 1.0, budget_floor = 100 }
`)
	for range 100 { // as many as a quantile needs
		s.Serve(s.request("GET /").Exchange)
	}
	s.settled()
	time.Sleep(time.Second) // an old estimate is used for a while
	m := &model{r: rand.New(rand.NewPCG(1, seed)), calls: map[string][]*told{}}
	for _, name := range []string{"a", "b"} {
		s.on(name, m.play).open = m.open
	}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			r := m.dice()
			c := s.request("GET /") // one exchange for all requests of a connection
			for n := range 120 {
				m.ask(t, c, r, fmt.Sprintf("%d-%d.", i, n))
				c.Reset()
			}
		})
	}
	all.Wait()
	s.settled()
	for _, result := range []string{"won", "lost", "failed"} {
		if s.hedges(result) == "" {
			t.Errorf("no hedge has %s", result)
		}
	}
}

var requests = []string{"GET", "GET", "GET", "HEAD", "DELETE", "PUT", "POST", "POST", "POST\nIdempotency-Key: 1"}

// ask sends one request and compares what the client got with what the targets did.
func (m *model) ask(t *testing.T, c *client, r *rand.Rand, id string) {
	method, key, _ := strings.Cut(requests[r.IntN(len(requests))], "\n")
	text := method + " /\nX-Id: " + id
	if key != "" {
		text += "\n" + key
	}
	c.fill(text)
	body := ""
	if method[0] == 'P' && r.IntN(3) > 0 {
		body = strings.Repeat(id, 1+r.IntN(20))
		if r.IntN(2) == 0 {
			c.with(int64(len(body)), body)
		} else {
			c.with(-1, body[:1], body[1:]).front.body.end()
		}
	}
	gone := make(chan struct{})
	if r.IntN(10) == 0 {
		time.AfterFunc(wait(r), func() { c.gone.Cancel(); close(gone) })
	} else {
		close(gone)
	}
	c.s.Serve(c.Exchange)
	end := time.Now()
	<-gone
	// What a target that lost says later has no part in the answer.
	m.mu.Lock()
	calls := make([]*told, len(m.calls[id]))
	for i, call := range m.calls[id] {
		known := *call
		calls[i] = &known
	}
	m.mu.Unlock()

	result, front := &c.Result, c.front
	complain := func(format string, args ...any) {
		t.Helper()
		seen := ""
		for _, call := range calls {
			seen += fmt.Sprintf("\n  %+v", *call)
		}
		t.Errorf("%s %s, %d %s after %v and %d attempts, %q: %s; targets:%s", method, id, front.status, result.Cause,
			end.Sub(c.Start), result.Attempts, front.sent(), fmt.Sprintf(format, args...), seen)
	}
	has := func(f func(*told) bool) bool { return slices.ContainsFunc(calls, f) }

	if method == "POST" && key == "" && len(calls) > 1 {
		complain("%d targets got a request that must not be repeated", len(calls))
	}
	stale := 0
	for _, call := range calls {
		if call.stale {
			stale++
		}
	}
	if len(calls)-stale > result.Attempts {
		complain("more requests than attempts")
	}
	unseen := result.Attempts > len(calls)-stale // an attempt that no target has seen
	for _, call := range calls {
		if !strings.HasPrefix(body, call.body) {
			complain("target %s got the body %q", call.target, call.body)
		}
	}
	// The answer is one that a target gave to this request, and of one target only.
	mine := func(call *told) bool {
		got := front.sent()
		if call.status != front.status || !strings.Contains(front.head, "\r\nX-From: "+call.target+"\r\n") {
			return false
		}
		return got == call.answer && call.whole || method == "HEAD" && got == "" ||
			strings.HasPrefix(call.answer, got) && (!call.whole || result.Cause == CauseClientGone)
	}
	if strings.Contains(front.head, "\r\nX-From: ") {
		if !strings.Contains(front.head, "\r\nX-Id: "+id+"\r\n") || !has(mine) {
			complain("no target gave this answer")
		}
	}
	for _, head := range front.informs {
		if !strings.Contains(head, "\r\nX-Id: "+id+"\r\n") {
			complain("an interim response of another request: %q", head)
		}
	}
	if !rightCause(c, calls, unseen, end) {
		complain("this is no cause: %v", result.Err)
	}
	// The first good answer to a request that the client still waits for is the client's.
	for _, call := range calls {
		if call.status == 200 && call.at.Before(end) && front.status != 200 && !c.gone.Canceled() {
			complain("target %s had answered %v before the end", call.target, end.Sub(call.at))
		}
	}
	if result.Cause == CauseNoTarget {
		time.Sleep(time.Second) // until weir has found one
	}
}

// rightCause says whether what the targets did explains the end of an exchange.
func rightCause(c *client, calls []*told, unseen bool, end time.Time) bool {
	has := func(f func(*told) bool) bool { return slices.ContainsFunc(calls, f) }
	switch cause := c.Result.Cause; cause {
	case CauseOK:
		return c.front.finished && strings.Contains(c.front.head, "X-From")
	case CauseTruncated:
		return has(func(call *told) bool { return call.status == 200 && !call.whole })
	case CauseClientGone:
		return c.gone.Canceled()
	case CauseConnect:
		return unseen
	case CauseReset:
		return unseen || has(func(call *told) bool { return call.cause == cause })
	case CauseBadResponse:
		return has(func(call *told) bool { return call.cause == cause })
	case CauseNoTarget: // a response that was to be tried again is gone by then
		return c.Result.Attempts == 0 || has(func(call *told) bool { return call.status == 503 })
	case CauseFirstByte:
		return end.Sub(c.Start) >= 2*time.Second
	}
	return false
}
