package proxy

// Hooks are functions of an embedder, called at fixed points of each exchange
// after untrusted input was cleaned. Each may be nil. They run on the
// exchange's goroutine and should be quick; a panic in one ends the exchange
// with a 500 and is counted.
type Hooks struct {
	// OnRequest is called before routing. It may change Request, or end the
	// exchange with Answer.
	OnRequest func(x *Exchange)
	// OnUpstream is called for each attempt, when the target is chosen and
	// before anything is sent; it may change Request. A cache has looked for an
	// answer by then: what the hook changes is not in the key, so a response that
	// depends on it for one client must be made one that is not stored, in
	// OnResponse. What OnRequest changes counts.
	OnUpstream func(x *Exchange)
	// OnResponse is called when a target's response head was read, before it is
	// stored anywhere; it may change Response.
	OnResponse func(x *Exchange)
	// OnReply is called before the client is answered, whatever the response
	// comes from; it may change Response.
	OnReply func(x *Exchange)
	// OnDone is called once, last, when the last byte was written or the
	// exchange has failed.
	OnDone func(x *Exchange)
}
