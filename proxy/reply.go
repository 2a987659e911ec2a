package proxy

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/sock"
	"weir/lb"
)

// ownHead makes Response the head of an answer of weir's own.
func (x *Exchange) ownHead(status int) {
	x.Response = &x.room.reply
	x.Response.StartResponse(status)
	x.proxy.dates.Complete(x.Response, time.Now())
}

var strictTransport = head.NewName("Strict-Transport-Security")

// fail answers with an error, or cuts the connection if an answer has begun.
func (x *Exchange) fail(status int, cause Cause) {
	x.Result.Cause = cause
	if x.phase >= phaseReplying {
		x.taps.end(ToClient)
		x.breakCall()
		x.Client.Front.Abort()
		return
	}
	if x.grpc = x.web != nil || isGRPC(&x.Request); x.grpc { // begin may not have come to that
		x.failCall(status, cause)
		return
	}
	x.ownHead(status)
	h := x.Response
	switch status {
	case 401:
		h.Add(wwwAuthenticate, x.Route.auth.challenge)
	case 405:
		if x.Route != nil && x.Route.files != nil {
			h.Add(allow, []byte("GET, HEAD"))
		} else {
			h.Add(allow, []byte("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
		}
	case 503:
		seconds := 1
		if x.Upstream != nil {
			seconds = x.Upstream.Set.RetryAfter()
		}
		h.SetInt(head.RetryAfter, int64(seconds))
	}
	page, ok := x.errorPages().of(status)
	if !ok {
		page.kind = []byte("text/plain; charset=utf-8")
	}
	h.Add(head.ContentType, page.kind)
	if x.Result.Cache.Asked {
		x.addCacheStatus()
	}
	if x.proxy.tellsStatus {
		x.addProxyStatus(cause)
	}
	if ok {
		x.send(page.text)
		return
	}
	// What went wrong inside is for the log; the client gets the name.
	b := strconv.AppendInt(x.room.scratch[:0], int64(status), 10)
	b = append(append(b, ' '), http.StatusText(status)...)
	b = append(append(b, ": "...), cause.String()...)
	x.room.scratch = append(b, '\n')
	x.send(x.room.scratch)
}

var allow = head.NewName("Allow")

// send replies with Response and this body.
func (x *Exchange) send(text []byte) {
	x.room.memory.Reset(text)
	x.sayLength(int64(len(text)))
	x.reply(&x.room.memory, int64(len(text)), x.bodyless(x.Response.Status), nil)
}

// sayLength notes in the head of an answer of weir's own to a HEAD how long the body of a GET would be, as
// the answer of a target does. What a 304 says would be the length of a 200.
func (x *Exchange) sayLength(length int64) {
	if x.Response.Status != 304 && string(x.Request.Method()) == "HEAD" {
		x.Response.SetFraming(length)
	}
}

// bodyless says that the client reads no body after a response with this status (RFC
// 9112 section 6.3).
func (x *Exchange) bodyless(status int) bool {
	return status == 204 || status == 304 || string(x.Request.Method()) == "HEAD"
}

// replyEnd says how a reply ended.
type replyEnd uint8

const (
	// replyWhole: the client has got all of it.
	replyWhole replyEnd = iota
	// replyUntaken: the client did not take it; the exchange has noted why.
	replyUntaken
	// replyBroken: the source of the body failed, which is still to be noted.
	replyBroken
)

// reply sends the client Response and the body that src delivers. Every response goes
// through it, but for interim ones and 101. length is what the head announces, -1 if it is not
// known. delivered, which may be nil, is called when src has delivered everything,
// before the client gets the end. err is the fault of src.
func (x *Exchange) reply(src body.Source, length int64, bodyless bool, delivered func()) (end replyEnd, err error) {
	if x.cached.background {
		return replyWhole, nil // there is no client, so no hook is told of an answer
	}
	if x.web != nil && !bodyless {
		src, length = x.web.answer(x, src, length)
	}
	if x.Route != nil {
		if x.Route.serverTiming {
			x.addServerTiming()
		}
		if x.Route.cors != nil {
			x.Route.cors.answer(x)
		}
		x.Route.responseRules.Apply(x.Response, x.room.lookup)
	}
	if x.Result.Cause != CausePanic { // perhaps it was such a hook
		x.runHooks(x.proxy.hooks.onReply)
	}
	if now := x.bodyless(x.Response.Status); now != bodyless {
		// A hook has changed the status, which decides what the client reads.
		src, length, bodyless = &x.room.empty, 0, now
	}
	if x.Route != nil && x.Route.compress != nil {
		if src, length = x.compress(src, length, bodyless); x.encoded != nil {
			defer x.encoded.end()
		}
	}
	if !x.requestRead() {
		// What is left of the request cannot be told from a next one.
		x.Client.Front.CloseAfter()
	}
	x.phase = phaseReplying
	if !x.moments.attempted {
		x.moments.replied = x.lately()
	}
	if hsts := x.Client.Listener.hsts; len(hsts) > 0 && x.Client.TLS && len(x.Response.Get(strictTransport)) == 0 {
		x.Response.Add(strictTransport, hsts)
	}
	clientErr := x.Client.Front.Start(x.Response, length, bodyless)
	x.Result.Status = x.Response.Status
	if x.grpc {
		x.Result.GRPC = grpcStatusOf(x.Response)
	}
	if clientErr == nil && !bodyless {
		err, clientErr = x.copy(src)
	}
	x.taps.end(ToClient)
	switch {
	case err != nil:
		return replyBroken, err
	case clientErr == nil:
		if delivered != nil {
			delivered()
		}
		trailer := src.Trailer()
		if x.grpc {
			// Without a status callers make one of what HTTP says.
			x.Result.GRPC = cmp.Or(grpcStatusOf(trailer), x.Result.GRPC, grpcStatus(grpcCodeOf(x.Response.Status, CauseOK)))
		}
		if x.web != nil {
			trailer = nil // the body had it
		}
		clientErr = x.Client.Front.Finish(trailer)
	}
	if clientErr != nil {
		x.clientFailed(clientErr)
		return replyUntaken, nil
	}
	return replyWhole, nil
}

// requestRead says whether the request was read to its end, which it does if the
// rest is there already.
func (x *Exchange) requestRead() bool {
	if a := x.attempt; a != nil && a.upload.started() {
		return !a.upload.running()
	}
	if !x.Body.Done() {
		x.hold()
	}
	return x.Body.Done()
}

// moveMin is the number of bytes from which moving a body inside the kernel
// pays for its set-up.
const moveMin = 32 << 10

// fullWrite is how many bytes of a body front ends most likely write at once, with heads and the framing of HTTP/2 and TLS
// around them.
const fullWrite = 62 << 10

// copy moves a response body to the client. srcErr is the fault of src, err that of the
// client.
func (x *Exchange) copy(src body.Source) (srcErr, err error) {
	front := x.Client.Front
	var buf buffer
	defer buf.release()
	gathered := 0 // since front was flushed, or has most likely flushed by itself
	for !src.Done() {
		ready := src.Ready()
		if k := src.Kernel(); k != (body.Kernel{}) && src.Left() >= moveMin && !x.taps.watched(ToClient) {
			x.noteSent()
			moved, srcErr, err := front.Move(k, src.Left())
			if err != errors.ErrUnsupported {
				src.Moved(moved)
				return srcErr, err
			}
		}
		piece, err := []byte(nil), error(sock.ErrAgain)
		if !ready {
			buf.take(front.Room())
			if piece, err = nextHere(src, buf.bytes[:min(len(buf.bytes), fullWrite-gathered)]); err != nil {
				// What follows takes time, or is the end.
				if err := front.Flush(); err != nil {
					return nil, err
				}
				x.noteSent()
				gathered = 0
			}
		}
		if err == sock.ErrAgain {
			piece, err = src.Next(buf.bytes)
		}
		if err != nil {
			if err == io.EOF && src.Done() {
				return nil, nil
			}
			return err, nil
		}
		if x.encoded == nil {
			x.taps.see(ToClient, piece)
		}
		if err := front.Write(piece); err != nil {
			return nil, err
		}
		gathered = (gathered + len(piece)) % fullWrite
	}
	return nil, nil
}

// nextHere returns the next bytes of src without a wait, or sock.ErrAgain: what is added to gathered bytes saves a write.
func nextHere(src body.Source, buf []byte) ([]byte, error) {
	if b, ok := src.(*responseBody); ok {
		return b.NextHere(buf)
	}
	return nil, sock.ErrAgain
}

// replyFrom replies with the response of an attempt, and ends the attempt.
func (x *Exchange) replyFrom(a *attempt, bodyless, closes bool) {
	end, err := x.reply(&a.body, a.body.Left(), bodyless, func() { a.succeed(!closes) })
	gone := x.Client.Cancel.disarm()
	switch {
	case a.state == attemptEnded:
	case gone && end != replyWhole:
		x.clientFailed(errClientGone)
		a.giveUp(ending{kind: lb.Canceled, cause: CauseOK, status: a.status()})
	case end == replyUntaken:
		a.giveUp(ending{kind: lb.Canceled, cause: CauseOK, status: a.status()})
	default:
		x.breakOff(a, err)
	}
}

// succeed ends an attempt whose response was delivered whole.
func (a *attempt) succeed(reusable bool) {
	uploaded := a.stopUpload()
	gone := a.x.unwatch()
	a.end(ending{
		kind: lb.Success, cause: CauseOK, status: a.judged(),
		reusable: reusable && uploaded && !gone && a.body.Proven(),
	})
}

// breakOff ends a reply whose body broke off, and the attempt that it came from.
func (x *Exchange) breakOff(a *attempt, err error) {
	status := a.status()
	a.stopUpload()
	if e := a.uploadError(); e != nil {
		x.Result.Cause, x.Result.Err = e.cause, e.err
		x.breakCall()
		x.Client.Front.Abort()
		a.giveUp(ending{kind: lb.Canceled, cause: CauseOK, status: status})
		return
	}
	cause := x.bodyCause(err)
	err = x.bodyError(cause, err)
	x.Result.Err = err
	x.fail(0, cause)
	a.giveUp(ending{kind: (&attemptError{cause: cause}).outcome(), cause: cause, status: status, err: err})
}

// clientFailed notes that the client could not be written to, or went away.
func (x *Exchange) clientFailed(err error) {
	x.Result.Cause = clientCause(err)
	x.Result.Err = err
	x.breakCall()
	x.Client.Front.Abort()
}
