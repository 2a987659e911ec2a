package proxy

import (
	"bytes"

	"weir/cache"
	"weir/cache/rule"
)

// refreshIfDue validates the stale entry that has just answered x, in the background
// and only once at a time, if it may be used a little longer only for that reason. With
// too many such exchanges at the upstream the entry stays as it is.
func (x *Exchange) refreshIfDue() {
	c := &x.cached
	if !c.found.Refresh {
		return
	}
	u := x.Upstream
	if !u.beginBackground() {
		return
	}
	f := x.proxy.cache.Refresh(c.request, &c.found)
	if f == nil {
		u.endBackground()
		return
	}
	s := x.newSub()
	if x.queries() {
		s.Request.SetMethod(x.Request.Method())
		s.held, s.buffered = bytes.Clone(x.held), true
	}
	s.Result.Cache = CacheResult{Asked: true, Outcome: rule.Revalidate, Reason: rule.ReasonStale}
	s.cached.background = true
	s.cached.fetch, s.cached.request = f, new(cache.Request) // nothing was asked
	p := x.proxy
	if p.tracer != nil {
		s.Trace = x.Trace.sub()
	}
	p.fetches.add(&s.cached.store.detached)
	p.background(func() {
		defer func() {
			if v := recover(); v != nil {
				p.recovered(s.abandon)
				p.metrics.Panicked(p.log, v)
			}
			s.endTaps()
			if p.tracer != nil {
				s.Result.End = s.now()
				p.tracer.End(s)
			}
			s.leaveUpstream()
			p.fetches.remove(&s.cached.store.detached)
			f.Abort(cache.ErrAborted)
			u.endBackground()
		}()
		// The same route, for its captures; but what would answer without asking the
		// target is left out.
		if s.match() == goOn && s.Route.cache != nil && s.pickUpstream() == goOn {
			s.forward()
		}
	})
}
