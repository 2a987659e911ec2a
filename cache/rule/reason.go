package rule

// Reason is the name of why the cache did what it did with a request or a
// response. Cache-Status, metrics and the access log use the same names.
type Reason uint8

// The reasons. The zero value stands for no reason.
const (
	ReasonNone Reason = iota

	// Why the cache was not asked.
	ReasonMethod         // a method whose answers are not stored
	ReasonRequestBody    // a GET or HEAD with a body
	ReasonRule           // a bypass rule of the route
	ReasonNoStoreRequest // the client said no-store
	ReasonPrecondition   // If-Match or If-Unmodified-Since that the origin must judge
	ReasonUpgrade        // the client asked for another protocol
	ReasonConnection     // the client's connection carries an identity

	// Why there was nothing to use.
	ReasonURIMiss  // no entry under that key
	ReasonVaryMiss // entries, but none for these request fields
	ReasonEvicted  // the entry left while it was looked at

	// Why an entry could not be used as it was.
	ReasonStale            // its lifetime is over
	ReasonPurged           // a soft purge or an invalidation ended its lifetime
	ReasonMustRevalidate   // its lifetime is over, and must-revalidate or proxy-revalidate forbids its stale window
	ReasonSMaxAge          // the same, and s-maxage forbids it
	ReasonNoCacheResponse  // the response said no-cache
	ReasonNoCacheRequest   // the client said no-cache
	ReasonMaxAgeRequest    // older than the client's max-age
	ReasonMinFreshRequest  // not fresh for as long as the client's min-fresh
	ReasonRangeUnavailable // the range asked for is not stored
	ReasonOnlyIfCached     // the client wanted an entry or nothing

	// Why an entry was used although stale.
	ReasonStaleWhileRevalidate
	ReasonStaleIfError
	ReasonDisconnected
	ReasonMaxStaleRequest

	// Why a response was not stored.
	ReasonNoStore
	ReasonPrivate
	ReasonAuthorization
	ReasonSetCookie
	ReasonVaryStar
	ReasonVaryTooMany // more request fields than an entry may select by
	ReasonVaryOwn     // a request field that the proxy makes up for each client
	ReasonNotUnderstood
	ReasonNoFreshness
	ReasonBadFreshness // what says how long it is fresh is malformed
	ReasonOldOnArrival // its age was above its lifetime when it came in
	ReasonNoValidator  // must be validated, but has nothing to do it with
	ReasonPartial      // 206
	ReasonNotModified  // 304 for which there is no entry
	ReasonInterim
	ReasonContentLocation // a POST whose answer is not the target's representation
	ReasonTooLarge
	ReasonTruncated      // its end was not proven
	ReasonCloseDelimited // its body ends when the connection does
	ReasonFailed         // no response
	ReasonDoomed         // purged or invalidated while it was fetched
	ReasonMemory         // no memory left for what is being fetched
	ReasonDisk           // a large body could not be written to disk

	// Why requests for a key are not collapsed.
	ReasonWait // waited too long for another's fetch
)

var reasonNames = [...]string{
	ReasonNone:                 "",
	ReasonMethod:               "method",
	ReasonRequestBody:          "request-body",
	ReasonRule:                 "rule",
	ReasonNoStoreRequest:       "no-store-request",
	ReasonPrecondition:         "precondition",
	ReasonUpgrade:              "upgrade",
	ReasonConnection:           "connection",
	ReasonURIMiss:              "uri-miss",
	ReasonVaryMiss:             "vary-miss",
	ReasonEvicted:              "evicted",
	ReasonStale:                "stale",
	ReasonPurged:               "purged",
	ReasonMustRevalidate:       "must-revalidate",
	ReasonSMaxAge:              "s-maxage",
	ReasonNoCacheResponse:      "no-cache",
	ReasonNoCacheRequest:       "no-cache-request",
	ReasonMaxAgeRequest:        "max-age-request",
	ReasonMinFreshRequest:      "min-fresh-request",
	ReasonRangeUnavailable:     "range",
	ReasonOnlyIfCached:         "only-if-cached",
	ReasonStaleWhileRevalidate: "stale-while-revalidate",
	ReasonStaleIfError:         "stale-if-error",
	ReasonDisconnected:         "disconnected",
	ReasonMaxStaleRequest:      "max-stale-request",
	ReasonNoStore:              "no-store",
	ReasonPrivate:              "private",
	ReasonAuthorization:        "authorization",
	ReasonSetCookie:            "set-cookie",
	ReasonVaryStar:             "vary-star",
	ReasonVaryTooMany:          "vary-too-many",
	ReasonVaryOwn:              "vary-own",
	ReasonNotUnderstood:        "not-understood",
	ReasonNoFreshness:          "no-freshness",
	ReasonBadFreshness:         "bad-freshness",
	ReasonOldOnArrival:         "old-on-arrival",
	ReasonNoValidator:          "no-validator",
	ReasonPartial:              "partial",
	ReasonNotModified:          "not-modified",
	ReasonInterim:              "interim",
	ReasonContentLocation:      "content-location",
	ReasonTooLarge:             "too-large",
	ReasonTruncated:            "truncated",
	ReasonCloseDelimited:       "close-delimited",
	ReasonFailed:               "failed",
	ReasonDoomed:               "doomed",
	ReasonMemory:               "memory",
	ReasonDisk:                 "disk",
	ReasonWait:                 "wait",
}

// String is the reason's name, a token.
func (r Reason) String() string { return reasonNames[r] }

// ForOne says whether a response that is not stored for that reason is for the client alone
// that asked for it.
func (r Reason) ForOne() bool {
	return r == ReasonNoStore || r == ReasonPrivate || r == ReasonAuthorization
}
