package cache

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/config"
)

// Policy is a route's cache policy, compiled. It is never changed, and may be
// used by any number of goroutines.
type Policy struct {
	c         config.RouteCache
	setCookie setCookieRule

	heuristicMax, defaultTTL, negativeTTL, forcedTTL int64 // seconds
	swr, sie, disconnect                             int64 // seconds

	ignoreQuery, keepQuery []pattern
	keyHeaders, keyCookies []string
	bypassCookies          []pattern
	bypassHeaders          []pattern
	bypassQuery            []pattern
	own                    []string // lower case
	under                  string
	authorizes             bool // own has Authorization
}

// setCookieRule says when a response with Set-Cookie is stored.
type setCookieRule uint8

const (
	setCookieNever setCookieRule = iota
	setCookieShared
	setCookieAlways
)

var setCookieRules = []string{setCookieNever: "never", setCookieShared: "shared", setCookieAlways: "always"}

// NewPolicy compiles a route's policy. The route must have its cache on. own
// are request fields whose values the proxy makes up for each client; what an
// origin varies by one of them is never stored. With Authorization among them
// every request counts as one that has it.
func NewPolicy(c *config.RouteCache, own ...string) (*Policy, error) {
	rule := slices.Index(setCookieRules, c.SetCookie)
	if rule < 0 {
		return nil, fmt.Errorf("cannot use set_cookie %q: expected one of %s", c.SetCookie, strings.Join(setCookieRules, ", "))
	}
	if c.Heuristic < 0 || c.Heuristic > 100 {
		return nil, fmt.Errorf("cannot use heuristic %d: expected 0 to 100 percent", c.Heuristic)
	}
	if len(c.Key.IgnoreQuery) > 0 && len(c.Key.KeepQuery) > 0 {
		return nil, fmt.Errorf("cannot use ignore_query and keep_query together: expected one of them")
	}
	for _, list := range [][]string{c.Targeted, c.SurrogateKeys, c.Key.Headers} {
		for _, name := range list {
			if !isToken([]byte(name)) {
				return nil, fmt.Errorf("cannot use %q: expected the name of a header field", name)
			}
		}
	}
	p := &Policy{
		c:             *c,
		setCookie:     setCookieRule(rule),
		heuristicMax:  seconds(c.HeuristicMax),
		defaultTTL:    seconds(c.DefaultTTL),
		negativeTTL:   seconds(c.NegativeTTL),
		forcedTTL:     seconds(c.ForcedTTL),
		swr:           seconds(c.StaleWhileRevalidate),
		sie:           seconds(c.StaleIfError),
		disconnect:    seconds(c.StaleOnDisconnect),
		ignoreQuery:   patterns(c.Key.IgnoreQuery),
		keepQuery:     patterns(c.Key.KeepQuery),
		keyHeaders:    c.Key.Headers,
		keyCookies:    c.Key.Cookies,
		bypassCookies: patterns(c.Bypass.Cookies),
		bypassHeaders: patterns(c.Bypass.Headers),
		bypassQuery:   patterns(c.Bypass.Query),
	}
	for _, name := range own {
		p.own = append(p.own, strings.ToLower(name))
	}
	p.authorizes = slices.Contains(p.own, "authorization")
	return p, nil
}

// Under returns the policy of a route that is taken under conditions which the
// key does not hold, as a text without line breaks: another route may answer
// the same URL otherwise. The empty text means that there are none.
func (p *Policy) Under(conditions string) *Policy {
	q := *p
	q.under = conditions
	return &q
}

// narrows says that keys have more than the URL.
func (p *Policy) narrows() bool {
	return p.under != "" || len(p.keyHeaders)+len(p.keyCookies) > 0
}

// Wait is how long to wait for the head of somebody else's fetch.
func (p *Policy) Wait() time.Duration { return p.c.Wait.D() }

// seconds rounds down.
func seconds(d config.Duration) int64 { return min(int64(d.D()/time.Second), maxDelta) }

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

// asked is what judging a response must know of its request.
type asked struct {
	method        method
	authorization bool
	noStore       bool
	// contentLocation says that Content-Location names the target itself.
	contentLocation bool
}

// terms are what a stored response may be used for: the outcome of judging it
// once, so that a hit needs no more than comparisons.
type terms struct {
	// received is when the head came in, in ns since the epoch; age is how old
	// the response was then, in ns, and lifetime how long it is fresh, in s.
	received, age int64
	lifetime      int64
	// swr, sie and disconnect are windows after the lifetime in seconds in
	// which a stale entry may answer: while it is validated, when the origin
	// fails, when it cannot be reached. 0 means it may not.
	swr, sie, disconnect int64
	// date is the origin's Date, or when it came in, in s since the epoch.
	date int64
	// validate says that every use must be validated (no-cache).
	validate bool
	// neverStale forbids to answer when stale, even if the client wants to.
	neverStale bool
}

// freshUntil is when the lifetime ends, in ns since the epoch.
func (t *terms) freshUntil() int64 { return t.received - t.age + t.lifetime*int64(time.Second) }

// ageAt is the age in ns (RFC 9111 section 4.2.3).
func (t *terms) ageAt(now int64) int64 { return t.age + max(now-t.received, 0) }

// judgeResponse says on which terms a response may be stored (RFC 9111
// section 3), or why not.
func (p *Policy) judgeResponse(q asked, r *Response) (terms, Control, Reason) {
	control, targeted := p.control(r.Fields)
	t := p.terms(&control, targeted, r)
	switch {
	case r.Status < 200:
		return t, control, ReasonInterim
	case r.Status == 206:
		return t, control, ReasonPartial
	case r.Status == 304:
		return t, control, ReasonNotModified
	case q.method != methodGet && q.method != methodPost:
		return t, control, ReasonMethod
	case q.noStore:
		return t, control, ReasonNoStoreRequest
	case control.MustUnderstand && !understood(r.Status):
		return t, control, ReasonNotUnderstood
	case control.NoStore && !control.MustUnderstand:
		return t, control, ReasonNoStore
	case control.Private:
		return t, control, ReasonPrivate
	case q.authorization && !control.Public && !control.MustRevalidate && control.SMaxAge == absent:
		return t, control, ReasonAuthorization
	case r.Fields.has("Set-Cookie") && !dropped(&control, "set-cookie") && !p.storesCookies(&control, targeted):
		return t, control, ReasonSetCookie
	}
	explicit := control.SMaxAge != absent || control.MaxAge != absent || !targeted && r.Fields.has("Expires")
	if q.method == methodPost && (!explicit || r.Status != 200 || !q.contentLocation) {
		// RFC 9110 section 9.3.3.
		return t, control, ReasonContentLocation
	}
	if reason := p.judgeVary(r.Fields); reason != ReasonNone {
		return t, control, reason
	}
	validator := r.Fields.has("ETag") || r.Fields.has("Last-Modified")
	switch {
	case t.validate && !validator:
		return t, control, ReasonNoValidator
	case !explicit && !control.Public && !cacheableByDefault(r.Status):
		return t, control, ReasonNoFreshness
	case t.lifetime <= 0 && !validator:
		return t, control, ReasonNoFreshness
	}
	return t, control, ReasonNone
}

// control is the field that counts: the first targeted one that is valid, else
// Cache-Control.
func (p *Policy) control(f Fields) (c Control, targeted bool) {
	for _, name := range p.c.Targeted {
		if list := f.joined(name); list != nil {
			if c, ok := ParseTargeted(list); ok {
				return c, true
			}
		}
	}
	list := f.joined("Cache-Control")
	if list == nil && equalFold(trim(f.get("Pragma")), "no-cache") {
		// Not asked for by RFC 9111, but who sends it means it.
		c = noControl
		c.NoCache = true
		return c, false
	}
	return ParseControl(list), false
}

// terms works out age, lifetime and the windows after it.
func (p *Policy) terms(c *Control, targeted bool, r *Response) terms {
	t := terms{received: r.Received.UnixNano(), validate: c.NoCache}
	now := r.Received.Unix()

	// RFC 9111 section 4.2.3. Whole seconds for what a Date tells, the clock's
	// own precision for what was measured.
	date, ok := parseDate(r.Fields.joined("Date"), now)
	if !ok {
		date = now
	}
	t.date = date
	delay := max(r.Received.Sub(r.Requested), 0)
	corrected := int64(delay) + parseAge(r.Fields)*int64(time.Second)
	apparent := min(max(now-date, 0), maxDelta) * int64(time.Second)
	t.age = max(apparent, corrected)

	t.lifetime = p.lifetime(c, targeted, r, date, now)

	t.neverStale = c.MustRevalidate || c.ProxyRevalidate || c.NoCache || c.SMaxAge != absent
	if !t.neverStale {
		t.swr = given(c.StaleWhileRevalidate, p.swr)
		t.sie = given(c.StaleIfError, p.sie)
		t.disconnect = max(p.disconnect, t.sie)
	}
	return t
}

// lifetime is RFC 9111 section 4.2.1 and 4.2.2, with what the route adds. It
// is in seconds; 0 means stale from the start.
func (p *Policy) lifetime(c *Control, targeted bool, r *Response, date, now int64) int64 {
	if p.forcedTTL > 0 && cacheableByDefault(r.Status) {
		return p.forcedTTL
	}
	switch {
	case c.SMaxAge != absent:
		return c.SMaxAge
	case c.MaxAge != absent:
		return c.MaxAge
	}
	if !targeted {
		// Two lines make one invalid value, and what is invalid is expired.
		if expires := r.Fields.joined("Expires"); expires != nil {
			at, ok := parseDate(expires, now)
			if !ok {
				return 0
			}
			return min(max(at-date, 0), maxDelta)
		}
	}
	if !cacheableByDefault(r.Status) && !c.Public {
		return 0
	}
	if modified, ok := parseDate(r.Fields.get("Last-Modified"), now); ok && p.c.Heuristic > 0 && modified < date {
		return min((date-modified)/100*int64(p.c.Heuristic)+(date-modified)%100*int64(p.c.Heuristic)/100, p.heuristicMax)
	}
	if r.Status >= 400 && p.negativeTTL > 0 {
		return p.negativeTTL
	}
	return p.defaultTTL
}

// storesCookies says whether a response with Set-Cookie may be stored.
func (p *Policy) storesCookies(c *Control, targeted bool) bool {
	switch p.setCookie {
	case setCookieAlways:
		return true
	case setCookieShared:
		return c.Public || c.SMaxAge != absent || targeted
	}
	return false
}

// dropped says whether a qualified no-cache or private names the field, so
// that it is not stored.
func dropped(c *Control, name string) bool {
	return listed(c.NoCacheFields, name) || listed(c.PrivateFields, name)
}

// listed says whether a comma-separated list has the token.
func listed(list []byte, name string) bool {
	for {
		item, rest, more := nextItem(list)
		if !more {
			return false
		}
		if equalFold(item, name) {
			return true
		}
		list = rest
	}
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
	item, _, _ := nextItem(f.joined("Age"))
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
