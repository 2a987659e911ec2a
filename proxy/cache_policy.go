package proxy

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/forward"
)

// cacheMetrics are a route's counters.
type cacheMetrics struct {
	outcome  [8]atomic.Pointer[metrics.Counter]
	reason   [64]atomic.Pointer[metrics.Counter]
	unstored [64]atomic.Pointer[metrics.Counter]
}

// countCache counts what the cache did.
func (x *Exchange) countCache() {
	r := &x.Result.Cache
	if !r.Asked {
		return
	}
	m, s := x.Route.metrics.cache(), x.Route.metrics.series
	lazy(s, &m.outcome[r.Outcome], "weir_cache_requests_total", "outcome", rule.Outcome.String, r.Outcome).Inc()
	if r.Reason != rule.ReasonNone {
		lazy(s, &m.reason[r.Reason], "weir_cache_reasons_total", "reason", rule.Reason.String, r.Reason).Inc()
	}
	if r.Hint != rule.ReasonNone {
		lazy(s, &m.reason[r.Hint], "weir_cache_reasons_total", "reason", rule.Reason.String, r.Hint).Inc()
	}
	if r.Unstored != rule.ReasonNone {
		lazy(s, &m.unstored[r.Unstored], "weir_cache_unstored_total", "reason", rule.Reason.String, r.Unstored).Inc()
	}
}

// newCachePolicy compiles a route's cache policy, nil if it has no cache.
func newCachePolicy(r *config.Route, f config.Forwarding) (*rule.Policy, error) {
	if r.Cache == nil || !r.Cache.Enabled {
		return nil, nil
	}
	// What these say is about one client or one exchange.
	own := []string{"X-Forwarded-For", "X-Real-IP", "Forwarded", f.RequestID}
	for _, rules := range []map[string]config.Template{r.RequestHeaders.Set, r.RequestHeaders.Add} {
		for name, value := range rules {
			if len(value.Names()) > 0 {
				own = append(own, name)
			}
		}
	}
	policy, err := rule.NewPolicy(r.Cache, own...)
	if err != nil {
		return nil, err
	}
	return policy.WithConditions(conditions(r)).WithSending(sending(r, f)), nil
}

// sending is what a route's rules, and the forwarding fields, make of requests.
func sending(r *config.Route, f config.Forwarding) rule.Sending {
	rules := &r.RequestHeaders
	names := slices.Concat(forward.Written(), []string{f.RequestID}, rules.Remove)
	if len(r.RequestCookies.Keep)+len(r.RequestCookies.Remove) > 0 {
		names = append(names, "Cookie")
	}
	for _, table := range []map[string]config.Template{rules.Set, rules.Add} {
		names = slices.AppendSeq(names, maps.Keys(table))
	}
	// Names with "_" in rules make weir remove those with "-" too.
	for _, name := range names {
		if strings.Contains(name, "_") {
			names = append(names, strings.ReplaceAll(name, "_", "-"))
		}
	}
	is := func(name string) bool { return strings.EqualFold(name, "Authorization") }
	return rule.Sending{
		Rewritten:     names,
		OtherHosts:    len(f.TrustedProxies) > 0,
		NoCredentials: slices.ContainsFunc(rules.Remove, is) || slices.ContainsFunc(slices.Collect(maps.Keys(rules.Set)), is),
	}
}

// conditions are those of a route which a key does not hold by itself: another
// route may serve the same URL to those who do not meet them.
func conditions(r *config.Route) string {
	var b []byte
	add := func(kind byte, m map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			b = strconv.AppendQuote(append(b, kind), name)
			b = strconv.AppendQuote(append(b, '='), m[name])
		}
	}
	for _, name := range slices.Sorted(slices.Values(r.Listener)) {
		b = strconv.AppendQuote(append(b, '@'), name)
	}
	if r.Client != nil {
		text, err := json.Marshal(r.Client)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		b = strconv.AppendQuote(append(b, '*'), string(text))
	}
	add(':', r.Header)
	if len(r.Cache.Key.IgnoreQuery)+len(r.Cache.Key.KeepQuery) > 0 {
		add('?', r.Query)
	}
	return string(b)
}
