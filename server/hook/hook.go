// Package hook is what programs that embed weir see of an exchange: hooks, which are
// called at fixed points, and the view that they get. It stays the same when the core
// changes. server.WithHooks takes Hooks.
//
//	server.WithHooks(hook.Hooks{
//		OnRequest: func(x hook.Exchange) { x.Request().Set("X-Team", "blue") },
//	})
package hook

import (
	"iter"
	"net/netip"
	"time"
)

// Hooks are functions of an embedder, called at fixed points of each exchange
// after untrusted input was cleaned. Each may be nil. They run on the
// exchange's goroutine and should be quick; OnRequest and OnReply must not wait
// for anything, because they may run where requests are read. A panic in one ends
// the exchange with a 500, or cuts a response that has begun, and is counted.
//
// A request that weir makes itself, to validate a stored response, has OnUpstream and
// OnResponse only.
type Hooks struct {
	// OnRequest is called before routing. It may change Request, end the exchange
	// with Answer, and Tap either body. What it changes decides the route, the key in the cache,
	// and what every attempt sends.
	OnRequest func(x Exchange)
	// OnUpstream is called for each attempt, when the target is chosen and before
	// anything is sent. It may change Outgoing, for this attempt alone. A cache has
	// looked for an answer by then: what the hook changes is not in the key, so a
	// response that depends on it for one client must be made one that is not stored,
	// in OnResponse.
	OnUpstream func(x Exchange)
	// OnResponse is called when the head of a target's response was read, before the
	// response is stored anywhere: once for each response that is not given up for another
	// attempt. It may change Response, and Tap the response's body.
	OnResponse func(x Exchange)
	// OnReply is called before the client is answered, whatever the response comes
	// from. It may change Response, and Tap the response's body.
	OnReply func(x Exchange)
	// OnDone is called once, last, when the last byte was written or the exchange has
	// failed.
	OnDone func(x Exchange)
}

// Exchange is one request and its answer. Nothing of it may be kept after the hook has
// returned, but for what says that it is a copy.
type Exchange interface {
	// Request is the request's head as the client sent it and OnRequest changed it.
	Request() Head
	// Outgoing is the request's head as the running attempt sends it; nil before the
	// first attempt.
	Outgoing() Head
	// Response is the response's head. Before OnResponse it is empty.
	Response() Head
	// Answer ends the exchange with this response instead of routing it. It is for
	// OnRequest: elsewhere it panics, and so it does with a status that is not 200 to 599.
	// contentType may be empty. The hooks of OnRequest that would come next are not called.
	Answer(status int, contentType, body string)
	// Tap makes watch see the first limit bytes of a body as they pass, and its end. OnRequest
	// may tap either body, OnResponse and OnReply the response's; elsewhere Tap panics.
	//
	// piece is borrowed for the call, and may be empty at the end. end is true in the last call,
	// exactly once: when the body has ended, the limit is reached, or the exchange is over, whichever
	// comes first. The bytes of a request's body are seen once, however many attempts there are;
	// those of a connection after an upgrade are no body. watch may be called on another
	// goroutine than the hook's, never by two at once. A panic of watch is one of the hook. A
	// body that is watched does not move inside the kernel until all limits are reached.
	Tap(d Direction, limit int64, watch func(piece []byte, end bool))
	// Info says what is known so far. It is a copy.
	Info() Info
}

// Direction is the way of a body.
type Direction uint8

// The directions.
const (
	// ToTarget is the request's body.
	ToTarget Direction = iota
	// ToClient is the response's body.
	ToClient
)

// Head is the head of a message. Fields that frame the message or belong to one
// connection (Content-Length, Transfer-Encoding, Connection and the like) are weir's own:
// Set, Add and Del leave them alone. Names have no case.
type Head interface {
	// Method and Target are those of a request. They are copies.
	Method() string
	Target() string
	// SetTarget changes the target of a request: a path that begins with "/", and perhaps
	// a query. Anything else is refused with an error, and so is any target of a response.
	SetTarget(target string) error
	// Status is that of a response.
	Status() int
	// SetStatus changes the status of a response; 200 to 599. Anything else is refused
	// with an error, and so is any status of a request.
	SetStatus(status int) error
	// Peek is the value of the first line of that name, nil if there is no such line. It
	// is valid until the hook returns and must not be changed.
	Peek(name string) []byte
	// Get is Peek as a copy.
	Get(name string) string
	// Values yields copies of the values of all lines of that name.
	Values(name string) iter.Seq[string]
	// All yields copies of names and values of all lines, in their order.
	All() iter.Seq2[string, string]
	// Set makes value that of the only line of that name, which keeps its place. Control
	// bytes become spaces. A name that is not a token (RFC 9110 section 5.6.2) is ignored.
	Set(name, value string)
	// Add adds a line after all others, as Set does.
	Add(name, value string)
	// Del removes all lines of that name.
	Del(name string)
}

// Info is what is known of an exchange.
type Info struct {
	// Start is when the first byte of the request was read.
	Start time.Time
	// Client is the client's address as the trusted proxies tell it, Peer the other end
	// of its connection; invalid if there is none (a unix socket).
	Client netip.Addr
	Peer   netip.AddrPort
	// TLS says whether the client's connection is encrypted.
	TLS bool
	// Scheme is "http" or "https", as the client had it: what trusted proxies say counts.
	Scheme string
	// Host is the host that the client asked for, or that OnRequest made of it.
	Host string
	// RequestID is the id that the target gets.
	RequestID string
	// Listener, Route, Upstream and Target are names from the configuration; empty if the
	// exchange did not get that far.
	Listener, Route, Upstream, Target string
	// Attempts counts the targets that were tried.
	Attempts int
	// Status is what the client was answered, 0 before that. Cause is the name of the reason, "ok"
	// before an answer was made, and Err the error that Cause stands for, which may be nil.
	Status int
	Cause  string
	Err    error
	// Cache says what the cache did; empty if it was not asked.
	Cache string
	// BytesIn and BytesOut count the bytes of the two bodies, without framing. BytesIn is 0
	// before OnDone.
	BytesIn, BytesOut int64
	// FirstByte is how long the target took from the end of the request to its response
	// head; 0 if there was none.
	FirstByte time.Duration
	// Duration is from Start to the last byte out; 0 before OnDone.
	Duration time.Duration
}
