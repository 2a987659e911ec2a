package server

import (
	"fmt"
	"iter"
	"strings"

	"weir/internal/field"
	"weir/internal/head"
	"weir/proxy"
	"weir/server/hook"
)

// hooksOf are the core's hooks that call an embedder's.
func hooksOf(h hook.Hooks) proxy.Hooks {
	adapt := func(f func(hook.Exchange), see func(x *proxy.Exchange) hook.Exchange) func(*proxy.Exchange) {
		if f == nil {
			return nil
		}
		return func(x *proxy.Exchange) { f(see(x)) }
	}
	asks := func(x *proxy.Exchange) hook.Exchange { return asking{view{x}} }
	answers := func(x *proxy.Exchange) hook.Exchange { return answering{view{x}} }
	looks := func(x *proxy.Exchange) hook.Exchange { return view{x} }
	return proxy.Hooks{
		OnRequest: adapt(h.OnRequest, asks), OnUpstream: adapt(h.OnUpstream, looks), OnResponse: adapt(h.OnResponse, answers),
		OnReply: adapt(h.OnReply, answers), OnDone: adapt(h.OnDone, looks),
	}
}

// asking is an exchange as OnRequest sees it.
type asking struct{ view }

func (v asking) Answer(status int, contentType, body string) {
	if !validStatus(status) {
		panic(fmt.Sprintf("hook: Answer with status %d: want 200 to 599", status))
	}
	v.x.Answer(status, contentType, body)
}

func (v asking) Tap(d hook.Direction, limit int64, watch func(piece []byte, end bool)) {
	to := proxy.ToTarget
	if d == hook.ToClient {
		to = proxy.ToClient
	}
	v.x.Tap(to, limit, watch)
}

// answering is an exchange as OnResponse and OnReply see it.
type answering struct{ view }

func (v answering) Tap(d hook.Direction, limit int64, watch func(piece []byte, end bool)) {
	if d != hook.ToClient {
		panic("hook: Tap of the request's body: it may have moved, only OnRequest can")
	}
	v.x.Tap(proxy.ToClient, limit, watch)
}

// view is an exchange as the other hooks see it.
type view struct{ x *proxy.Exchange }

func (v view) Request() hook.Head { return requestView{headView{&v.x.Request}} }

func (v view) Outgoing() hook.Head {
	if h := v.x.Outgoing(); h != nil {
		return requestView{headView{h}}
	}
	return nil
}

func (v view) Response() hook.Head { return responseView{headView{v.x.Response}} }

func (v view) Answer(int, string, string) { panic("hook: Answer is for OnRequest") }

func (v view) Tap(hook.Direction, int64, func([]byte, bool)) {
	panic("hook: Tap is for OnRequest, OnResponse and OnReply")
}

func (v view) Info() hook.Info {
	x, r := v.x, &v.x.Result
	i := hook.Info{
		Start: x.Start, Client: x.ClientAddr, Peer: x.Client.Remote, TLS: x.Client.TLS, Scheme: string(x.Scheme),
		Host: string(x.ClientHost), RequestID: string(x.RequestID), Listener: x.Client.Listener.Name,
		Attempts: r.Attempts, Status: r.Status, Cause: r.Cause.String(), Err: r.Err, Cache: r.Cache.String(),
		BytesIn: r.BytesIn, BytesOut: r.BytesOut, FirstByte: r.FirstByte,
	}
	if x.Route != nil {
		i.Route = x.Route.Name
	}
	if x.Upstream != nil {
		i.Upstream = x.Upstream.Set.Name()
	}
	if r.Target != nil {
		i.Target = r.Target.Name()
	}
	if !r.End.IsZero() {
		i.Duration = r.End.Sub(x.Start)
	}
	return i
}

// requestView and responseView refuse what the other kind of message has.
type (
	requestView  struct{ headView }
	responseView struct{ headView }
)

func (requestView) SetStatus(status int) error {
	return fmt.Errorf("cannot set the status to %d: a request has none", status)
}

func (responseView) SetTarget(target string) error {
	return fmt.Errorf("cannot set the request target to %q: a response has none", target)
}

// headView is a head as embedders see it.
type headView struct{ h *head.Head }

func (v headView) Method() string { return string(v.h.Method()) }

func (v headView) Target() string { return string(v.h.Target()) }

func (v headView) SetTarget(target string) error {
	if !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return fmt.Errorf("cannot set the request target to %q: want a path that begins with \"/\" and has no space or control byte", target)
	}
	v.h.SetTarget([]byte(target))
	return nil
}

func (v headView) Status() int { return v.h.Status }

func (v headView) SetStatus(status int) error {
	if !validStatus(status) {
		return fmt.Errorf("cannot set the status to %d: want 200 to 599", status)
	}
	v.h.SetStatus(status)
	return nil
}

// validStatus says whether a final response may have this status.
func validStatus(status int) bool { return status >= 200 && status <= 599 }

func (v headView) Peek(name string) []byte { return v.h.Get(head.NewName(name)) }

func (v headView) Get(name string) string { return string(v.Peek(name)) }

func (v headView) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for value := range v.h.Lines(head.NewName(name)) {
			if !yield(string(value)) {
				return
			}
		}
	}
}

func (v headView) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for f := range v.h.All() {
			if !yield(string(f.Name), string(f.Value)) {
				return
			}
		}
	}
}

func (v headView) Set(name, value string) {
	if n, ok := changeable(name); ok {
		v.h.Set(n, []byte(value))
	}
}

func (v headView) Add(name, value string) {
	if n, ok := changeable(name); ok {
		v.h.Add(n, []byte(value))
	}
}

func (v headView) Del(name string) {
	if n, ok := changeable(name); ok {
		v.h.Del(n)
	}
}

// changeable says whether embedders may change a field.
func changeable(name string) (head.Name, bool) {
	n := head.NewName(name)
	return n, field.IsToken(name) && !n.In(connectionFields)
}

// connectionFields frame a message or belong to one connection.
var connectionFields = head.Framing | head.SetOf(head.Connection, head.KeepAlive, head.ProxyConnection, head.TE, head.Trailer,
	head.Upgrade, head.HTTP2Settings, head.Expect)
