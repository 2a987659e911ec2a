package proxy

import (
	"weir/cache/rule"
	"weir/internal/head"
)

// bufferBody reads a body of unknown length whole, so that the target is told its length. The
// memory that this takes is bounded by the route.
func (x *Exchange) bufferBody() verdict {
	if !x.chunked() {
		return goOn
	}
	err := x.proceed()
	if err == nil {
		err = x.readBody(x.Route.buffer)
	}
	if err != nil {
		cause := requestCause(err)
		x.Result.Err = err
		x.fail(cause.status(), cause)
		return ended
	}
	x.buffered, x.prepared = true, false // now its length is known
	return goOn
}

// sized says that the length of the body is known, or that the request has no body.
func (x *Exchange) sized() bool { return !x.chunked() }

// proceed lets a client send its body that waits to be asked for it (RFC 9110 section
// 10.1.1).
func (x *Exchange) proceed() error {
	if !x.Request.Has(expects) {
		return nil
	}
	h := &x.room.reply
	defer h.Reset() // hooks find no response before a target's
	h.StartResponse(100)
	return x.Client.Front.Inform(h)
}

// readBody reads the request's body into held, which may take limit bytes.
func (x *Exchange) readBody(limit int64) error {
	var buf buffer
	defer buf.release()
	buf.take(copyBuffer)
	x.held = x.held[:0]
	for !x.Body.Done() {
		piece, err := x.Body.Next(buf.bytes)
		switch seen := x.Body.Seen(); {
		case err != nil && x.Body.Done():
		case err != nil:
			return err
		case x.Route.maxBody > 0 && seen > x.Route.maxBody:
			return errBodyTooLarge
		default:
			x.taps.see(ToTarget, piece)
			if x.held = append(x.held, piece...); seen > limit {
				return errBufferFull
			}
		}
	}
	x.taps.end(ToTarget)
	return nil
}

// holdQuery reads the content of a QUERY, which is part of what the cache is asked for, unless
// that is too long.
func (x *Exchange) holdQuery() verdict {
	limit := x.Route.cache.QueryBody()
	if x.buffered || !x.queries() || x.Request.Length > limit {
		return goOn
	}
	if x.held == nil {
		x.held = []byte{} // no content is known too
	}
	err := x.proceed()
	if err == nil {
		err = x.readBody(limit)
	}
	switch {
	case err == nil:
		x.buffered = true
	case err != errBufferFull: // else the rest is forwarded as it comes
		cause := requestCause(err)
		x.Result.Err = err
		x.fail(cause.status(), cause)
		return ended
	}
	return goOn
}

// queries says that the request is a QUERY whose answer may be stored.
func (x *Exchange) queries() bool {
	return x.Route.cache.QueryBody() > 0 && rule.IsQuery(&x.Request)
}

// length is how long the body is that targets get, as in a head.
func (x *Exchange) length() int64 {
	if x.buffered {
		return int64(len(x.held))
	}
	if x.web != nil && x.web.textIn {
		return head.LengthChunked // base64 is longer than what it stands for
	}
	return x.Request.Length
}

// chunked says that targets are not told the length of the request's body.
func (x *Exchange) chunked() bool { return x.length() == head.LengthChunked }
