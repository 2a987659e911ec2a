package proxy

import (
	"errors"
	"fmt"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/internal/body"
	"weir/internal/head"
	"weir/lb"
)

// storing is how an exchange moves a body into the cache. The client's going away does not
// end that: others may want the body.
type storing struct {
	detached
	survival
	// stored is closed when the goroutine that moves the body ends; nil if there is
	// no such goroutine.
	stored chan struct{}
	fields []byte
	// unstored is what storeBody says in the end: why the body is not stored.
	unstored rule.Reason
	// untilClose says that the body ends when the connection does, and is stored so.
	untilClose bool
}

// reset forgets the last exchange. It keeps the buffer.
func (s *storing) reset() {
	if s.stop.Load() || s.cancel.Canceled() {
		s.detached.reset()
	}
	s.fields, s.unstored, s.untilClose = s.fields[:0], rule.ReasonNone, false
}

// offerToCache shows a target's response to the cache before the client gets it. It
// returns true if it has ended the attempt, and answered.
func (x *Exchange) offerToCache(a *attempt, bodyless, closes bool) bool {
	c, result := &x.cached, &x.Result.Cache
	r := x.cacheResponse(a, bodyless)
	result.Status = r.Status
	q := c.request
	if c.background {
		q = nil
	} else {
		q.Advance(r.Received)
	}
	if c.fetch == nil {
		if result.Outcome != rule.Bypass || c.background {
			return false
		}
		if result.Reason == rule.ReasonMethod {
			c.fetch, _ = x.proxy.cache.Unsafe(q, &r)
		}
		if c.fetch == nil {
			x.addCacheStatus()
			return false
		}
	}
	d := c.fetch.Respond(q, &r)
	result.Unstored = d.Reason
	result.Stored = d.Action == cache.Updated && d.Reason == rule.ReasonNone
	result.Hint = rule.ReasonNone
	if result.Stored && d.Entry.OldOnArrival() {
		result.Hint = rule.ReasonOldOnArrival
	}
	switch d.Action {
	case cache.Keep:
		result.Stored, result.Unstored, result.Hint = true, rule.ReasonNone, d.Reason
		c.found.Entry = d.Entry
		c.store.untilClose, c.store.unstored = r.Unprovable, rule.ReasonNone
		x.replyWhileStoring(a, bodyless, closes)
		return true
	case cache.Updated, cache.UseStale:
		a.endStoring(closes || !bodyless, nil)
		if !c.background {
			x.answerInstead(d)
		}
		return true
	case cache.Again:
		e := a.storingEnding(closes, nil)
		e.keeps = true
		a.end(e)
		x.again()
		return true
	}
	if c.background {
		a.endStoring(true, nil)
		return true
	}
	if e, ok := c.fetch.WantsNothing(q, &r); ok {
		a.endStoring(closes || !bodyless, nil)
		c.found = cache.Found{Outcome: result.Outcome, Reason: result.Reason, Entry: e}
		if x.answerFromCache() {
			x.noteFromTarget()
		}
		return true
	}
	if c.fetch.WantsRange(q, &r) {
		x.Response.SetStatus(206)
		x.Response.Set(head.ContentRange, fmt.Appendf(nil, "bytes 0-%d/%d", r.Length-1, r.Length))
	}
	x.addCacheStatus()
	if c.store.survives {
		x.unwatch()
		x.depend()
		x.watch(a.stream, x.Start)
	}
	return false
}

// answerInstead answers from the entry that d has: one that the target's response has
// updated, or a stale one that is better than that response.
func (x *Exchange) answerInstead(d cache.Decision) {
	c, result := &x.cached, &x.Result.Cache
	if d.Action == cache.UseStale {
		result.Unstored = rule.ReasonNone
		c.found.Outcome, c.found.Reason = rule.Stale, d.Reason
	}
	c.found.Entry = d.Entry
	if !x.answerFromCache() {
		// Its body has left the disk. The target is asked for this client
		// alone, for the fetch has ended.
		c.fetch = nil
		*result = CacheResult{Asked: true, Outcome: rule.Bypass, Reason: rule.ReasonEvicted}
		x.again()
	}
}

// noteFromTarget notes that what was sent as if from the cache came from a target just now.
func (x *Exchange) noteFromTarget() {
	if x.Result.Cause == CauseCached {
		x.Result.Cause = CauseOK
	}
}

// again asks once more, without the conditions of the store.
func (x *Exchange) again() {
	x.outgoing.Del(head.IfNoneMatch)
	x.outgoing.Del(head.IfModifiedSince)
	x.pick.Forget()
	x.attempts(time.Now())
}

// cacheResponse is the target's response as the cache sees it.
func (x *Exchange) cacheResponse(a *attempt, bodyless bool) rule.Response {
	s := x.cached.store
	s.fields = a.response.AppendFields(s.fields[:0])
	now := time.Now()
	r := rule.Response{
		Status: a.response.Status, Phrase: a.response.Phrase(), Fields: s.fields,
		Length: a.response.Length, Requested: now.Add(-a.firstByte), Received: now,
	}
	switch {
	case bodyless:
		r.Length = 0
	case r.Length < 0:
		r.Unprovable = r.Length == head.LengthNone
		r.Length = -1
	}
	return r
}

// replyWhileStoring moves the response body into the fetch, at the target's pace, and
// what the client wants of it to the client, at the client's.
func (x *Exchange) replyWhileStoring(a *attempt, bodyless, closes bool) {
	c := &x.cached
	f := c.fetch
	// From here on the client's going away must not end the fetch.
	gone := x.Client.Cancel.disarm()
	x.survive()
	c.store.cancel.arm(a.stream, x.Start)
	a.body.stopped = &c.store.stop
	// The reader must be there before the first byte, because a body that
	// turns out too large is kept only from the slowest reader on.
	reader, part := x.readerFor(f, bodyless)
	length := a.body.Left()
	if bodyless {
		length = 0
	}
	// A body that is here already, or that no client waits for, needs no goroutine.
	if c.background || a.body.Done() || a.body.Whole() {
		x.storeBody(a)
		a.endStoring(closes, a.body.err)
		x.noteStored()
		x.addCacheStatus()
	} else {
		x.addCacheStatus()
		c.store.stored = make(chan struct{})
		go func() {
			defer close(c.store.stored)
			x.proxy.recovered(func() { x.storeBody(a) })
		}()
		defer func() {
			<-c.store.stored
			c.store.stored = nil
			x.noteStored()
			a.endStoring(closes || c.store.stop.Load(), a.body.err)
		}()
	}
	switch {
	case c.background:
	case gone:
		x.clientFailed(errClientGone)
		x.stopReading(a, reader)
	case part != nil:
		c.found.Outcome, c.found.Reason = x.Result.Cache.Outcome, x.Result.Cache.Reason
		if x.sendAnswer(part); x.Result.Cause != CauseCached {
			x.stopReading(a, reader)
		}
		x.noteFromTarget() // and what the client did not want is stored too
	default:
		x.addStickyCookie() // the entry has none
		x.replyStoring(a, reader, length, bodyless)
	}
}

// readerFor opens what the client reads while the body is stored: all of it, or, if the
// client wanted less than the fetch asks for, the answer part. reader is nil
// for a client that gets no body.
func (x *Exchange) readerFor(f *cache.Fetch, bodyless bool) (reader cache.Reader, part *cache.Answer) {
	c := &x.cached
	switch {
	case c.background:
		return nil, nil
	case f.Narrowed():
		c.found = f.Found()
		answer, ok := x.proxy.cache.Answer(c.request, &c.found)
		if !ok {
			panic("BUG: an entry that was fetched for a request cannot answer it")
		}
		if answer.Status != c.found.Entry.Status {
			return answer.Reader, &answer
		}
		// All of it, with the fields that are for this client alone.
		if answer.Reader != nil {
			answer.Reader.Close()
		}
		if bodyless {
			return nil, nil
		}
	case bodyless:
		return nil, nil
	}
	return f.Reader(), nil
}

// replyStoring replies with all of a body that is being stored.
func (x *Exchange) replyStoring(a *attempt, reader cache.Reader, length int64, bodyless bool) {
	var src body.Source = &x.room.empty
	if reader != nil {
		p := x.newPipe(reader, length)
		p.trailer = func() *head.Head {
			x.awaitStored() // the trailer section is the last thing that is read
			return a.body.Trailer()
		}
		defer p.close()
		src = p
	}
	end, err := x.reply(src, length, bodyless, nil)
	switch {
	case end == replyWhole:
	case end == replyUntaken:
		x.stopReading(a, reader)
	case err == errClientGone:
		x.clientFailed(err)
		x.stopReading(a, reader)
	default:
		x.stopReading(a, reader)
		x.awaitStored()
		x.Result.Err = a.body.err
		cause := CauseTruncated
		if a.body.err != nil {
			cause = x.bodyCause(a.body.err)
			x.Result.Err = x.bodyError(cause, a.body.err)
		}
		x.fail(0, cause)
	}
}

// awaitStored waits until the body has been moved into the fetch.
func (x *Exchange) awaitStored() {
	if s := x.cached.store; s != nil && s.stored != nil {
		<-s.stored
	}
}

// stopReading ends reading what the exchange fetches. Once no other client wants the
// body either the fetch ends too, unless little of it is missing. r may be nil.
func (x *Exchange) stopReading(a *attempt, r cache.Reader) {
	c := &x.cached
	if r != nil {
		r.Close()
	}
	if c.store == nil || c.store.stored == nil {
		return
	}
	finish := int64(0)
	if c.store.leave() {
		finish = x.Route.cache.Finish()
	}
	for {
		unwanted, changed := c.fetch.Unwanted(finish)
		if unwanted {
			c.store.stop.Store(true)
			a.stream.Interrupt()
			return
		}
		select {
		case <-changed:
		case <-c.store.stored:
			return
		}
	}
}

var errNotWanted = errors.New("no client wants the rest of the body")

var errPanicked = errors.New("panic while the body was moved into the cache")

// storeBody moves the response body into the fetch and commits it if its end was
// proven. a.body.err says why not.
func (x *Exchange) storeBody(a *attempt) {
	f, src := x.cached.fetch, &a.body
	defer func() {
		if v := recover(); v != nil {
			src.err = errPanicked
			f.Abort(cache.ErrAborted)
			panic(v)
		}
	}()
	var buf buffer
	defer buf.release()
	for !src.Done() {
		if !src.Ready() {
			buf.take(copyBuffer)
		}
		piece, err := src.Next(buf.bytes)
		if err != nil {
			break
		}
		if !f.Write(piece) {
			src.err = errNotWanted
			break
		}
	}
	if !src.Proven() && !(x.cached.store.untilClose && src.Done()) {
		if src.err == nil {
			src.err = body.ErrTruncated
		}
		f.Abort(a.aborted(src.err))
		x.cached.store.unstored = rule.ReasonTruncated
		return
	}
	x.cached.store.unstored = f.Commit()
}

// aborted is what the others hear who get the body that a fetches: that it broke off, where it came from and why.
func (a *attempt) aborted(err error) error {
	if err == errNotWanted {
		return cache.ErrAborted
	}
	return fmt.Errorf("%w by the exchange that fetches for all: %s: %w", cache.ErrAborted, a.target.Name(), a.x.bodyError(a.x.bodyCause(err), err))
}

// noteStored notes what became of storing the body.
func (x *Exchange) noteStored() {
	if reason := x.cached.store.unstored; reason != rule.ReasonNone {
		x.Result.Cache.Stored, x.Result.Cache.Unstored, x.Result.Cache.Hint = false, reason, rule.ReasonNone
	}
}

// endStoring ends an attempt whose response the cache has dealt with.
func (a *attempt) endStoring(closes bool, err error) { a.end(a.storingEnding(closes, err)) }

// storingEnding says how an attempt ends whose response the cache has dealt with, and stops what it still waits for.
func (a *attempt) storingEnding(closes bool, err error) ending {
	x := a.x
	uploaded := a.stopUpload()
	x.unwatch()
	e := ending{
		kind: lb.Success, cause: CauseOK, status: a.status(),
		reusable: err == nil && uploaded && !closes && a.body.Proven(),
	}
	switch {
	case err == errNotWanted:
		e.kind = lb.Canceled
	case err != nil:
		e.cause = x.bodyCause(err)
		e.kind, e.err = (&attemptError{cause: e.cause}).outcome(), x.bodyError(e.cause, err)
	}
	return e
}
