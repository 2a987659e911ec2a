package rule

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/config"
	"weir/internal/field"
)

// Policy is a route's cache policy, compiled. It is never changed, and may be
// used by any number of goroutines.
type Policy struct {
	c         config.RouteCache
	setCookie setCookieRule
	fill      fillRule

	heuristicMax, defaultTTL, negativeTTL, forcedTTL int64 // seconds
	swr, sie, disconnect                             int64 // seconds

	ignoreQuery, keepQuery []field.Pattern
	keyHeaders, keyCookies []string
	bypassCookies          []field.Pattern
	bypassHeaders          []field.Pattern
	bypassQuery            []field.Pattern
	perClientFields        []string // lower case
	ignoreVary             []string // lower case
	conditions             string
	authorizes             bool // perClientFields has Authorization
	sending                Sending
	rewritten              []field.Pattern // of sending
}

// setCookieRule says when a response with Set-Cookie is stored.
type setCookieRule uint8

const (
	setCookieNever setCookieRule = iota
	setCookieShared
	setCookieAlways
)

var setCookieRules = []string{setCookieNever: "never", setCookieShared: "shared", setCookieAlways: "always"}

// fillRule says what of a client's own a fetch leaves out that has no entry to validate.
type fillRule uint8

const (
	fillAsked     fillRule = iota // nothing
	fillCondition                 // conditions
	fillWhole                     // conditions, and ranges that are open and begin at 0
)

var fillRules = []string{fillAsked: "asked", fillCondition: "condition", fillWhole: "whole"}

// SetCookieRules returns the values of set_cookie.
func SetCookieRules() []string { return slices.Clone(setCookieRules) }

// FillRules returns the values of fill.
func FillRules() []string { return slices.Clone(fillRules) }

// NewPolicy compiles a route's policy. The route must have its cache on. An error is of type
// config.Errors: what Check finds.
// perClientFields are request fields whose values the proxy makes up for each
// client; what an origin varies by one of them is never stored. With
// Authorization among them every request counts as one that has it.
func NewPolicy(c *config.RouteCache, perClientFields ...string) (*Policy, error) {
	if problems := Check(c); len(problems) > 0 {
		return nil, problems
	}
	p := &Policy{
		c:               *c,
		setCookie:       setCookieRule(slices.Index(setCookieRules, c.SetCookie)),
		fill:            fillRule(slices.Index(fillRules, c.Fill)),
		heuristicMax:    seconds(c.HeuristicMax),
		defaultTTL:      seconds(c.DefaultTTL),
		negativeTTL:     seconds(c.NegativeTTL),
		forcedTTL:       seconds(c.ForcedTTL),
		swr:             seconds(c.StaleWhileRevalidate),
		sie:             seconds(c.StaleIfError),
		disconnect:      seconds(c.StaleOnDisconnect),
		ignoreQuery:     field.Patterns(c.Key.IgnoreQuery),
		keepQuery:       field.Patterns(c.Key.KeepQuery),
		keyHeaders:      lower(c.Key.Headers),
		keyCookies:      c.Key.Cookies,
		ignoreVary:      lower(c.IgnoreVary),
		perClientFields: lower(perClientFields),
		bypassCookies:   field.Patterns(c.Bypass.Cookies),
		bypassHeaders:   field.Patterns(c.Bypass.Headers),
		bypassQuery:     field.Patterns(c.Bypass.Query),
	}
	p.authorizes = slices.Contains(p.perClientFields, "authorization")
	return p, nil
}

// Check returns what is wrong with a route's policy, with keys below the route's cache.
func Check(c *config.RouteCache) (problems config.Errors) {
	add := func(found, want string, key ...any) {
		problems = append(problems, config.Problem{Key: config.Key(key...), Found: found, Want: want})
	}
	oneOf := func(key, value string, allowed []string) {
		if !slices.Contains(allowed, value) {
			problems = append(problems, config.NotOneOf(key, value, allowed))
		}
	}
	oneOf("set_cookie", c.SetCookie, setCookieRules)
	oneOf("fill", c.Fill, fillRules)
	if c.Heuristic < 0 || c.Heuristic > 100 {
		add(strconv.Itoa(c.Heuristic), "0 to 100 percent", "heuristic")
	}
	if len(c.Key.IgnoreQuery) > 0 && len(c.Key.KeepQuery) > 0 {
		add("ignore_query and keep_query together", "one of them", "key")
	}
	names := func(list []string, key ...any) {
		for i, name := range list {
			if !field.IsToken(name) {
				add(strconv.Quote(name), "the name of a header field", append(key, i)...)
			}
		}
	}
	names(c.Targeted, "targeted")
	names(c.SurrogateKeys, "surrogate_keys")
	names(c.Key.Headers, "key", "headers")
	names(c.IgnoreVary, "ignore_vary")
	return problems
}

// WithConditions returns the policy of a route that is taken under conditions
// which the key does not hold, as a text without line breaks: another route may
// answer the same URL otherwise. The empty text means that there are none.
func (p *Policy) WithConditions(conditions string) *Policy {
	q := *p
	q.conditions = conditions
	return &q
}

// Sending is what becomes of the fields of requests on their way to targets.
type Sending struct {
	// Rewritten are the fields that targets may get otherwise than clients sent them, in any
	// case; a name may end in "*". Names with "_" always count as such.
	Rewritten []string
	// OtherHosts says that there are peers whose word counts for which host a client asked.
	OtherHosts bool
	// NoCredentials says that the Authorization of clients does not reach targets.
	NoCredentials bool
}

// WithSending returns the policy of a route that changes requests in that way. Without it
// targets get requests as clients sent them.
func (p *Policy) WithSending(s Sending) *Policy {
	q := *p
	q.sending, q.rewritten = s, field.Patterns(lower(s.Rewritten))
	return &q
}

// rewrites says whether targets may get the field, whose name is in lower case, otherwise than
// clients sent it.
func (p *Policy) rewrites(name string) bool {
	return strings.Contains(name, "_") || field.MatchAny(p.rewritten, name)
}

// FoldsEncodings says that targets get Accept-Encoding as AppendEncodings writes it.
func (p *Policy) FoldsEncodings() bool { return p.c.FoldEncodings }

// lower is a copy of the names in lower case.
func lower(names []string) []string {
	var list []string
	for _, name := range names {
		list = append(list, strings.ToLower(name))
	}
	return list
}

// ExtendsKey says that keys may have more than the URL.
func (p *Policy) ExtendsKey() bool {
	return p.sending.OtherHosts || p.conditions != "" || len(p.keyHeaders)+len(p.keyCookies) > 0 || p.c.QueryBody > 0
}

// Wait is how long a request waits for the head of another's fetch.
func (p *Policy) Wait() time.Duration { return p.c.Wait.D() }

// Collapses says whether requests for one key wait for one fetch.
func (p *Policy) Collapses() bool { return p.c.Collapse }

// StoresUntilClose says whether a body that ends when the connection does is stored.
func (p *Policy) StoresUntilClose() bool { return p.c.StoreUntilClose }

// QueryBody is the size of the largest content of a QUERY whose answer is stored; 0 means that
// none is.
func (p *Policy) QueryBody() int64 { return int64(p.c.QueryBody) }

// Finish is how many bytes of a body may be missing for a fetch that no client waits for any
// more to go on; 0 means that none goes on.
func (p *Policy) Finish() int64 { return int64(p.c.Finish) }

// Uncacheable is for how many seconds requests for a key whose answers cannot be
// stored do not wait for each other; not above 0 means that they always may.
func (p *Policy) Uncacheable() int64 { return seconds(p.c.Uncacheable) }

// seconds rounds down.
func seconds(d config.Duration) int64 { return min(int64(d.D()/time.Second), MaxDelta) }
