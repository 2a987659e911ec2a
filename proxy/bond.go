package proxy

import (
	"bytes"

	"weir/internal/field"
	"weir/internal/head"
	"weir/internal/transport"
	"weir/lb"
)

// Bond ties a client's connection to connections to targets, for authentication that belongs to a
// connection and not to a request (NTLM, and Negotiate where origins treat it so): the
// target takes every request on such a connection for that user's. From the first sign
// of it on, what was lent to an exchange of this client goes to no other client: it is
// kept for the next exchange, and closed with the client's connection. The zero value is
// ready. One goroutine uses a Bond at a time.
type Bond struct {
	// tied says that there was such a sign.
	tied bool
	kept []kept
}

// kept is a stream that waits for the client's next exchange with the same target.
type kept struct {
	target lb.Identity
	stream transport.Keeper // nil while it is lent, and once it has ended
}

// maxBonds bounds the targets that keep a connection for one client.
const maxBonds = 4

// Close ends what is kept. The front end calls it when the client's connection has ended.
func (b *Bond) Close() {
	for i := range b.kept {
		b.kept[i].end()
	}
	b.kept = nil
}

func (k *kept) end() {
	if k.stream != nil {
		k.stream.Release(false)
		k.stream = nil
	}
}

// lend returns the stream that is kept for a target, nil if there is none.
func (b *Bond) lend(target lb.Identity) transport.Stream {
	if b == nil {
		return nil
	}
	for i := range b.kept {
		k := &b.kept[i]
		if k.target != target || k.stream == nil {
			continue
		}
		s := k.stream
		k.stream = nil
		if s.Resume() {
			return s
		}
		s.Release(false)
	}
	return nil
}

// keep takes a stream that ended by its framing. It reports whether it could.
func (b *Bond) keep(target lb.Identity, s transport.Stream) bool {
	keeper, ok := s.(transport.Keeper)
	if b == nil || !ok || !keeper.Park() {
		return false
	}
	for i := range b.kept {
		if k := &b.kept[i]; k.target == target {
			k.end()
			k.stream = keeper
			return true
		}
	}
	if len(b.kept) == maxBonds {
		b.kept[0].end()
		b.kept = append(b.kept[:0], b.kept[1:]...)
	}
	b.kept = append(b.kept, kept{target, keeper})
	return true
}

// prefer makes the pick go to a target that keeps a connection for the client.
func (b *Bond) prefer(p *lb.Pick) {
	if b == nil {
		return
	}
	for i := range b.kept {
		p.Prefer = append(p.Prefer, b.kept[i].target)
	}
}

var authorizationField = head.SetOf(head.Authorization)

var wwwAuthenticate = head.NewName("WWW-Authenticate")

// tieByRequest finds out whether the exchange must have connections that no other client uses.
func (x *Exchange) tieByRequest() {
	b := x.Client.Bond
	x.tied = b != nil && b.tied
	if !x.tied && x.Request.Has(authorizationField) && tiesConnection(&x.Request, head.Authorization) {
		x.tie()
	}
}

// tieByResponse does the same when a target has answered.
func (x *Exchange) tieByResponse(h *head.Head) {
	if h.Status == 401 && !x.tied && tiesConnection(h, wwwAuthenticate) {
		x.tie()
	}
}

func (x *Exchange) tie() {
	x.tied = true
	if b := x.Client.Bond; b != nil {
		b.tied = true
	}
}

// tiesConnection says whether a field names a scheme that authenticates a connection
// (RFC 4559 section 6).
func tiesConnection(h *head.Head, name head.Name) bool {
	for line := range h.Lines(name) {
		// A line may have several challenges, whose parameters have commas of their own:
		// each word that comes first after a comma counts.
		for challenge := range field.Tokens(line) {
			scheme, _, _ := bytes.Cut(challenge, []byte(" "))
			for _, known := range [...]string{"NTLM", "Negotiate", "Nego2"} {
				if field.EqualFold(scheme, known) {
					return true
				}
			}
		}
	}
	return false
}

// giveBack ends the loan of the attempt's stream.
func (a *attempt) giveBack(reusable bool) {
	s := a.stream
	a.stream = nil
	if x := a.x; x != nil && x.tied {
		if reusable && x.Client.Bond.keep(a.target.Identity(), s) {
			return
		}
		reusable = false
	}
	s.Release(reusable)
}
