package proxy

import (
	"errors"
	"io"
	"strconv"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/internal/body"
	"weir/internal/forward"
	"weir/internal/head"
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
	// Hint says why what was stored is not fresh.
	Hint rule.Reason
	// Collapsed says that the fetch of another exchange answered.
	Collapsed bool
	// Answered says that an entry answered.
	Answered bool
}

// String is one name for it: why the response was not stored, or is not fresh, else why the
// target was asked or a stale entry answered, else the outcome. Where the target failed, it is
// why a stale entry did not answer. It is empty if the route has no cache.
func (r CacheResult) String() string {
	switch {
	case !r.Asked:
		return ""
	case r.Reason != rule.ReasonNone && r.Reason != rule.ReasonStale && rule.FailedValidation(r.Outcome, r.Status):
		return r.Reason.String()
	case r.Unstored != rule.ReasonNone:
		return r.Unstored.String()
	case r.Hint != rule.ReasonNone:
		return r.Hint.String()
	case r.Reason != rule.ReasonNone:
		return r.Reason.String()
	}
	return r.Outcome.String()
}

// cached is what an exchange keeps of its way through the cache.
type cached struct {
	// fetch is what the exchange leads; nil if it leads none.
	fetch *cache.Fetch
	// request is what the cache is asked, and store what the exchange needs to store a response; askCache
	// makes both, newSub the store of a sub-exchange. cleaned is the client's request without what Connection names, where that is needed. All are nil
	// until an exchange needs them, and stay for those that come later: exchanges that ask no cache take less memory.
	request *cache.Request
	store   *storing
	cleaned *head.Head
	// background says that there is no client: the fetch validates an entry.
	background bool
	// whole says that the answer has the whole body of an entry that memory has.
	whole bool
	found cache.Found
	text  []byte
	// copied is the second copy of the body of the answer, which must stay until it is
	// sent.
	copied cache.File
}

// asked says that the exchange has asked the cache.
func (c *cached) asked() bool { return c.request != nil && c.request.Policy != nil }

// reset forgets what belongs to others.
func (c *cached) reset() {
	switch {
	case c.asked():
		c.request.Reset()
	case !c.background:
		return // not used
	}
	c.found, c.copied = cache.Found{}, cache.File{}
	c.fetch, c.background, c.whole = nil, false, false
	c.text = c.text[:0]
	if c.store != nil {
		c.store.reset()
	}
	if c.cleaned != nil {
		c.cleaned.Reset()
	}
}

// maxJoins is how often an exchange joins others before it goes alone.
const maxJoins = 3

// lookUp asks the cache, and answers if an entry in memory can. It never waits.
func (x *Exchange) lookUp() verdict {
	if x.Request.Has(upgrades) || x.queries() {
		return goOn
	}
	x.askCache()
	if x.purging() {
		return goOn
	}
	c := &x.cached
	x.find()
	switch c.found.Outcome {
	case rule.Fresh, rule.Stale:
		if c.found.InMemory() && x.answerNow() {
			x.refreshIfDue()
			return ended
		}
	}
	return goOn
}

// answerNow is answerFromCache for an entry in memory, if the client has room for its body.
func (x *Exchange) answerNow() bool {
	a, ok := x.proxy.cache.Answer(x.cached.request, &x.cached.found)
	if room := x.Client.Room; !ok || room > 0 && !a.Bodyless && a.Length > room {
		return false
	}
	x.sendAnswer(&a)
	return true
}

var upgrades = head.SetOf(head.Upgrade)

// CacheKey is the key under which the cache looked; nil if the exchange did not ask the cache. It is
// valid until the exchange is reset.
func (x *Exchange) CacheKey() []byte {
	if !x.cached.asked() {
		return nil
	}
	return x.cached.request.Key
}

// askCache makes the request as the cache sees it.
func (x *Exchange) askCache() {
	c := &x.cached
	if c.request == nil {
		c.request = new(cache.Request)
	}
	if c.store == nil { // that of a sub-exchange is there, and its client's Cancel is in it
		c.store = new(storing)
	}
	q := c.request
	q.Policy = x.Route.cache
	q.Head, q.Sent = &x.Request, x.room.sent
	if forward.NamesFields(&x.Request) {
		// The target does not see these fields: nothing may be selected by them.
		if c.cleaned == nil {
			c.cleaned = new(head.Head)
		}
		x.Request.CopyTo(c.cleaned)
		forward.Clean(c.cleaned)
		q.Head = c.cleaned
	}
	q.Scheme, q.Host, q.OtherOrigins, q.Target = x.Scheme, x.ClientHost, x.OtherOrigins, x.RequestTarget
	if len(x.proxy.hooks.onRequest) > 0 {
		q.Target = x.Request.Target() // a hook may have sent the request elsewhere
	}
	q.Body = !x.Body.Done() || x.buffered
	if x.buffered && x.queries() {
		q.Content = x.held
	}
	q.Now = x.Start.Add(x.lately())
}

// usesCache says whether the exchange asks for something that the cache may answer or keep.
func (x *Exchange) usesCache() bool {
	c := &x.cached
	return c.background || c.asked() && c.request.Bypass == rule.ReasonNone
}

// find looks for an answer. What is answered to a client whose connection carries an identity
// is for that client alone, though neither request nor response need say so.
func (x *Exchange) find() {
	c := &x.cached
	x.moments.asked = x.traceNow()
	c.found = x.proxy.cache.Lookup(c.request)
	if (x.tied || x.Pin != nil) && c.found.Reason != rule.ReasonMethod {
		c.found = cache.Found{Outcome: rule.Bypass, Reason: rule.ReasonConnection}
	}
	x.Result.Cache = CacheResult{Asked: true, Outcome: c.found.Outcome, Reason: c.found.Reason}
}

// fromCache serves what lookUp could not: purges, answers that do not lie in memory,
// and requests that must be forwarded.
func (x *Exchange) fromCache() {
	c := &x.cached
	if x.purging() {
		x.purge()
		return
	}
	if !c.asked() {
		// An upgrade that weir does not pass on: an ordinary request, which is not
		// answered from the cache.
		x.askCache()
		x.find()
	}
	for round := 0; ; round++ {
		switch c.found.Outcome {
		case rule.Fresh, rule.Stale:
			if x.answerFromCache() {
				x.refreshIfDue()
				return
			}
			if c.found.Outcome != rule.Fresh && c.found.Outcome != rule.Stale {
				x.Result.Cache.Outcome, x.Result.Cache.Reason = c.found.Outcome, c.found.Reason
				continue
			}
			x.Result.Cache.Outcome, x.Result.Cache.Reason = rule.Bypass, rule.ReasonPrecondition
			x.forward()
			return
		case rule.Bypass:
			x.lead(nil)
			return
		case rule.Unavailable:
			if round < maxJoins && x.proxy.cache.AskTiers(c.request, &c.found) {
				continue
			}
			x.Result.Cause = CauseNotCached
			x.ownHead(504)
			x.addCacheStatus()
			x.send(nil)
			return
		}
		f, role := x.proxy.cache.Join(c.request, &c.found, round >= maxJoins)
		if role == cache.Follow {
			if role = x.follow(f); role == cache.Alone {
				if x.Result.Cause == CauseClientGone {
					return
				}
				round = maxJoins
			}
			continue
		}
		if role != cache.Ready {
			// A tier may have had an entry that is to be validated.
			x.Result.Cache.Outcome, x.Result.Cache.Reason = c.found.Outcome, c.found.Reason
			x.lead(f)
			return
		}
	}
}

// follow waits for the fetch of another exchange.
func (x *Exchange) follow(f *cache.Fetch) cache.Role {
	c := &x.cached
	gone := x.Client.Cancel.channel(x.Start)
	role, reason, err := f.Wait(c.request, &c.found, gone)
	if x.Client.Cancel.noticeGone() || errors.Is(err, cache.ErrGone) {
		x.clientFailed(errClientGone)
		return cache.Alone
	}
	c.request.Advance(time.Now())
	if role == cache.Alone && reason == rule.ReasonFailed && x.answerStale(rule.FailedConnection) {
		return cache.Ready
	}
	return role
}

// lead asks the origin. f, which may be nil, gets what it answers.
func (x *Exchange) lead(f *cache.Fetch) {
	x.cached.fetch = f
	defer x.endFetch()
	if f != nil && f.Finishes() {
		x.survive()
	}
	x.forward()
}

// endFetch gives up what was not committed.
func (x *Exchange) endFetch() {
	x.depend()
	c := &x.cached
	if c.fetch == nil {
		return
	}
	err := cache.ErrAborted
	if x.Result.Cause == CauseClientGone {
		err = cache.ErrGone
	}
	c.fetch.Abort(err)
	c.fetch = nil
}

// answerStale answers from a stale entry because the origin failed, if that is
// allowed.
func (x *Exchange) answerStale(failure rule.Failure) bool {
	c := &x.cached
	if !x.Result.Cache.Asked || c.background || x.phase >= phaseReplying {
		return false
	}
	c.request.Advance(time.Now())
	reason, ok := c.found.StaleFor(c.request, failure)
	if !ok {
		if why := c.found.Withheld(c.request); why != rule.ReasonNone {
			x.Result.Cache.Reason = why
		}
		return false
	}
	c.found.Outcome, c.found.Reason = rule.Stale, reason
	return x.answerFromCache()
}

// answerFromCache answers from what was found. It returns false, and has sent nothing,
// if only the origin can judge the client's condition, or if the entry's body
// is gone: then found says what there is now.
func (x *Exchange) answerFromCache() bool {
	a, ok := x.proxy.cache.Answer(x.cached.request, &x.cached.found)
	if ok {
		x.sendAnswer(&a)
	}
	return ok
}

// copiedMin is the number of bytes from which sending them straight from a file
// pays for a second system call.
const copiedMin = 32 << 10

// sendAnswer sends what was made from x.cached.found.
func (x *Exchange) sendAnswer(a *cache.Answer) {
	c := &x.cached
	x.Response = &x.room.reply
	a.Lend(x.Response)
	c.text = strconv.AppendInt(c.text[:0], a.Age, 10)
	x.Response.Add(head.Age, c.text)
	r := &x.Result
	r.Cause = CauseCached
	r.Cache.Outcome, r.Cache.Reason = c.found.Outcome, c.found.Reason
	r.Cache.Collapsed, r.Cache.Answered = c.found.Collapsed, true
	x.traceLookUp()
	x.addCacheStatus()
	if c.whole = a.Whole(); a.Reader != nil {
		src := x.newPipe(a.Reader, a.Length)
		defer src.close()
		x.replyStored(src, a)
		return
	}
	m := &x.room.memory
	m.Reset(a.Body)
	if len(a.Body) >= copiedMin && !x.Client.TLS {
		c.copied = x.proxy.cache.File(a)
		if fd, offset, ok := c.copied.At(); ok {
			m.InFile(body.File{Descriptor: fd, Offset: offset})
		}
	}
	x.replyStored(m, a)
}

// replyStored replies with the stored body that src delivers.
func (x *Exchange) replyStored(src body.Source, a *cache.Answer) {
	end, err := x.reply(src, a.Length, a.Bodyless, nil)
	switch {
	case end != replyBroken:
	case err == errClientGone:
		x.clientFailed(err)
	default:
		x.Result.Err = err
		x.fail(0, CauseTruncated)
	}
}

// pipe is the Source of a body that a cache.Reader delivers: one that is still being
// fetched, or lies on disk. A client that goes away ends the wait for its next piece.
type pipe struct {
	x      *Exchange
	reader cache.Reader
	gone   <-chan struct{}
	left   int64
	seen   int64
	done   bool
	// trailer, if it is not nil, waits for the trailer section.
	trailer func() *head.Head
}

// newPipe begins to read from r; length is -1 if it is not known. close ends it.
func (x *Exchange) newPipe(r cache.Reader, length int64) *pipe {
	return &pipe{x: x, reader: r, gone: x.Client.Cancel.channel(x.Start), left: length}
}

func (p *pipe) close() {
	p.x.Client.Cancel.disarm()
	p.reader.Close()
}

// Next implements body.Source.
func (p *pipe) Next([]byte) ([]byte, error) {
	piece, err := p.reader.Next(p.gone)
	switch err {
	case nil:
		p.Moved(int64(len(piece)))
		return piece, nil
	case io.EOF:
		p.done = true
	case cache.ErrGone:
		err = errClientGone
	}
	return nil, err
}

// Ready implements body.Source: what was written before must not wait for more.
func (p *pipe) Ready() bool { return false }

// Left implements body.Source.
func (p *pipe) Left() int64 { return p.left }

// Seen implements body.Source.
func (p *pipe) Seen() int64 { return p.seen }

// Whole implements body.Source.
func (p *pipe) Whole() bool { return p.done }

// Done implements body.Source.
func (p *pipe) Done() bool { return p.done }

// Proven implements body.Source.
func (p *pipe) Proven() bool { return p.done }

// Trailer implements body.Source.
func (p *pipe) Trailer() *head.Head {
	if p.trailer == nil {
		return nil
	}
	return p.trailer()
}

// Kernel implements body.Source.
func (p *pipe) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (p *pipe) Moved(n int64) {
	p.seen += n
	if p.left > 0 {
		p.left -= n
	}
}

// addCacheStatus puts Cache-Status into Response, after those of other caches.
func (x *Exchange) addCacheStatus() {
	if !x.Route.cacheStatus {
		return
	}
	r := &x.Result.Cache
	s := rule.Status{
		Outcome: r.Outcome, Reason: r.Reason, Forwarded: !r.Answered || r.Status > 0, FwdStatus: r.Status,
		Stored: r.Stored, Unstored: r.Unstored, Hint: r.Hint, Collapsed: r.Collapsed,
	}
	if e := x.cached.found.Entry; e != nil {
		s.TTL = x.cached.request.TTL(e)
	}
	x.cached.text = s.Append(x.cached.text[:0], "weir")
	x.Response.Add(head.CacheStatus, x.cached.text)
}
