package cache

import (
	"time"

	"github.com/valyala/fasthttp"

	"weir/internal/wire"
)

// method is what the cache makes of a request method.
type method uint8

const (
	methodGet method = iota
	methodHead
	methodPost   // its answer may be stored for GET, and it invalidates
	methodSafe   // neither stored nor invalidating
	methodUnsafe // invalidates
)

func methodOf(b []byte) method {
	switch string(b) {
	case "GET":
		return methodGet
	case "HEAD":
		return methodHead
	case "POST":
		return methodPost
	case "OPTIONS", "TRACE":
		return methodSafe
	}
	return methodUnsafe
}

// Request is a request as the cache sees it. The caller fills the exported
// part, lends what it points to until it is done with the request, and may use
// the struct again for the next one. It belongs to one goroutine.
type Request struct {
	// Policy is the route's.
	Policy *Policy
	// Header is the head as it would be sent to a target, but for conditions.
	Header *fasthttp.RequestHeader
	// Fields says which fields of interest Header has.
	Fields wire.Fields
	// Scheme is "http" or "https", Host the authority as the client wrote it,
	// Target the raw path and query.
	Scheme, Host, Target []byte
	// Body says that the request has a body.
	Body bool
	// Now is the only clock there is for judging.
	Now time.Time

	now     int64
	method  method
	control RequestControl
	bypass  Reason
	key     []byte
	hash    uint64
	variant []byte // scratch for the variant's text
	head    []byte // scratch for heads of 206 and the like
}

// Reset forgets what q points to, but keeps its buffers.
func (q *Request) Reset() {
	*q = Request{key: q.key[:0], variant: q.variant[:0], head: q.head[:0]}
}

// conditions says whether the client set a condition of its own.
func (q *Request) conditions() bool { return q.Fields&wire.FieldConditional != 0 }

// ranged says whether the client asked for a part.
func (q *Request) ranged() bool { return q.Fields&wire.FieldRange != 0 && q.method == methodGet }

// prepare works out everything that depends on the request alone. hash may be
// nil when only judging is wanted.
func (q *Request) prepare(hash func([]byte) uint64) {
	q.now = q.Now.UnixNano()
	q.method = methodOf(q.Header.Method())
	q.control = noRequestControl
	q.key = q.Policy.appendKey(q.key[:0], q.Scheme, q.Host, q.Target, q.Header)
	q.hash = hash(q.key)
	if q.Policy.c.RequestDirectives {
		if q.Fields&wire.FieldCacheControl != 0 {
			q.control = ParseRequestControl(joinLines(q.Header.PeekAll(fasthttp.HeaderCacheControl)))
		} else if q.Fields&wire.FieldPragma != 0 && listed(joinLines(q.Header.PeekAll(fasthttp.HeaderPragma)), "no-cache") {
			q.control.NoCache = true // RFC 9111 section 5.4
		}
	}
	q.bypass = q.judgeBypass()
}

// judgeBypass says why the cache must not be asked, if so.
func (q *Request) judgeBypass() Reason {
	switch {
	case q.Fields&wire.FieldUpgrade != 0:
		return ReasonUpgrade
	case q.method != methodGet && q.method != methodHead:
		return ReasonMethod
	case q.Body:
		// Its meaning is not in the key.
		return ReasonRequestBody
	case q.control.NoStore:
		return ReasonNoStoreRequest
	case q.Policy.bypasses(q.Header, q.Target):
		return ReasonRule
	}
	return ReasonNone
}

// asked is what judging the response will need.
func (q *Request) asked() asked {
	return asked{
		method:        q.method,
		authorization: q.Fields&wire.FieldAuthorization != 0 || q.Policy.authorizes || len(q.Header.Peek(fasthttp.HeaderAuthorization)) > 0,
		noStore:       q.control.NoStore,
	}
}

// selects says whether the entry is the variant that the request asks for.
func (q *Request) selects(e *Entry) bool {
	if len(e.vary) == 0 {
		return true
	}
	q.variant = q.Policy.appendVary(q.variant[:0], e.vary, q.Header)
	return string(q.variant) == e.variant
}

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

// judge says whether the entry may answer the request now (RFC 9111 sections
// 4.2 and 5.2.1).
func judge(e *Entry, q *Request) (Outcome, Reason) {
	if e.validate {
		return Revalidate, ReasonNoCacheResponse
	}
	c := &q.control
	if c.NoCache {
		return Revalidate, ReasonNoCacheRequest
	}
	if e.received-q.now > 2*skew {
		// The clock was set back: how old the entry is cannot be known.
		return Revalidate, ReasonStale
	}
	const second = int64(time.Second)
	until := e.until()
	over := q.now - until // how long it has been stale
	if c.MaxAge != absent && e.ageAt(q.now) > c.MaxAge*second && c.MaxStale == absent {
		return Revalidate, ReasonMaxAgeRequest
	}
	if c.MinFresh != absent && -over < c.MinFresh*second {
		return Revalidate, ReasonMinFreshRequest
	}
	if over < 0 {
		return Fresh, ReasonNone
	}
	if !e.neverStale {
		if over <= e.swr*second && e.swr > 0 {
			return Stale, ReasonStaleWhileRevalidate
		}
		if c.MaxStale != absent && over <= c.MaxStale*second {
			return Stale, ReasonMaxStaleRequest
		}
	}
	if e.purged.Load() != 0 && e.freshUntil() > q.now {
		return Revalidate, ReasonPurged
	}
	return Revalidate, ReasonStale
}

// Failure is how the origin failed a request.
type Failure uint8

const (
	// FailedStatus: it answered 500, 502, 503 or 504.
	FailedStatus Failure = iota
	// FailedConnection: no answer came: not reached, closed, timed out.
	FailedConnection
)

// mayAnswer says whether the entry may answer, although stale, because the
// origin failed (RFC 5861 section 4, RFC 9111 section 4.2.4).
func mayAnswer(e *Entry, q *Request, failure Failure) (Reason, bool) {
	if e.neverStale || e.validate || q.control.NoCache {
		return ReasonNone, false
	}
	over := q.now - e.until()
	switch {
	case over <= 0:
		// Fresh, but the client wanted better.
		return ReasonStaleIfError, failure == FailedConnection && q.control.MaxAge == absent && q.control.MinFresh == absent
	case e.sie > 0 && over <= e.sie*int64(time.Second):
		return ReasonStaleIfError, true
	case failure == FailedConnection && e.disconnect > 0 && over <= e.disconnect*int64(time.Second):
		return ReasonDisconnected, true
	}
	return ReasonNone, false
}

// joinLines joins the lines of a field. It allocates only if there are several.
func joinLines(lines [][]byte) []byte {
	switch len(lines) {
	case 0:
		return nil
	case 1:
		return lines[0]
	}
	var all []byte
	for i, l := range lines {
		if i > 0 {
			all = append(all, ", "...)
		}
		all = append(all, l...)
	}
	return all
}
