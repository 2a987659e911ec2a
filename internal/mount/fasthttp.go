package mount

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/valyala/fasthttp"
)

// FastHTTP serves h until Close. Bodies of requests are streamed; RequestCtx.Done is closed when
// the server is. A panic of h is answered with a 500. fasthttp runs what RequestCtx.Hijack and
// SetBodyStreamWriter get on goroutines of its own: a panic there ends the process.
func FastHTTP(h fasthttp.RequestHandler, o Options) *Server {
	s := newServer(o)
	library := &fasthttp.Server{
		Handler:                      func(ctx *fasthttp.RequestCtx) { s.callFast(h, ctx) },
		Logger:                       libraryLog(o.Log),
		ReadBufferSize:               o.HeaderBytes,
		StreamRequestBody:            true,
		MaxRequestBodySize:           math.MaxInt,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		MaxIdleWorkerDuration:        time.Millisecond, // of the workers of Serve, which has none
	}
	// Serve makes the channel of RequestCtx.Done, and ends at once.
	if err := library.Serve(&single{}); err != nil {
		panic("BUG: a listener without connections: " + err.Error())
	}
	s.serve = func(c *conn) {
		// A connection that was taken over is closed by the library after the handler's
		// function has returned, on another goroutine.
		c.closed = s.running.Done
		s.running.Go(func() {
			var p *fasthttp.ErrBodyStreamWritePanic
			if err := library.ServeConn(c); errors.As(err, &p) {
				s.onPanic(p)
			}
		})
	}
	s.stop = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = library.ShutdownWithContext(ctx) // does not wait: what still runs is cut
	}
	return s
}

// callFast calls h.
func (s *Server) callFast(h fasthttp.RequestHandler, ctx *fasthttp.RequestCtx) {
	defer func() {
		if v := recover(); v != nil {
			s.onPanic(v)
			ctx.Hijack(nil)
			ctx.Error(fasthttp.StatusMessage(fasthttp.StatusInternalServerError)+"\n", fasthttp.StatusInternalServerError)
			ctx.SetConnectionClose() // the rest of the request may still come
		}
		if ctx.LastTimeoutErrorResponse() == nil { // else another goroutine may still use ctx
			ctx.Response.Header.SetNoDefaultContentType(true) // Response.Reset forgets it
		}
	}()
	h(ctx)
}
