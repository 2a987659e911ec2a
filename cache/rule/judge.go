package rule

import "time"

// Skew is how far the clocks of those who share a tier may differ, in ns.
const Skew = int64(time.Second)

// Outcome is what a look-up says about a request.
type Outcome uint8

const (
	// Miss: there is nothing to answer from; ask the origin.
	Miss Outcome = iota
	// Fresh: answer from the entry.
	Fresh
	// Stale: answer from the entry, which may be used although it is stale. If
	// Found.Refresh is set, validate it in the background.
	Stale
	// Revalidate: ask the origin with the entry's validators first.
	Revalidate
	// Bypass: ask the origin and store nothing.
	Bypass
	// Unavailable: the client wants an entry or a 504 (only-if-cached).
	Unavailable
)

var outcomeNames = [...]string{
	Miss: "miss", Fresh: "hit", Stale: "stale", Revalidate: "revalidate", Bypass: "bypass", Unavailable: "unavailable",
}

// String is the outcome's name, for metrics and logs.
func (o Outcome) String() string { return outcomeNames[o] }

// Outcomes are the names of all outcomes. The caller owns the list.
func Outcomes() []string { return append([]string(nil), outcomeNames[:]...) }

// Until is when a stored response stops being fresh, in ns since the epoch, if
// a purge ended its lifetime then; 0 means that none did.
func (t *Terms) Until(ended int64) int64 {
	until := t.FreshUntil()
	if ended != 0 && ended < until {
		return ended
	}
	return until
}

// Judge says whether what is stored may answer a request with that control now
// (RFC 9111 sections 4.2 and 5.2.1). ended is as in Until, now in ns since the
// epoch.
func (t *Terms) Judge(ended int64, c *RequestControl, now int64) (Outcome, Reason) {
	if t.Validate {
		return Revalidate, ReasonNoCacheResponse
	}
	if c.NoCache {
		return Revalidate, ReasonNoCacheRequest
	}
	if t.Received-now > 2*Skew {
		// The clock was set back: how old the entry is cannot be known.
		return Revalidate, ReasonStale
	}
	const second = int64(time.Second)
	over := now - t.Until(ended) // how long it has been stale
	if c.MaxAge != absent && t.AgeAt(now) > c.MaxAge*second && c.MaxStale == absent {
		return Revalidate, ReasonMaxAgeRequest
	}
	if c.MinFresh != absent && -over < c.MinFresh*second {
		return Revalidate, ReasonMinFreshRequest
	}
	if over < 0 {
		return Fresh, ReasonNone
	}
	if !t.NeverStale {
		if over <= t.SWR*second && t.SWR > 0 {
			return Stale, ReasonStaleWhileRevalidate
		}
		if c.MaxStale != absent && over <= c.MaxStale*second {
			return Stale, ReasonMaxStaleRequest
		}
	}
	if ended != 0 && t.FreshUntil() > now {
		return Revalidate, ReasonPurged
	}
	return Revalidate, ReasonStale
}

// Shareable says whether requests may wait for one answer like this: it answers others
// than the one it was made for, be it for a second.
func (t *Terms) Shareable() bool { return !t.Validate && (t.Lifetime > 0 || t.SWR > 0) }

// FreshFor says whether a response that was delay ns on its way is fresh for a request
// that has waited for it since before it came: for that one it is as new as an answer of
// its own would be.
func (t *Terms) FreshFor(delay int64) bool {
	return !t.Validate && t.Lifetime > 0 && t.FreshUntil()+delay > t.Received
}

// Withheld says why a stale entry may not answer although a stale window of its own or
// of the route is open, that of stale_on_disconnect if the origin cannot be reached; none
// if no window is. ended is as in Until.
func (p *Policy) Withheld(s *Stored, ended, now int64, unreachable bool) Reason {
	if !s.NeverStale {
		return ReasonNone
	}
	c, _ := p.control(s.Fields())
	window := max(given(c.StaleWhileRevalidate, p.swr), given(c.StaleIfError, p.sie))
	if unreachable {
		window = max(window, p.disconnect)
	}
	over := now - s.Until(ended)
	switch {
	case window <= 0 || over < 0 || over > window*int64(time.Second):
		return ReasonNone
	case c.MustRevalidate || c.ProxyRevalidate:
		return ReasonMustRevalidate
	case c.SMaxAge != absent:
		return ReasonSMaxAge
	}
	return ReasonNone
}

// FailedValidation says that the origin, asked whether an entry is good still, answered with that
// status, a failure: then why the entry did not answer says more than why the failure was not stored.
func FailedValidation(o Outcome, status int) bool { return o == Revalidate && FailedWith(status) }

// FailedWith says whether the status is one with which an origin fails (RFC 5861 section 4).
func FailedWith(status int) bool {
	switch status {
	case 500, 502, 503, 504:
		return true
	}
	return false
}

// Failure is how the origin failed a request.
type Failure uint8

const (
	// FailedStatus: it answered 500, 502, 503 or 504.
	FailedStatus Failure = iota
	// FailedConnection: no answer came: not reached, closed, timed out.
	FailedConnection
)

// MayAnswer says whether what is stored may answer, although stale, because the
// origin failed (RFC 5861 section 4, RFC 9111 section 4.2.4). ended is as in
// Until.
func (t *Terms) MayAnswer(ended int64, c *RequestControl, now int64, failure Failure) (Reason, bool) {
	if t.NeverStale || t.Validate || c.NoCache {
		return ReasonNone, false
	}
	over := now - t.Until(ended)
	switch {
	case over <= 0:
		// Fresh, but the client wanted better.
		return ReasonStaleIfError, failure == FailedConnection && c.MaxAge == absent && c.MinFresh == absent
	case t.SIE > 0 && over <= t.SIE*int64(time.Second):
		return ReasonStaleIfError, true
	case failure == FailedConnection && t.Disconnect > 0 && over <= t.Disconnect*int64(time.Second):
		return ReasonDisconnected, true
	}
	return ReasonNone, false
}
