package proxy

import (
	"weir/config"
	"weir/internal/head"
)

// verdict is what a step says about an exchange.
type verdict uint8

const (
	// goOn: the next step is to be taken.
	goOn verdict = iota
	// ended: the exchange has its answer, or was given up.
	ended
)

// step is one thing that a route does with its exchanges, in the order in which the
// route's list has them. The last step always ends the exchange.
type step struct {
	// take does it.
	take func(x *Exchange) verdict
	// waits says that take may wait for something: a target, a file, another
	// exchange. Steps that do not are taken where the request is read.
	waits bool
	// atOnce, if not nil, says that take would not wait for this exchange.
	atOnce func(x *Exchange) bool
}

// steps are those of a route, from its configuration and what was compiled of it.
func steps(r *config.Route, route *Route) []step {
	var list []step
	add := func(take func(x *Exchange) verdict) { list = append(list, step{take: take}) }
	addWaiting := func(take func(x *Exchange) verdict) { list = append(list, step{take: take, waits: true}) }
	policy := route.cache
	if route.addresses != nil {
		add(func(x *Exchange) verdict { return x.checkAddress(route.addresses, errRouteLists) })
	}
	if r.ClientCertificate {
		add((*Exchange).checkCertificate)
	}
	if route.cors != nil {
		add((*Exchange).preflight)
	}
	if route.auth != nil {
		list = append(list, step{take: (*Exchange).authenticate, waits: true, atOnce: (*Exchange).recognise})
	}
	if r.MaxBody > 0 {
		add((*Exchange).limitBody)
	}
	switch {
	case r.Redirect != nil:
		add((*Exchange).redirectAsRouted)
	case r.Respond != nil:
		add((*Exchange).respond)
	case r.Files != nil:
		addWaiting((*Exchange).serveFile)
	default:
		add((*Exchange).pickUpstream)
		if route.compress != nil {
			add((*Exchange).ignoreDateRange)
		}
		if policy != nil {
			add((*Exchange).lookUp)
		}
		if r.BufferRequest > 0 {
			list = append(list, step{take: (*Exchange).bufferBody, waits: true, atOnce: (*Exchange).sized})
		}
		list = append(list, step{take: (*Exchange).upgradeIfAsked, waits: true, atOnce: (*Exchange).staysHTTP})
		if policy != nil && policy.QueryBody() > 0 {
			addWaiting((*Exchange).holdQuery)
		}
		if policy != nil {
			addWaiting(func(x *Exchange) verdict { x.fromCache(); return ended })
		} else {
			addWaiting(func(x *Exchange) verdict { x.forward(); return ended })
			route.ahead = true
		}
	}
	return list
}

// limitBody refuses a request whose body is known to be too large. Bodies without
// a length are counted while they move.
func (x *Exchange) limitBody() verdict {
	if x.Request.Length <= x.Route.maxBody {
		return goOn
	}
	x.Client.Front.CloseAfter()
	x.Result.Err = errBodyTooLarge
	x.fail(413, CauseBodyTooLarge)
	return ended
}

// respond answers with the route's fixed response.
func (x *Exchange) respond() verdict {
	r := x.Route.respond
	x.ownHead(r.Status)
	x.Response.Add(head.ContentType, []byte("text/plain; charset=utf-8"))
	for name, value := range r.Headers {
		x.Response.Set(head.NewName(name), []byte(value))
	}
	x.Result.Cause = CauseFixed
	x.send([]byte(r.Body))
	return ended
}

// pickUpstream finds the upstream that the route names, or that its template
// expands to.
func (x *Exchange) pickUpstream() verdict {
	x.tieByRequest()
	pinned := x.Pin != nil && x.Pin.Upstream != ""
	if x.Upstream = x.Route.upstream; x.Upstream != nil && !pinned {
		return goOn
	}
	if pinned {
		x.room.scratch = append(x.room.scratch[:0], x.Pin.Upstream...)
	} else {
		x.room.scratch = x.nameUpstream(x.room.scratch[:0])
	}
	if x.Upstream = x.proxy.upstreams[string(x.room.scratch)]; x.Upstream != nil {
		return goOn
	}
	if x.Upstream = x.proxy.added.Get(x.room.scratch); x.Upstream == nil {
		x.fail(404, CauseNoUpstream)
		return ended
	}
	return goOn
}

// nameUpstream appends the name of the upstream of a route with a template.
func (x *Exchange) nameUpstream(dst []byte) []byte {
	if x.proxy.names != nil {
		if name, ok := x.proxy.names(x, dst); ok {
			return name
		}
	}
	return x.Route.upstreamName.Append(dst, x.room.lookup)
}

// leaveUpstream lets go of what pickUpstream found, and of what attempts have left. Upstream stays
// set, for logs.
func (x *Exchange) leaveUpstream() {
	if x.Upstream != nil {
		x.Upstream.Set.Leave(&x.pick)
		x.Upstream.release()
	}
}
