package rule

import (
	"slices"
	"time"

	"weir/internal/field"
	"weir/internal/head"
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

// safe are the methods of IANA's registry that are safe, without GET and HEAD: asking
// with them changes nothing (RFC 9110 section 9.2.1). Any other may change something.
var safe = []string{"OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE"}

func methodOf(b []byte) Method {
	switch string(b) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	}
	if slices.Contains(safe, string(b)) {
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
	// Head is the head as the client sent it, without the fields that end at weir because
	// its Connection names them.
	Head *head.Head
	// Sent returns the head as it would be sent to a target: with the rules of the
	// route and the forwarding fields applied. It is called only where a field counts that
	// the policy says is not as in Head. nil means that Head is sent.
	Sent func() *head.Head
	// Scheme is "http" or "https", Host the authority as the client wrote it,
	// Target the raw path and query.
	Scheme, Host, Target []byte
	// OtherOrigins has what fields tell targets of hosts and schemes other than Host and Scheme, so
	// that an answer to it is used for nothing else; empty if they tell of none.
	OtherOrigins []byte
	// Body says that the request has a body, and Content is all of it if that was read,
	// as for a QUERY whose answer may be stored; else nil.
	Body    bool
	Content []byte
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

// IsQuery says whether the method is QUERY (RFC 10008).
func IsQuery(h *head.Head) bool { return string(h.Method()) == "QUERY" }

var upgrades, ranged, authorized = head.SetOf(head.Upgrade), head.SetOf(head.Range), head.SetOf(head.Authorization)

// Prepare works out everything that depends on the request alone.
func (q *Request) Prepare() {
	q.At = q.Now.UnixNano()
	q.Method = methodOf(q.Head.Method())
	query := q.Content != nil && IsQuery(q.Head)
	if query {
		q.Method = MethodGet // of what the content describes
	}
	q.Control = NoRequestControl()
	if q.Policy.c.RequestDirectives {
		if control := q.Head.Joined(head.CacheControl); control != nil {
			q.Control = ParseRequestControl(control)
		} else if field.HasToken(q.Head.Joined(head.Pragma), "no-cache") {
			q.Control.NoCache = true // RFC 9111 section 5.4
		}
	}
	q.Bypass = q.judgeBypass()
	q.Key = q.AppendKey(q.Key[:0], q.Target)
	if query {
		q.Key = appendQuery(q.Key, q.Head, q.Content)
	}
}

// AppendKey adds the key of a target that is asked for as q is.
func (q *Request) AppendKey(dst, target []byte) []byte {
	dst = q.Policy.AppendKey(dst, q.Scheme, q.Host, target, q.sees)
	if len(q.OtherOrigins) > 0 {
		dst = append(appendKeyLine(dst, "told", ' '), q.OtherOrigins...)
	}
	return dst
}

// URLKey is the part of a key that names a URL of q's host, under another scheme. A port that
// any scheme has by default is none.
func (q *Request) URLKey(scheme string, target []byte) string {
	key := q.Policy.AppendKey(nil, []byte(scheme), appendHost(nil, nil, q.Host), target, q.sees)
	return string(KeyURL(key))
}

// SentHead is the head as it would be sent to a target.
func (q *Request) SentHead() *head.Head {
	if q.Sent == nil {
		return q.Head
	}
	return q.Sent()
}

// sees is a head that says of a field, whose name is in lower case, what a target would see.
func (q *Request) sees(name string) *head.Head {
	if q.Sent == nil || !q.Policy.rewrites(name) {
		return q.Head
	}
	return q.Sent()
}

// Advance moves the request's clock on, after waiting.
func (q *Request) Advance(now time.Time) { q.Now, q.At = now, now.UnixNano() }

// judgeBypass says why the cache must not be asked, if so.
func (q *Request) judgeBypass() Reason {
	switch {
	case q.Head.Has(upgrades):
		return ReasonUpgrade
	case q.Body && q.Content == nil && IsQuery(q.Head):
		return ReasonRequestBody // too long to be in the key
	case q.Method != MethodGet && q.Method != MethodHead:
		return ReasonMethod
	case q.Body && q.Content == nil:
		// Its meaning is not in the key.
		return ReasonRequestBody
	case q.Control.NoStore:
		return ReasonNoStoreRequest
	case q.Policy.bypasses(q.Head, q.Target):
		return ReasonRule
	}
	return ReasonNone
}

// Conditional says whether the client set a condition of its own.
func (q *Request) Conditional() bool { return q.Head.Has(head.Conditional) }

// Ranged says whether the client asked for a part.
func (q *Request) Ranged() bool { return q.Head.Has(ranged) && q.Method == MethodGet }

// Insists says whether the client wants an answer that is made for it, and has no use
// for one that is under way already.
func (q *Request) Insists() bool { return q.Control.NoCache || q.Control.MaxAge == 0 }

// Whole says whether the fetch that the request needs, without an entry to validate, asks
// for the whole representation: the route leaves out what the client has of its own, a
// condition or a range that means everything, with If-Range or without. The client still gets what it asked for.
func (q *Request) Whole() bool {
	switch ranged := q.Ranged(); {
	case !ranged && !q.Conditional():
		return true
	case q.Policy.fill == fillAsked:
		return false
	case ranged:
		return q.Policy.fill == fillWhole && field.EqualFold(field.Trim(q.Head.Joined(head.Range)), "bytes=0-")
	}
	return true
}

// Asked is what judging the response will need.
func (q *Request) Asked() Asked {
	return Asked{
		Method:        q.Method,
		Authorization: q.Policy.authorizes || !q.Policy.sending.NoCredentials && q.Head.Has(authorized),
		NoStore:       q.Control.NoStore,
	}
}

// AppendVariant adds what the request says in the named fields.
func (q *Request) AppendVariant(dst []byte, names []string) []byte {
	return q.Policy.appendVary(dst, names, q.sees)
}
