package proxy

import (
	"weir/internal/head"
	"weir/internal/transport"
)

// Continuation is what a front end calls the rest of an exchange whose request was sent ahead.
type Continuation = transport.Continuation

// ServeAhead is for front ends whose reader must not wait, between ServeNow and ServeRest. It sends the request if that takes no
// wait: to a target with an unused connection at which a goroutine waits (transport.Attended). Then it reports true, and
// next.Continue is called by that goroutine, perhaps before ServeAhead returns: it has x from then on, and must call
// ServeRest. Else ServeRest must follow, on any goroutine that may wait.
func (p *Proxy) ServeAhead(x *Exchange, next Continuation) (sent bool) {
	defer func() {
		if v := recover(); v != nil {
			p.metrics.Panicked(p.log, v)
			x.panicked = v // ServeRest tells the client, which may take a wait
		}
	}()
	return x.goesAhead() && x.sendAhead(next)
}

// goesAhead says that nothing but the target has to be waited for, and that repeating the request does no harm. What
// needs more than one goroutine, or a connection of a certain kind, stays with ServeRest.
func (x *Exchange) goesAhead() bool {
	r, u := x.Route, x.Upstream
	return r.ahead && x.step == len(r.steps)-1 &&
		!u.queues && !u.hedges && !u.pipelines &&
		!x.tied && x.Pin == nil && !x.grpc && !x.buffered && !x.Client.Cancel.Canceled() &&
		x.length() == head.LengthNone && x.Body.Done() && !x.Request.Has(expects) && x.repeatable() &&
		len(x.proxy.hooks.onUpstream) == 0
}

// sendAhead begins the first attempt, and sends its request if there is a connection for it.
func (x *Exchange) sendAhead(next Continuation) (sent bool) {
	a, err := x.beginAttempt(x.aim())
	return err == nil && a.sendAhead(next)
}

// sendAhead sends the request, if there is a connection at which a goroutine waits. If it returns true, a is no longer the caller's.
func (a *attempt) sendAhead(next Continuation) (sent bool) {
	x, s := a.x, a.transport().Attended()
	if s == nil {
		a.attend = true
		return false
	}
	a.stream, a.state = s, attemptAsked
	if x.Record != nil {
		a.opened = x.now()
	}
	a.fillRequest()
	s.Expect(x.memory())
	x.watch(s, a.began)
	x.time.limitRead(s, a.began, x.time.limits.head())
	// The limit may have taken back the interruption of an exchange that was canceled meanwhile.
	if !x.cancel().Canceled() && s.SendAhead(&a.out, next) {
		return true
	}
	a.state = attemptChosen
	a.drop()
	return false
}
