package rule

import (
	"cmp"
	"time"

	"weir/internal/field"
)

// Response is a response as it came in. Fields are borrowed for the call.
type Response struct {
	// Status is the status code, and Reason its phrase; it may be empty.
	Status int
	Phrase []byte
	Fields Fields
	// Length is the number of body bytes to come, -1 if the framing does not
	// tell.
	Length int64
	// Unprovable says that the framing cannot prove the body's end: it ends
	// when the connection does.
	Unprovable bool
	// Requested is when the request was sent, Received when the head was in,
	// of the same clock.
	Requested, Received time.Time
}

// Asked is what judging a response must know of its request.
type Asked struct {
	Method        Method
	Authorization bool
	NoStore       bool
	// ContentLocation says that Content-Location names the target itself.
	ContentLocation bool
}

// Terms are what a stored response may be used for: the outcome of judging it
// once, so that a hit needs no more than comparisons.
type Terms struct {
	// Received is when the head came in, in ns since the epoch; Age is how old
	// the response was then, in ns, and Lifetime how long it is fresh, in s.
	Received, Age int64
	Lifetime      int64
	// SWR, SIE and Disconnect are windows after the lifetime in seconds in
	// which a stale entry may answer: while it is validated, when the origin
	// fails, when it cannot be reached. 0 means it may not.
	SWR, SIE, Disconnect int64
	// Date is the origin's Date, or when it came in, in s since the epoch.
	Date int64
	// Validate says that every use must be validated (no-cache).
	Validate bool
	// NeverStale forbids to answer when stale, even if the client wants to.
	NeverStale bool
}

// FreshUntil is when the lifetime ends, in ns since the epoch.
func (t *Terms) FreshUntil() int64 { return t.Received - t.Age + t.Lifetime*int64(time.Second) }

// OldOnArrival says whether the age was above the lifetime when the response came in.
func (t *Terms) OldOnArrival() bool { return t.Lifetime > 0 && t.FreshUntil() <= t.Received }

// AgeAt is the age in ns (RFC 9111 section 4.2.3).
func (t *Terms) AgeAt(now int64) int64 { return t.Age + max(now-t.Received, 0) }

// JudgeResponse says on which Terms a response may be stored (RFC 9111
// section 3), or why not.
func (p *Policy) JudgeResponse(q Asked, r *Response) (Terms, Control, Reason) {
	control, targeted := p.control(r.Fields)
	t := p.terms(&control, targeted, r)
	switch {
	case r.Status < 200:
		return t, control, ReasonInterim
	case r.Status == 206:
		return t, control, ReasonPartial
	case r.Status == 304:
		return t, control, ReasonNotModified
	case q.Method != MethodGet && q.Method != MethodPost:
		return t, control, ReasonMethod
	case q.NoStore:
		return t, control, ReasonNoStoreRequest
	case control.MustUnderstand && !understood(r.Status):
		return t, control, ReasonNotUnderstood
	case control.NoStore && !control.MustUnderstand:
		return t, control, ReasonNoStore
	case control.Private:
		return t, control, ReasonPrivate
	case q.Authorization && !control.Authorized:
		return t, control, ReasonAuthorization
	case r.Fields.Has("Set-Cookie") && !dropped(&control, "set-cookie") && !p.storesCookies(&control, targeted):
		return t, control, ReasonSetCookie
	}
	expires := !targeted && r.Fields.Has("Expires")
	explicit := control.SMaxAge != absent || control.MaxAge != absent || expires
	if q.Method == MethodPost && (!explicit || r.Status != 200 || !q.ContentLocation) {
		// RFC 9110 section 9.3.3.
		return t, control, ReasonContentLocation
	}
	if reason := p.judgeVary(r.Fields); reason != ReasonNone {
		return t, control, reason
	}
	if t.OldOnArrival() {
		control.Hint = ReasonOldOnArrival
	} else if t.Lifetime <= 0 && (control.Malformed || expires && badExpires(r)) {
		control.Hint = ReasonBadFreshness
	}
	validator := len(r.Fields.Get("ETag")) > 0 || datedAt(r)
	switch {
	case t.Validate && !validator:
		return t, control, ReasonNoValidator
	case !explicit && !control.Public && !cacheableByDefault(r.Status), t.Lifetime <= 0 && !validator:
		return t, control, cmp.Or(control.Hint, ReasonNoFreshness)
	}
	return t, control, ReasonNone
}

// datedAt says whether Last-Modified is a date: without one there is nothing to validate.
func datedAt(r *Response) bool {
	_, ok := field.ParseDate(r.Fields.Get("Last-Modified"), r.Received.Unix())
	return ok
}

// badExpires says whether Expires is meant for a date but is not one. 0 and -1 are how
// origins say that a response is stale.
func badExpires(r *Response) bool {
	value := r.Fields.Joined("Expires")
	_, ok := field.ParseDate(value, r.Received.Unix())
	return !ok && string(value) != "0" && string(value) != "-1"
}

// control is the field that counts: the first targeted one that is valid, else
// Cache-Control.
func (p *Policy) control(f Fields) (c Control, targeted bool) {
	refused := noControl // what targeted fields that are not valid forbid
	for _, name := range p.c.Targeted {
		if list := f.Joined(name); list != nil {
			c, ok := ParseTargeted(list)
			if ok {
				c.add(&refused)
				return c, true
			}
			refused.add(&c)
		}
	}
	list := f.Joined("Cache-Control")
	c = ParseControl(list)
	c.add(&refused)
	if list == nil && field.HasToken(f.Joined("Pragma"), "no-cache") {
		// RFC 9111 does not ask for this, but an origin that sends it means it.
		c.NoCache = true
	}
	return c, false
}

// terms works out age, lifetime and the windows after it.
func (p *Policy) terms(c *Control, targeted bool, r *Response) Terms {
	t := Terms{Received: r.Received.UnixNano(), Validate: c.NoCache}
	now := r.Received.Unix()

	// RFC 9111 section 4.2.3. Whole seconds for what a Date tells, the clock's
	// own precision for what was measured.
	date, ok := field.ParseDate(r.Fields.Joined("Date"), now)
	if !ok {
		date = now
	}
	t.Date = date
	delay := max(r.Received.Sub(r.Requested), 0)
	corrected := int64(delay) + parseAge(r.Fields)*int64(time.Second)
	apparent := min(max(now-date, 0), MaxDelta) * int64(time.Second)
	t.Age = max(apparent, corrected)

	ofRoute := false
	if t.Lifetime, ofRoute = p.lifetime(c, targeted, r, date, now); ofRoute {
		// The route says for how long a response is kept, not for how long the origin
		// stands by it: how long it was on its way does not count, to half a second.
		t.Lifetime += int64((delay + time.Second/2) / time.Second)
	}

	t.NeverStale = c.MustRevalidate || c.ProxyRevalidate || c.NoCache || c.SMaxAge != absent
	if !t.NeverStale {
		t.SWR = given(c.StaleWhileRevalidate, p.swr)
		t.SIE = given(c.StaleIfError, p.sie)
		t.Disconnect = max(p.disconnect, t.SIE)
	}
	return t
}

// lifetime is RFC 9111 section 4.2.1 and 4.2.2, with what the route adds; ofRoute says that it
// did. It is in seconds; 0 means stale from the start.
func (p *Policy) lifetime(c *Control, targeted bool, r *Response, date, now int64) (lifetime int64, ofRoute bool) {
	if p.forcedTTL > 0 && cacheableByDefault(r.Status) {
		return p.forcedTTL, true
	}
	switch {
	case c.SMaxAge != absent:
		return c.SMaxAge, false
	case c.MaxAge != absent:
		return c.MaxAge, false
	}
	if !targeted {
		// Two lines make one invalid value, and what is invalid is expired.
		if expires := r.Fields.Joined("Expires"); expires != nil {
			at, ok := field.ParseDate(expires, now)
			if !ok {
				return 0, false
			}
			return min(max(at-date, 0), MaxDelta), false
		}
	}
	if !cacheableByDefault(r.Status) && !c.Public || c.Malformed {
		return 0, false
	}
	if modified, ok := field.ParseDate(r.Fields.Get("Last-Modified"), now); ok && p.c.Heuristic > 0 && modified < date {
		return min((date-modified)/100*int64(p.c.Heuristic)+(date-modified)%100*int64(p.c.Heuristic)/100, p.heuristicMax), false
	}
	if r.Status >= 400 && p.negativeTTL > 0 {
		return p.negativeTTL, true
	}
	return p.defaultTTL, p.defaultTTL > 0
}

// storesCookies says whether a response with Set-Cookie may be stored.
func (p *Policy) storesCookies(c *Control, targeted bool) bool {
	switch p.setCookie {
	case setCookieAlways:
		return true
	case setCookieShared:
		return c.Shared || targeted
	}
	return false
}

// dropped says whether a qualified no-cache or private names the field, so
// that it is not stored.
func dropped(c *Control, name string) bool {
	return field.HasToken(c.NoCacheFields, name) || field.HasToken(c.PrivateFields, name)
}

// given is the seconds of a directive, or those of the route.
func given(directive, route int64) int64 {
	if directive != absent {
		return directive
	}
	return route
}

// parseAge is the first member of Age if it is a number, else 0.
func parseAge(f Fields) int64 {
	item, _, _ := field.Next(f.Joined("Age"))
	n, ok := parseDelta(item)
	if !ok {
		return 0
	}
	return n
}

// cacheableByDefault is RFC 9110 section 15.1, without 206: parts are judged as
// the 200 that they are of.
func cacheableByDefault(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood are the statuses whose caching rules weir knows, for
// must-understand (RFC 9111 section 5.2.2.3).
func understood(status int) bool {
	switch status {
	case 302, 303, 307, 400, 401, 403, 406, 409, 411, 412, 413, 415, 416, 417, 421, 422, 426, 451,
		500, 502, 503, 504, 505:
		return true
	}
	return cacheableByDefault(status)
}
