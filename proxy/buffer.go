package proxy

import (
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
	b := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(b)
	x.held = x.held[:0]
	for !x.Body.Done() {
		piece, err := x.Body.Next(b[:])
		switch seen := x.Body.Seen(); {
		case err != nil && x.Body.Done():
		case err != nil:
			return err
		case x.Route.maxBody > 0 && seen > x.Route.maxBody:
			return errBodyTooLarge
		case seen > limit:
			return errBufferFull
		default:
			x.taps.see(ToTarget, piece)
			x.held = append(x.held, piece...)
		}
	}
	x.taps.end(ToTarget)
	return nil
}

// length is how long the body is that targets get, as in a head.
func (x *Exchange) length() int64 {
	if x.buffered {
		return int64(len(x.held))
	}
	return x.Request.Length
}

// chunked says that targets are not told the length of the request's body.
func (x *Exchange) chunked() bool { return x.length() == head.LengthChunked }
