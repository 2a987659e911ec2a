package rule

import (
	"strconv"
	"time"
)

// Status is what the Cache-Status field (RFC 9211) says of an exchange.
type Status struct {
	// Outcome and Reason are those of the look-up, or of the entry that
	// answered in the end.
	Outcome Outcome
	Reason  Reason
	// TTL is how many seconds the entry stays fresh; negative if it is stale.
	TTL int64
	// Forwarded says that the origin was asked, and FwdStatus what it said; 0
	// if nothing.
	Forwarded bool
	FwdStatus int
	// Stored says that the answer is being stored, Unstored why it is not.
	Stored   bool
	Unstored Reason
	// Hint says why what is stored is not fresh.
	Hint Reason
	// Collapsed says that another request's fetch answered.
	Collapsed bool
}

// Append adds the field's value for a cache of that name, a token.
func (s *Status) Append(dst []byte, name string) []byte {
	dst = append(dst, name...)
	detail := s.Unstored
	switch {
	case !s.Forwarded && (s.Outcome == Fresh || s.Outcome == Stale):
		if s.Collapsed {
			dst = append(dst, "; fwd=miss; collapsed"...)
		} else {
			dst = append(dst, "; hit"...)
		}
		dst = append(dst, "; ttl="...)
		dst = strconv.AppendInt(dst, s.TTL, 10)
		detail = s.Reason
	case s.Outcome != Unavailable:
		forward := s.Reason.forward(s.Outcome)
		dst = append(append(dst, "; fwd="...), forward...)
		if s.FwdStatus > 0 {
			dst = append(dst, "; fwd-status="...)
			dst = strconv.AppendInt(dst, int64(s.FwdStatus), 10)
		}
		if s.Stored {
			dst = append(dst, "; stored; ttl="...)
			dst = strconv.AppendInt(dst, s.TTL, 10)
			detail = s.Hint
		}
		if (detail == ReasonNone || FailedValidation(s.Outcome, s.FwdStatus)) && s.Reason.String() != forward {
			detail = s.Reason
		}
	default:
		detail = s.Reason
	}
	if detail != ReasonNone {
		dst = append(dst, "; detail="...)
		dst = append(dst, detail.String()...)
	}
	return dst
}

// forward is the name that RFC 9211 section 2.2 has for why the origin was
// asked.
func (r Reason) forward(o Outcome) string {
	switch r {
	case ReasonMethod:
		return "method"
	case ReasonURIMiss:
		return "uri-miss"
	case ReasonVaryMiss:
		return "vary-miss"
	case ReasonRangeUnavailable:
		return "partial"
	case ReasonNoCacheRequest, ReasonMaxAgeRequest, ReasonMinFreshRequest, ReasonNoStoreRequest:
		return "request"
	}
	switch o {
	case Bypass:
		return "bypass"
	case Miss:
		return "miss"
	}
	return "stale"
}

// TTL is for how many seconds a stored response stays fresh, what was begun of a second
// included; negative if it is stale. ended is as in Until.
func (t *Terms) TTL(ended, now int64) int64 {
	const second = int64(time.Second)
	left := t.Until(ended) - now
	if left < 0 {
		return -(-left + second - 1) / second
	}
	return (left + second - 1) / second
}
