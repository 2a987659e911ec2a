package proxy

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/header"
	"weir/internal/wire"
)

// CacheResult is what the cache did for an exchange, for logs and hooks.
type CacheResult struct {
	// Asked says that the route has a cache; the rest counts only then.
	Asked bool
	// Outcome and Reason are those of the look-up, or of the entry that
	// answered in the end.
	Outcome rule.Outcome
	Reason  rule.Reason
	// Status is what the target said; 0 if it was not asked or did not answer.
	Status int
	// Stored says that the target's response went into the cache, Unstored why
	// it did not.
	Stored   bool
	Unstored rule.Reason
	// Collapsed says that somebody else's fetch answered.
	Collapsed bool
	// Answered says that an entry answered.
	Answered bool
}

// String is one name for it: why the response was not stored, else why the
// target was asked or a stale entry answered, else the outcome. It is empty if
// the route has no cache.
func (r CacheResult) String() string {
	switch {
	case !r.Asked:
		return ""
	case r.Unstored != rule.ReasonNone:
		return r.Unstored.String()
	case r.Reason != rule.ReasonNone:
		return r.Reason.String()
	}
	return r.Outcome.String()
}

// cached is what an exchange keeps of its way through the cache.
type cached struct {
	request cache.Request
	found   cache.Found
	// fill is what the exchange leads, nil if nothing.
	fill *cache.Fetch
	// background says that there is no client: the fetch validates an entry.
	background bool
	// poured is closed when the goroutine that moves the body into fill ends.
	poured chan struct{}
	fetch  fetch
	fields []byte
	text   []byte
	// file is where the body of the answer is, which must stay until it is sent.
	file cache.File
	// host and target are what a hook made of the client's.
	host, target []byte
}

// reset forgets what belongs to others.
func (c *cached) reset() {
	if c.request.Policy == nil && !c.background {
		return // not used
	}
	c.request.Reset()
	c.found, c.file = cache.Found{}, cache.File{}
	c.fill, c.background = nil, false
}

// patience is how often an exchange joins others before it goes alone.
const patience = 3

// fromCache serves an exchange of a route with a cache.
func (p *Proxy) fromCache(x *Exchange) {
	c := &x.cached
	if x.Head.Fields&wire.FieldConnection != 0 {
		// What Connection names the target does not see: nothing may be
		// selected by it.
		header.CleanRequest(&x.Request, x.Head.Fields)
	}
	q := &c.request
	q.Policy = x.Route.cache
	q.Header = &x.Request
	q.Fields = x.Head.Fields
	q.Scheme, q.Host, q.Target = x.Peer.Scheme, x.Host, x.Target
	if p.hooks.OnRequest != nil {
		// A hook may have sent the request elsewhere.
		c.host = append(c.host[:0], x.Request.Host()...)
		c.target = append(c.target[:0], x.Request.RequestURI()...)
		q.Host, q.Target = c.host, c.target
	}
	q.Body = !x.Body.Done()
	q.Now = time.Now()
	defer p.countCache(x)
	if p.purges(x) {
		return
	}
	c.found = p.cache.Lookup(q)
	x.Cache = CacheResult{Asked: true, Outcome: c.found.Outcome, Reason: c.found.Reason}
	for round := 0; ; round++ {
		switch c.found.Outcome {
		case rule.Fresh, rule.Stale:
			if p.answer(x) {
				if c.found.Refresh {
					p.refresh(x)
				}
				return
			}
			if c.found.Outcome != rule.Fresh && c.found.Outcome != rule.Stale {
				x.Cache.Outcome, x.Cache.Reason = c.found.Outcome, c.found.Reason
				continue
			}
			x.Cache.Outcome, x.Cache.Reason = rule.Bypass, rule.ReasonPrecondition
			p.forward(x)
			return
		case rule.Bypass:
			p.lead(x, nil)
			return
		case rule.Unavailable:
			x.Cause = CauseNotCached
			x.ownHead(504)
			p.cacheStatus(x)
			x.send(nil)
			return
		}
		f, role := p.cache.Join(q, &c.found, round >= patience)
		if role == cache.Follow {
			role = p.follow(x, f)
			if role == cache.Alone && x.Cause == CauseClientGone {
				return
			}
			if role == cache.Alone {
				round = patience
			}
			continue
		}
		if role != cache.Ready {
			p.lead(x, f)
			return
		}
	}
}

// follow waits for somebody else's fetch.
func (p *Proxy) follow(x *Exchange, f *cache.Fetch) cache.Role {
	c := &x.cached
	gone := x.Watch.wait(x.Start)
	role, reason, err := f.Wait(&c.request, &c.found, gone)
	if x.Watch.end() || errors.Is(err, cache.ErrGone) {
		x.Cause, x.Err = CauseClientGone, errClientGone
		x.Front.Abort()
		return cache.Alone
	}
	c.request.Advance(time.Now())
	if role == cache.Alone && reason == rule.ReasonFailed && p.answerStale(x, rule.FailedConnection) {
		return cache.Ready
	}
	return role
}

// lead asks the origin. f, which may be nil, gets what it answers.
func (p *Proxy) lead(x *Exchange, f *cache.Fetch) {
	c := &x.cached
	c.fill = f
	if f != nil {
		// The fetch asks for what the store needs; the answer is made for what
		// the client asked for.
		c.request.Header = f.Request()
	}
	defer p.endFill(x)
	p.forward(x)
}

// endFill gives up what was not committed.
func (p *Proxy) endFill(x *Exchange) {
	c := &x.cached
	if c.fill == nil {
		return
	}
	err := cache.ErrAborted
	if x.Cause == CauseClientGone {
		err = cache.ErrGone
	}
	c.fill.Abort(err)
	c.fill = nil
}

// answerStale answers from a stale entry because the origin failed, if that is
// allowed.
func (p *Proxy) answerStale(x *Exchange, failure rule.Failure) bool {
	c := &x.cached
	if !x.Cache.Asked || c.background || x.began {
		return false
	}
	reason, ok := c.found.StaleFor(&c.request, failure)
	if !ok {
		return false
	}
	c.found.Outcome, c.found.Reason = rule.Stale, reason
	return p.answer(x)
}

// answer answers from what was found. It returns false, and has sent nothing,
// if only the origin can judge the client's condition, or if the entry's body
// is gone: then found says what there is now.
func (p *Proxy) answer(x *Exchange) bool {
	a, ok := p.cache.Answer(&x.cached.request, &x.cached.found)
	if ok {
		p.sendAnswer(x, &a)
	}
	return ok
}

// fileMin is the number of bytes from which sending them straight from a file
// pays for a second system call.
const fileMin = 32 << 10

// sendAnswer sends what was made from x.cached.found.
func (p *Proxy) sendAnswer(x *Exchange, a *cache.Answer) {
	c := &x.cached
	if a.Reader != nil {
		defer a.Reader.Close()
	}
	h := &x.Response
	if err := a.Copy(h, &p.metrics.relayed); err != nil {
		panic("BUG: cannot read the head of an entry: " + err.Error())
	}
	h.SetNoDefaultContentType(true)
	c.text = strconv.AppendInt(c.text[:0], a.Age, 10)
	h.SetBytesV("Age", c.text)
	x.Cause = CauseCached
	x.Cache.Outcome, x.Cache.Reason = c.found.Outcome, c.found.Reason
	x.Cache.Collapsed, x.Cache.Answered = c.found.Collapsed, true
	p.cacheStatus(x)
	p.replyHead(x)

	x.began = true
	x.Status = h.StatusCode()
	err := x.Front.Start(h, a.Length, a.Bodyless)
	if err == nil && !a.Bodyless {
		if a.Reader != nil {
			err = p.read(x, a.Reader)
		} else if len(a.Body) > 0 {
			x.BytesOut += int64(len(a.Body))
			err = p.writeStored(x, a)
		}
	}
	switch {
	case err == nil:
		err = x.Front.Finish(nil)
	case errors.Is(err, cache.ErrAborted), errors.Is(err, cache.ErrLagged):
		x.Err = err
		x.fail(0, CauseTruncated)
		return
	}
	if err != nil {
		x.clientFailed(err)
	}
}

// writeStored sends the body of a, straight from a file if it has one.
func (p *Proxy) writeStored(x *Exchange, a *cache.Answer) error {
	if len(a.Body) < fileMin || x.TLS {
		return x.Front.Write(a.Body)
	}
	x.cached.file = p.cache.File(a)
	if fd, offset, ok := x.cached.file.At(); ok {
		return x.Front.WriteFile(a.Body, fd, offset)
	}
	return x.Front.Write(a.Body)
}

// replyHead applies to Response what every answer to a client gets.
func (p *Proxy) replyHead(x *Exchange) {
	if x.Route.responseRules != nil {
		x.Route.responseRules.Apply(&x.Response, x.lookup)
	}
	if p.hooks.OnReply != nil {
		p.hooks.OnReply(x)
	}
	if !x.Body.Done() {
		x.Front.CloseAfter()
	}
}

// read sends the client what r delivers, as it arrives.
func (p *Proxy) read(x *Exchange, r cache.Reader) error {
	gone := x.Watch.wait(x.Start)
	defer x.Watch.end()
	for {
		piece, err := r.Next(gone)
		switch err {
		case nil:
		case io.EOF:
			return nil
		case cache.ErrGone:
			return errClientGone
		default:
			return err
		}
		x.BytesOut += int64(len(piece))
		if err := x.Front.Write(piece); err != nil {
			return err
		}
		if err := x.Front.Flush(); err != nil {
			return err
		}
	}
}

// cacheStatus puts Cache-Status into Response, behind those of other caches.
func (p *Proxy) cacheStatus(x *Exchange) {
	if !x.Route.cacheStatus {
		return
	}
	r := &x.Cache
	s := rule.Status{
		Outcome: r.Outcome, Reason: r.Reason, Forwarded: !r.Answered || r.Status > 0, FwdStatus: r.Status,
		Stored: r.Stored, Unstored: r.Unstored, Collapsed: r.Collapsed,
	}
	if e := x.cached.found.Entry; e != nil {
		s.TTL = x.cached.request.TTL(e)
	}
	x.cached.text = s.Append(x.cached.text[:0], "weir")
	x.Response.AddBytesV("Cache-Status", x.cached.text)
}

// purges answers a PURGE from an address that may purge.
func (p *Proxy) purges(x *Exchange) bool {
	if len(p.purgeFrom) == 0 || string(x.Request.Method()) != "PURGE" {
		return false
	}
	allowed := false
	for _, prefix := range p.purgeFrom {
		allowed = allowed || x.Client.IsValid() && prefix.Contains(x.Client.Unmap())
	}
	if !allowed {
		x.fail(403, CausePurge)
		return true
	}
	soft := string(x.Request.Peek("Purge-Mode")) == "soft"
	n := p.cache.PurgeRequest(&x.cached.request, soft)
	x.Cause = CausePurge
	x.ownHead(200)
	x.Response.SetContentType("application/json")
	x.scratch = append(strconv.AppendInt(append(x.scratch[:0], `{"purged":`...), int64(n), 10), "}\n"...)
	x.send(x.scratch)
	return true
}

// cacheMetrics are a route's counters.
type cacheMetrics struct {
	outcome  [8]atomic.Pointer[metrics.Counter]
	reason   [64]atomic.Pointer[metrics.Counter]
	unstored [64]atomic.Pointer[metrics.Counter]
}

// countCache counts what the cache did.
func (p *Proxy) countCache(x *Exchange) {
	r := &x.Cache
	if !r.Asked {
		return
	}
	m, s := x.Route.cacheMetrics, x.Route.metrics.series
	lazy(s, &m.outcome[r.Outcome], "weir_cache_requests_total", "outcome", rule.Outcome.String, r.Outcome).Inc()
	if r.Reason != rule.ReasonNone {
		lazy(s, &m.reason[r.Reason], "weir_cache_reasons_total", "reason", rule.Reason.String, r.Reason).Inc()
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
	return policy.WithConditions(conditions(r)), nil
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
	add(':', r.Header)
	if len(r.Cache.Key.IgnoreQuery)+len(r.Cache.Key.KeepQuery) > 0 {
		add('?', r.Query)
	}
	return string(b)
}
