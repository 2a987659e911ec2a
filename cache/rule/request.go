package rule

import (
	"time"

	"weir/internal/field"
	"weir/internal/wire"
)

// Method is what the cache makes of a request method.
type Method uint8

// The methods.
const (
	MethodGet Method = iota
	MethodHead
	MethodPost   // its answer may be stored for GET, and it invalidates
	MethodSafe   // neither stored nor invalidating
	MethodUnsafe // invalidates
)

func methodOf(b []byte) Method {
	switch string(b) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "OPTIONS", "TRACE":
		return MethodSafe
	}
	return MethodUnsafe
}

// Request is a request as the cache sees it. The caller fills the first part,
// lends what it points to until it is done with the request, and may use the
// struct again for the next one. It belongs to one goroutine.
type Request struct {
	// Policy is the route's.
	Policy *Policy
	// Header is the head as it would be sent to a target, but for conditions.
	Header *RequestHead
	// Fields says which fields of interest Header has.
	Fields wire.Fields
	// Scheme is "http" or "https", Host the authority as the client wrote it,
	// Target the raw path and query.
	Scheme, Host, Target []byte
	// Body says that the request has a body.
	Body bool
	// Now is the only clock there is for judging.
	Now time.Time

	// The rest is what Prepare works out. At is Now in ns since the epoch, Key
	// the key of what may answer, and Bypass why the cache must not be asked.
	At      int64
	Method  Method
	Control RequestControl
	Bypass  Reason
	Key     []byte
}

// Prepare works out everything that depends on the request alone.
func (q *Request) Prepare() {
	q.At = q.Now.UnixNano()
	q.Method = methodOf(q.Header.Method())
	q.Control = NoRequestControl()
	q.Key = q.Policy.AppendKey(q.Key[:0], q.Scheme, q.Host, q.Target, q.Header)
	if q.Policy.c.RequestDirectives {
		if q.Fields&wire.FieldCacheControl != 0 {
			q.Control = ParseRequestControl(joined(q.Header, "Cache-Control"))
		} else if q.Fields&wire.FieldPragma != 0 && field.HasToken(joined(q.Header, "Pragma"), "no-cache") {
			q.Control.NoCache = true // RFC 9111 section 5.4
		}
	}
	q.Bypass = q.judgeBypass()
}

// Advance moves the request's clock on, after waiting.
func (q *Request) Advance(now time.Time) { q.Now, q.At = now, now.UnixNano() }

// judgeBypass says why the cache must not be asked, if so.
func (q *Request) judgeBypass() Reason {
	switch {
	case q.Fields&wire.FieldUpgrade != 0:
		return ReasonUpgrade
	case q.Method != MethodGet && q.Method != MethodHead:
		return ReasonMethod
	case q.Body:
		// Its meaning is not in the key.
		return ReasonRequestBody
	case q.Control.NoStore:
		return ReasonNoStoreRequest
	case q.Policy.bypasses(q.Header, q.Target):
		return ReasonRule
	}
	return ReasonNone
}

// Conditional says whether the client set a condition of its own.
func (q *Request) Conditional() bool { return q.Fields&wire.FieldConditional != 0 }

// Ranged says whether the client asked for a part.
func (q *Request) Ranged() bool { return q.Fields&wire.FieldRange != 0 && q.Method == MethodGet }

// Asked is what judging the response will need.
func (q *Request) Asked() Asked {
	return Asked{
		Method:        q.Method,
		Authorization: q.Fields&wire.FieldAuthorization != 0 || q.Policy.authorizes || Has(q.Header, "Authorization"),
		NoStore:       q.Control.NoStore,
	}
}

// AppendVariant adds what the request says in the named fields.
func (q *Request) AppendVariant(dst []byte, names []string) []byte {
	return q.Policy.AppendVary(dst, names, q.Header)
}
