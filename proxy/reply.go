package proxy

import (
	"strconv"

	"github.com/valyala/fasthttp"
)

// ownHead makes Response the head of an answer of weir's own.
func (x *Exchange) ownHead(status int) {
	x.Response.Reset() // brings the Date of now
	x.Response.SetNoDefaultContentType(true)
	x.Response.SetStatusCode(status)
}

// fail answers with an error, or cuts the connection if an answer has begun.
func (x *Exchange) fail(status int, cause Cause) {
	x.Cause = cause
	if x.began {
		x.Front.Abort()
		return
	}
	x.ownHead(status)
	switch status {
	case 405:
		x.Response.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	case 503:
		seconds := 1
		if x.Upstream != nil {
			seconds = x.Upstream.Set.RetryAfter()
		}
		x.scratch = strconv.AppendInt(x.scratch[:0], int64(seconds), 10)
		x.Response.SetBytesV("Retry-After", x.scratch)
	}
	x.Response.SetContentType("text/plain; charset=utf-8")
	// What went wrong inside is for the log; the client gets the name.
	b := strconv.AppendInt(x.scratch[:0], int64(status), 10)
	b = append(b, ' ')
	b = append(b, fasthttp.StatusMessage(status)...)
	b = append(b, ": "...)
	b = append(b, cause.String()...)
	x.scratch = append(b, '\n')
	x.send(x.scratch)
}

// send sends Response with this body. A client that does not take it is the
// client's affair, but it is the cause of the end all the same.
func (x *Exchange) send(body []byte) {
	if x.Route != nil && x.Route.responseRules != nil {
		x.Route.responseRules.Apply(&x.Response, x.lookup)
	}
	if x.proxy.hooks.OnReply != nil && !x.panicked { // perhaps it was OnReply
		x.proxy.hooks.OnReply(x)
	}
	if !x.upload.started {
		x.hold() // what is here already must not be taken for the next request
	}
	if !x.Body.Done() {
		x.Front.CloseAfter()
	}
	x.began = true
	x.Status = x.Response.StatusCode()
	bodyless := x.Request.IsHead() || x.Status == 204 || x.Status == 304
	err := x.Front.Start(&x.Response, int64(len(body)), bodyless)
	if err == nil && !bodyless && len(body) > 0 {
		err = x.Front.Write(body)
		x.BytesOut += int64(len(body))
	}
	if err == nil {
		err = x.Front.Finish(nil)
	}
	if err != nil {
		x.clientFailed(err)
	}
}

// clientFailed notes that the client could not be written to.
func (x *Exchange) clientFailed(err error) {
	x.Cause = clientCause(err)
	x.Err = err
	x.Front.Abort()
}
