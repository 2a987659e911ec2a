package http2_test

import (
	"net"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/http2"
	"weir/proxy"
)

// emptyAnswers answers without a body. A request for /waits has its answer begun, and ended once another
// request has been answered in between.
type emptyAnswers struct {
	core
	begun, ended chan struct{}
}

func (e emptyAnswers) ServeNow(*proxy.Exchange) http2.Rest { return e }

func (emptyAnswers) ServeAhead(*proxy.Exchange, proxy.Continuation) bool { return false }

func (e emptyAnswers) ServeRest(x *proxy.Exchange) {
	front := x.Client.Front
	waits := string(x.Request.Target()) == "/waits"
	x.Response.StartResponse(200)
	if err := front.Start(x.Response, 0, false); err != nil {
		panic(err)
	}
	if waits {
		e.begun <- struct{}{}
		<-e.ended
	}
	if err := front.Finish(nil); err != nil {
		panic(err)
	}
}

// An answer without body is one frame, also if the answer of another stream is written between its
// head and its end: clients of gRPC take a head without end for the begin of messages.
func TestEmptyAnswerIsOneFrame(t *testing.T) {
	t.Parallel()
	answers := emptyAnswers{begun: make(chan struct{}), ended: make(chan struct{})}
	addr := serve(t, answers, func(v any) { t.Error(v) })
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	c.Write([]byte(h2.ClientPreface))
	framer := h2.NewFramer(c, c)
	framer.WriteSettings()
	ask := func(stream uint32, target string) {
		block := []byte{0x82, 0x86, 0x41, 1, 'a', 0x04, byte(len(target))} // GET, http, :authority a, :path target
		if err := framer.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, BlockFragment: append(block, target...), EndStream: true, EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
	}
	// answer returns the next frame of an answer.
	answer := func() h2.Frame {
		for {
			f, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if f.Header().StreamID > 0 {
				return f
			}
		}
	}
	whole := func(stream uint32) {
		t.Helper()
		f, ok := answer().(*h2.HeadersFrame)
		if !ok || f.StreamID != stream || !f.StreamEnded() {
			t.Errorf("the answer of stream %d is not one frame: %v", stream, f)
		}
	}
	ask(1, "/waits")
	<-answers.begun
	ask(3, "/other")
	whole(3)
	answers.ended <- struct{}{}
	whole(1)
}
