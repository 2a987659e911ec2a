package proxy

import (
	"time"

	"weir/internal/figures"
)

// moments are when what happened to an exchange, as times since its Start; 0 says that it has not.
type moments struct {
	// read: the request's head was read.
	read time.Duration
	// asked: the cache was asked; only for exchanges whose spans are kept.
	asked time.Duration
	// began: the last attempt began, if there was one; connecting and firstByte are how long its
	// phases took.
	began, connecting, firstByte time.Duration
	attempted                    bool
	// forwarded: the first request was about to leave for a target.
	forwarded time.Duration
	// answered: the head of the target's response was there.
	answered time.Duration
	// replied: an answer began that is no attempt's.
	replied time.Duration
	// sent: weir had sent what it had of the response when it had to wait for more of it.
	sent time.Duration
}

// since is the time since Start, which is more than 0.
func (x *Exchange) since() time.Duration { return max(time.Since(x.Start), 1) }

// lately is since, but for what ServeNow does, which takes next to no time: it looks at the clock once.
func (x *Exchange) lately() time.Duration {
	if x.mayWait || x.moments.read == 0 {
		return x.since()
	}
	return x.moments.read
}

// noteAttempt notes how long the phases of an attempt took that has an answer, or has failed.
func (x *Exchange) noteAttempt(a *attempt) {
	m := &x.moments
	m.began, m.connecting, m.firstByte, m.attempted = a.began.Sub(x.Start), a.connecting, a.firstByte, true
	switch {
	case a.firstByte > 0:
		asked := a.asked.Sub(x.Start)
		m.answered = asked + a.firstByte
		if asked == m.began { // no body came meanwhile
			m.firstByte -= min(a.connecting, a.firstByte)
		}
	case a.stream == nil:
		m.connecting = time.Since(a.began)
	default:
		m.firstByte = time.Since(a.began) - a.connecting
	}
	if a.stream != nil && m.forwarded == 0 {
		m.forwarded = max(m.began+a.connecting, 1)
	}
}

// noteSent notes, the first time, that what was there of the response is on its way to the client.
func (x *Exchange) noteSent() {
	if x.moments.sent == 0 {
		x.moments.sent = x.since()
	}
}

// phases are how the time of an exchange that has ended is made up.
func (x *Exchange) phases() (p figures.Phases) {
	m, total := &x.moments, x.Result.End.Sub(x.Start)
	switch {
	case m.attempted:
		p[figures.Waiting], p[figures.Connecting], p[figures.FirstByte] = m.began, m.connecting, m.firstByte
	case m.replied > 0:
		p[figures.Waiting] = min(m.replied, total)
	default:
		p[figures.Waiting] = total
	}
	for _, d := range p[:figures.Body] {
		total -= d
	}
	p[figures.Body] = max(total, 0)
	return p
}

// Processing is what the exchange, which has ended, took of weir's own time: from the end of
// the request's head until it left for a target, connecting included, and from the first byte of the
// response until that was on its way to the client. 0 if there was no such thing.
func (x *Exchange) Processing() (request, response time.Duration) {
	m := &x.moments
	if m.forwarded > 0 && m.read > 0 {
		request = max(m.forwarded-m.read, 1)
	}
	if m.answered > 0 && x.Result.Status != 0 {
		sent := m.sent
		if sent == 0 {
			sent = x.Result.End.Sub(x.Start)
		}
		response = max(sent-m.answered, 1)
	}
	return request, response
}

// Sample is what statistics count of the exchange, which has ended. It must not be changed.
func (x *Exchange) Sample() *figures.Sample { return &x.sample }

func (x *Exchange) makeSample() {
	r := &x.Result
	x.sample = figures.Sample{
		Failed: r.Failed(), Untimed: r.Cause == CauseUpgraded || r.Cause == CauseTunnelIdle || r.Cause == CausePassed,
		BytesIn: r.BytesIn, BytesOut: r.BytesOut, Duration: r.End.Sub(x.Start), Phases: r.Phases,
	}
}

// Failed says whether the exchange failed, and not because of its client: with a status of 500 or more,
// or after its answer had begun.
func (r *Result) Failed() bool {
	switch {
	case r.Cause >= CauseNoTarget, r.Cause == CauseFileFailed:
		return true
	case r.Cause >= CauseNoRoute: // the client's
		return false
	}
	return r.Status >= 500
}
