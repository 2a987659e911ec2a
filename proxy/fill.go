package proxy

import (
	"errors"
	"io"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/internal/sock"
	"weir/internal/wire"
	"weir/lb"
)

// keep shows a target's response to the cache before the client gets it. It
// returns true if it has ended the exchange's attempt, and answered.
func (p *Proxy) keep(x *Exchange, bodyless, closes bool) bool {
	c := &x.cached
	if !x.Cache.Asked {
		return false
	}
	r := x.cacheResponse(bodyless)
	x.Cache.Status = r.Status
	q := &c.request
	if c.background {
		q = nil
	}
	if c.fill == nil {
		if x.Cache.Outcome != rule.Bypass || c.background {
			return false
		}
		if x.Cache.Reason == rule.ReasonMethod {
			c.fill, _ = p.cache.Unsafe(q, &r)
		}
		if c.fill == nil {
			p.cacheStatus(x)
			return false
		}
	}
	d := c.fill.Respond(q, &r)
	x.Cache.Unstored = d.Reason
	x.Cache.Stored = d.Action == cache.Updated && d.Reason == rule.ReasonNone
	switch d.Action {
	case cache.Keep:
		x.Cache.Stored = true
		c.found.Entry = d.Entry
		p.cacheStatus(x)
		p.pass(x, bodyless, closes)
		return true
	case cache.Updated, cache.UseStale:
		p.release(x, closes || !bodyless, nil)
		if c.background {
			return true
		}
		if d.Action == cache.UseStale {
			x.Cache.Unstored = rule.ReasonNone
			c.found.Outcome, c.found.Reason = rule.Stale, d.Reason
		}
		c.found.Entry = d.Entry
		if !p.answer(x) {
			// Its body has left the disk. The target is asked for this client
			// alone, for the fill has ended.
			c.fill = nil
			x.Cache = CacheResult{Asked: true, Outcome: rule.Bypass, Reason: rule.ReasonEvicted}
			p.again(x)
		}
		return true
	case cache.Again:
		p.release(x, closes, nil)
		p.again(x)
		return true
	}
	if c.background {
		p.release(x, true, nil)
		return true
	}
	p.cacheStatus(x)
	return false
}

// again asks once more, without the conditions of the store.
func (p *Proxy) again(x *Exchange) {
	x.Request.Del("If-None-Match")
	x.Request.Del("If-Modified-Since")
	x.pick.Forget()
	p.attempts(x, time.Now())
}

// cacheResponse is the target's response as the cache sees it.
func (x *Exchange) cacheResponse(bodyless bool) rule.Response {
	c := &x.cached
	c.fields = rule.AppendResponseFields(c.fields[:0], &x.Response)
	now := time.Now()
	r := rule.Response{
		Status: x.rhead.Status, Phrase: x.Response.StatusMessage(), Fields: c.fields,
		Length: x.rhead.Length, Requested: now.Add(-x.FirstByte), Received: now,
	}
	switch {
	case bodyless:
		r.Length = 0
	case r.Length < 0:
		r.Length = -1
		r.Unprovable = x.rbody.Framing() == wire.FramingClose
	}
	return r
}

// pass moves the response body into the fill, at the target's pace, and
// whatever the client wants of it to the client, at the client's.
func (p *Proxy) pass(x *Exchange, bodyless, closes bool) {
	c := &x.cached
	f := c.fill
	// From here on the client's going away must not end the fetch: others may
	// want it.
	gone := x.Watch.end()
	c.fetch.begin(x.conn, x.Start)
	// Whoever reads must be there before the first byte, because a body that
	// turns out too large is let go behind the last reader.
	var reader cache.Reader
	var less cache.Answer
	narrowed := f.Narrowed() && !c.background
	switch {
	case narrowed:
		c.found = f.Found()
		var ok bool
		if less, ok = p.cache.Answer(&c.request, &c.found); !ok {
			panic("BUG: an entry that was fetched for a request cannot answer it")
		}
		reader = less.Reader
	case !c.background && !bodyless:
		reader = f.Reader()
		defer reader.Close()
	}
	length := x.rbody.Left()
	if bodyless {
		length = 0
	}
	// One that is here already, or that nobody waits for, needs no goroutine.
	if c.background || x.rbody.Done() || x.rbody.Framing() == wire.FramingLength && x.rbody.Whole() {
		p.pour(x)
		p.release(x, closes, x.rbodyErr)
	} else {
		c.fetch.stop.Store(false)
		p.fetches.add(&c.fetch)
		c.poured = make(chan struct{})
		go func() {
			defer close(c.poured)
			p.attend(func() { p.pour(x) })
		}()
		defer func() {
			<-c.poured
			c.poured = nil
			p.fetches.remove(&c.fetch)
			p.release(x, closes || c.fetch.stop.Load(), x.rbodyErr)
		}()
	}
	switch {
	case c.background:
		return
	case gone:
		x.clientFailed(errClientGone)
		p.leave(x, reader)
		return
	case narrowed:
		c.found.Outcome, c.found.Reason = x.Cache.Outcome, x.Cache.Reason
		if p.sendAnswer(x, &less); x.Cause == CauseCached {
			x.Cause = CauseOK // and what the client did not want is stored too
		} else {
			p.leave(x, reader)
		}
		return
	}
	x.stick() // the entry has none
	p.replyHead(x)
	x.began = true
	x.Status = x.Response.StatusCode()
	err := x.Front.Start(&x.Response, length, bodyless)
	if err == nil && reader != nil {
		err = p.read(x, reader)
	}
	switch {
	case err == nil:
		var trailer []byte
		if c.poured != nil {
			<-c.poured // the trailer is the last thing that pour reads
		}
		trailer = x.rbody.Trailer()
		if err = x.Front.Finish(trailer); err != nil {
			x.clientFailed(err)
		}
	case errors.Is(err, cache.ErrAborted), errors.Is(err, cache.ErrLagged):
		p.leave(x, reader)
		if c.poured != nil {
			<-c.poured
		}
		x.Err = x.rbodyErr
		cause := CauseTruncated
		if x.rbodyErr != nil {
			cause = x.bodyCause(x.rbodyErr)
		}
		x.fail(0, cause)
	default:
		x.clientFailed(err)
		p.leave(x, reader)
	}
}

// leave ends reading what the exchange fetches. Once nobody else wants the body
// either the fetch ends too: it may be any size. r may be nil.
func (p *Proxy) leave(x *Exchange, r cache.Reader) {
	c := &x.cached
	if r != nil {
		r.Close()
	}
	if c.poured == nil {
		return
	}
	for {
		ended, changed := c.fill.Unwanted()
		if ended {
			c.fetch.stop.Store(true)
			x.conn.SetDeadline(sock.LongAgo)
			return
		}
		select {
		case <-changed:
		case <-c.poured:
			return
		}
	}
}

// pour moves the response body into the fill and commits it if its end was
// proven. It sets rbodyErr if it was not.
func (p *Proxy) pour(x *Exchange) {
	c := &x.cached
	defer func() {
		if v := recover(); v != nil {
			x.rbodyErr = errPanicked
			c.fill.Abort(cache.ErrAborted)
			panic(v)
		}
	}()
	body := &x.rbody
	var buf []byte
	for !body.Done() {
		if !body.Ready() {
			if buf == nil {
				b := copyBuffers.Get().(*[copyBuffer]byte)
				defer copyBuffers.Put(b)
				buf = b[:]
			}
			x.limitRead(x.conn, time.Now(), x.limits.idle)
			if c.fetch.stop.Load() {
				x.rbodyErr = errNotWanted
				break
			}
		}
		piece, err := body.Next(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			if c.fetch.stop.Load() {
				err = errNotWanted // the target did nothing wrong
			}
			x.rbodyErr = err
			break
		}
		if !c.fill.Write(piece) {
			x.rbodyErr = errNotWanted
			break
		}
	}
	if !body.Proven() {
		if x.rbodyErr == nil {
			x.rbodyErr = wire.ErrTruncated
		}
		c.fill.Abort(cache.ErrAborted)
		return
	}
	if reason := c.fill.Commit(); reason != rule.ReasonNone {
		x.Cache.Unstored, x.Cache.Stored = reason, false
	}
}

var errPanicked = errors.New("panic while moving the body")

var errNotWanted = errors.New("nobody wants the rest of the body")

// release gives connection and target back after an attempt whose response the
// cache has dealt with.
func (p *Proxy) release(x *Exchange, closes bool, err error) {
	uploaded := x.stopUpload()
	x.Watch.end()
	x.cached.fetch.end()
	transportOf(x.Chosen).Release(x.conn, err == nil && uploaded && !closes && x.rbody.Proven())
	x.conn = nil
	kind, cause := lb.Success, CauseOK
	switch {
	case err == errNotWanted:
		kind = lb.Canceled
	case err != nil:
		cause = x.bodyCause(err)
		kind = (&attemptError{cause: cause}).outcome()
	}
	x.settleAttempt(kind, x.rhead.Status, x.FirstByte, cause)
}
