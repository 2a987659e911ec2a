package proxy

import (
	"testing"
	"time"

	"weir/internal/figures"
	"weir/internal/transport"
)

const ms = time.Millisecond

// slowly is what open is for a target that takes time to connect to, and may refuse in the end.
func slowly(wait time.Duration, err error) func(*fakeStream) error {
	return func(*fakeStream) error {
		time.Sleep(wait)
		return err
	}
}

// TestPhases: where the time of an exchange goes. The phases are together the whole time.
func TestPhases(t *testing.T) {
	check := func(name string, s *stand, c *client, want figures.Phases, request, response time.Duration) {
		t.Helper()
		var sum time.Duration
		got := c.Result.Phases
		for p := range got {
			sum += got[p]
			if got[p] = got[p].Round(100 * time.Microsecond); got[p] != want[p] {
				s.t.Errorf("%s: %s took %s, want %s", name, figures.Phase(p), got[p], want[p])
			}
		}
		equal(s.t, name+": the whole", sum, c.Result.End.Sub(c.Start))
		gotRequest, gotResponse := c.Processing()
		equal(s.t, name+": request processing", gotRequest.Round(100*time.Microsecond), request)
		equal(s.t, name+": response processing", gotResponse.Round(100*time.Microsecond), response)
	}
	phases := func(waiting, connecting, firstByte, body time.Duration) figures.Phases {
		return figures.Phases{waiting, connecting, firstByte, body}
	}
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		a := s.on("a", after(20*ms, func(s *fakeStream) {
			s.respond("200\nContent-Length: 4")
			time.Sleep(30 * ms)
			s.body.send("late")
			s.body.end()
		}))
		a.open = slowly(5*ms, nil)
		c := s.request("GET /")
		equal(t, "a new connection", c.serve(), "200 ok")
		check("a new connection", s, c, phases(0, 5*ms, 20*ms, 30*ms), 5*ms, 0)
		equal(t, "the series", s.metric(`weir_request_phase_seconds_total{route="all",phase="connecting"}`), "0.005")
		equal(t, "the series", s.metric(`weir_request_processing_seconds_bucket{route="all",le="0.005"}`), "1")
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.on("a", collects)
		c := s.request("POST /").with(3).start()
		time.Sleep(10 * ms)
		c.front.body.send("abc")
		c.front.body.end()
		settle()
		equal(t, "an upload", c.ended(), "200 ok")
		check("an upload", s, c, phases(0, 0, 0, 10*ms), 0, 0)
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets)
		s.targets["a"].open = slowly(7*ms, &transport.DialError{Phase: "connect", Refused: true, Err: errClientGone})
		s.on("b", after(20*ms, answer("200", "b")))
		c := s.request("GET /")
		equal(t, "a second attempt", c.serve(), "200 ok")
		check("a second attempt", s, c, phases(7*ms, 0, 20*ms, 0), 7*ms, 0)
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.targets["a"].open = slowly(7*ms, &transport.DialError{Phase: "connect", Err: errClientGone})
		c := s.request("GET /")
		equal(t, "no connection", c.serve(), "502 connect_failed")
		check("no connection", s, c, phases(0, 7*ms, 0, 0), 0, 0)
		equal(t, "the errors", s.metric(`weir_request_errors_total{route="all"}`), "1")
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget+"timeouts = { first_byte = \"1s\" }\n")
		s.on("a", silent)
		c := s.request("GET /")
		equal(t, "no answer", c.serve(), "504 first_byte_timeout")
		if got := c.Result.Phases[figures.FirstByte]; got < time.Second || got != c.Result.End.Sub(c.Start) {
			t.Errorf("no answer: the first byte took %s", got)
		}
	})
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", silent)
		s.on("b", after(2*hedgeAfter, answer("200", "b")))
		c := s.request("GET /")
		equal(t, "a hedge", c.serve(), "200 ok")
		check("a hedge", s, c, phases(hedgeAfter, 0, 2*hedgeAfter, 0), hedgeAfter, 0)
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, "[[routes]]\nname = \"all\"\nrespond = {}\n")
		c := s.request("GET /")
		equal(t, "weir's own answer", c.serve(), "200 fixed_response")
		check("weir's own answer", s, c, phases(0, 0, 0, 0), 0, 0)
	})
}

// TestFailed: which exchanges count as errors: not those where the client is at fault.
func TestFailed(t *testing.T) {
	for _, c := range []struct {
		r    Result
		want bool
	}{
		{Result{Status: 200, Cause: CauseOK}, false},
		{Result{Status: 404, Cause: CauseOK}, false},
		{Result{Status: 500, Cause: CauseOK}, true},
		{Result{Status: 503, Cause: CauseFixed}, true},
		{Result{Status: 502, Cause: CauseConnect}, true},
		{Result{Status: 200, Cause: CauseTruncated}, true},
		{Result{Status: 200, Cause: CausePanic}, true},
		{Result{Status: 500, Cause: CauseFileFailed}, true},
		{Result{Status: 0, Cause: CauseClientGone}, false},
		{Result{Status: 502, Cause: CauseClientGone}, false},
		{Result{Status: 501, Cause: CauseCoding}, false},
		{Result{Status: 505, Cause: CauseBadVersion}, false},
		{Result{Status: 404, Cause: CauseNoRoute}, false},
		{Result{Status: 101, Cause: CauseUpgraded}, false},
	} {
		equal(t, c.r.Cause.String(), c.r.Failed(), c.want)
	}
}
