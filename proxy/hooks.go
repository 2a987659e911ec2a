package proxy

import (
	"bytes"

	"weir/internal/head"
)

// Hooks are functions that are called at fixed points of each exchange after
// untrusted input was cleaned. Each may be nil. They run on the exchange's
// goroutine and should be quick; OnRequest, OnRoute and OnReply must not wait for anything, because
// they may run where a front end reads requests. A panic in one ends the exchange
// with a 500 and is counted.
type Hooks struct {
	// OnRequest is called before routing. It may change Request, end the
	// exchange with Answer, and Tap either body.
	OnRequest func(x *Exchange)
	// OnRoute is called when the route was found; it may Tap either body. It must not wait
	// for anything.
	OnRoute func(x *Exchange)
	// OnUpstream is called for each attempt, when the target is chosen and
	// before anything is sent; it may change Outgoing, for this attempt alone. A cache has
	// looked for an answer by then: what the hook changes is not in the key, so a
	// response that depends on it for one client must be made one that is not
	// stored, in OnResponse. What OnRequest changes counts.
	OnUpstream func(x *Exchange)
	// OnResponse is called when a target's response head was read, before it is
	// stored anywhere; it may change Response, and Tap the response's body.
	OnResponse func(x *Exchange)
	// OnReply is called before the client is answered, whatever the response
	// comes from; it may change Response, and Tap the response's body.
	OnReply func(x *Exchange)
	// OnDone is called once, last, when the last byte was written or the
	// exchange has failed.
	OnDone func(x *Exchange)
}

// hookLists are the hooks of a proxy by point, each in the order in which they were
// given.
type hookLists struct {
	onRequest, onRoute, onUpstream, onResponse, onReply, onDone []func(x *Exchange)
}

func newHookLists(list []Hooks) (l hookLists) {
	add := func(to *[]func(x *Exchange), f func(x *Exchange)) {
		if f != nil {
			*to = append(*to, f)
		}
	}
	for _, h := range list {
		add(&l.onRequest, h.OnRequest)
		add(&l.onRoute, h.OnRoute)
		add(&l.onUpstream, h.OnUpstream)
		add(&l.onResponse, h.OnResponse)
		add(&l.onReply, h.OnReply)
		add(&l.onDone, h.OnDone)
	}
	return l
}

// Defer makes f run when the exchange is over and the client has its answer, after the
// hooks of OnDone. The exchange can still be read then, but no body. A panic of f is
// counted and goes no further.
func (x *Exchange) Defer(f func()) { x.deferred = append(x.deferred, f) }

// runDeferred calls what Defer was given.
func (x *Exchange) runDeferred() {
	for _, f := range x.deferred {
		x.proxy.recovered(f)
	}
}

// runHooks calls hooks in their order.
func (x *Exchange) runHooks(list []func(x *Exchange)) {
	for _, hook := range list {
		hook(x)
	}
}

// askHooks calls the hooks of OnRequest until one answers, and takes over what they have
// changed.
func (x *Exchange) askHooks() verdict {
	for _, hook := range x.proxy.hooks.onRequest {
		if hook(x); x.phase == phaseAnswered {
			x.Result.Cause = CauseHook
			x.send(x.room.scratch)
			return ended
		}
	}
	x.takeHost()
	if target := x.Request.Target(); !bytes.Equal(target, x.RequestTarget) {
		return x.locate(target)
	}
	return goOn
}

// Outgoing is the head that the running attempt sends to its target. It is
// nil before the first attempt.
func (x *Exchange) Outgoing() *head.Head {
	if x.attempt == nil {
		return nil
	}
	return x.attempt.request
}
