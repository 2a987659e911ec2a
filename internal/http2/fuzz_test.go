package http2_test

import (
	"io"
	"net"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"github.com/VictoriaMetrics/metrics"

	"weir/config"
	"weir/internal/http2"
	"weir/internal/listener"
	"weir/proxy"
)

// core answers every request with its path, at once or after its body.
type core struct{}

func (core) ServeNow(x *proxy.Exchange) http2.Rest {
	if string(x.Request.Method()) == "GET" {
		core{}.ServeRest(x)
		return nil
	}
	return core{}
}

func (core) ServeAhead(*proxy.Exchange, proxy.Continuation) bool { return false }

func (core) ServeRest(x *proxy.Exchange) {
	front := x.Client.Front
	for {
		if _, err := x.Body.Next(make([]byte, 100)); err != nil {
			break
		}
	}
	x.Response.StartResponse(200)
	if front.Start(x.Response, int64(len(x.Request.Target())), false) != nil || front.Write(x.Request.Target()) != nil || front.Finish(x.Body.Trailer()) != nil {
		front.Abort()
	}
}

func (core) Refuse(x *proxy.Exchange, status int, cause proxy.Cause, err error) {
	if status == 0 {
		return
	}
	x.Response.StartResponse(status)
	x.Client.Front.Start(x.Response, 0, true)
	x.Client.Front.Finish(nil)
}

// serve lets handler serve the clients of a new listener.
func serve(t testing.TB, handler http2.Handler, onPanic func(v any)) net.Addr {
	t.Helper()
	cfg := config.DefaultListener()
	cfg.Address = "127.0.0.1:0"
	l, err := listener.Open(&cfg, listener.Options{})
	if err != nil {
		t.Fatal(err)
	}
	main := proxy.NewMetrics(metrics.NewSet()).NewListener(&cfg)
	front := http2.Front{Handler: handler, OnPanic: onPanic}
	go l.Serve(func(c *listener.Conn) { front.Serve(c, func() *proxy.Listener { return main }, nil) })
	t.Cleanup(func() { l.Close() })
	return l.Addrs()[0]
}

// Whatever a client sends, the connection ends after it with nothing left of it, and without a
// panic.
func FuzzFrames(f *testing.F) {
	panicked := make(chan any, 1)
	addr := serve(f, core{}, func(v any) { panicked <- v })

	frames := func(p ...byte) { f.Add(p) }
	get := []byte{0x82, 0x86, 0x84, 0x41, 1, 'a'}
	frames(append([]byte{0, 0, byte(len(get)), 1, 5, 0, 0, 0, 1}, get...)...)
	post := []byte{0x83, 0x86, 0x84, 0x41, 1, 'a'}
	body := append([]byte{0, 0, byte(len(post)), 1, 4, 0, 0, 0, 1}, post...)
	frames(append(body, 0, 0, 1, 0, 1, 0, 0, 0, 1, 'x')...)
	frames(append(body, 0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8)...)
	frames(append(body, 0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0)...)
	frames(append(body, 0, 0, 3, 1, 5, 0, 0, 0, 1, 0x40, 1, 'x')...)
	frames(0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0)
	frames(0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	frames(0, 0, 6, 16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'u', '1')
	frames(0, 0, 1, 9, 0, 0, 0, 0, 1, 0)

	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			c.Write([]byte(h2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
			c.Write(p)
			c.(*net.TCPConn).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, c); err != nil && err.(net.Error).Timeout() {
			t.Error("the connection does not end")
		}
		select {
		case v := <-panicked:
			t.Fatalf("panic: %v", v)
		default:
		}
	})
}
