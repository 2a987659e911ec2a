package server_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/config"
	"weir/internal/testkit"
)

// A connection ends in two steps: the client is told, what it begins before it knows is still
// served, and what runs is served to its end.
func TestH2Drain(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if m := c.Request(); m.Target() == "/slow" {
				c.Wait(free)
			}
			c.Send(ok)
		}
	})
	w := framedThrough(t, origin)
	busy, idle := w.dial(), w.dial()
	busy.Get(1, "/slow")
	idle.Get(1, "/")
	idle.Whole(1)
	testkit.Eventually(t, "the request arrives", func() bool { return origin.Requests() == 2 })
	busy.Quiet(true)
	stopped := make(chan error, 1)
	go func() { stopped <- w.Shutdown(context.Background()) }()
	equal(t, "the first GOAWAY", busy.Left(h2.ErrCodeNo).Last, math.MaxInt32)
	busy.Get(3, "/")
	equal(t, "a stream that was begun before the client knew", busy.Whole(3).Status(), "200")
	busy.Quiet(false)
	testkit.Eventually(t, "the second GOAWAY comes", func() bool { return busy.Left(h2.ErrCodeNo).Last == 3 })
	busy.Get(5, "/")
	equal(t, "a stream after that", h2.ErrCode(busy.Whole(5).Reset), h2.ErrCodeRefusedStream)
	close(free)
	equal(t, "the stream that ran", busy.Whole(1).Status(), "200")
	equal(t, "the last frame", fmt.Sprint(len(busy.GoAways()), len(idle.GoAways())), "2 2")
	if err := receive(t, stopped); err != nil {
		t.Error(err)
	}
}

// Requests of a client that knows nothing of reloads are all answered while listeners come and go.
func TestH2Reload(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	w := framedThrough(t, origin)
	var p http.Protocols
	p.SetHTTP2(true)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), Protocols: &p}}
	defer c.CloseIdleConnections()
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					if n > 100 {
						return
					}
				default:
				}
				r, err := c.Get("https://" + w.addr.String() + "/")
				if err != nil {
					t.Error(err)
					return
				}
				r.Body.Close()
				if r.StatusCode != 200 {
					t.Errorf("status %d", r.StatusCode)
				}
			}
		})
	}
	for range 10 {
		if err := w.Reload(w.changed(func(*config.Config) {})); err != nil {
			t.Error(err)
		}
	}
	close(done)
	clients.Wait()
}

// The connections of a listener that a reload removes end without losing a stream.
func TestH2ListenerRemoved(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Wait(free)
		c.Send(ok)
	})
	w := framedThrough(t, origin)
	c := testkit.DialFrames(t, w.Addr("plain"), nil)
	c.Get(1, "/")
	testkit.Eventually(t, "the request arrives", func() bool { return origin.Requests() == 1 })
	if err := w.Reload(w.changed(func(cfg *config.Config) { cfg.Listeners = cfg.Listeners[:1] })); err != nil {
		t.Fatal(err)
	}
	c.Left(h2.ErrCodeNo)
	close(free)
	equal(t, "the stream that ran", c.Whole(1).Status(), "200")
	c.GoAways()
}

// What protocols a listener speaks is what its configuration says.
func TestH2Protocols(t *testing.T) {
	t.Parallel()
	w := overTLS(t, "", "[[routes]]\nrespond = {}\n")
	plain := testkit.Dial(t, w.Addr("plain"))
	equal(t, "HTTP/1.1 beside h2c", plain.Get("/").Status(), 200)
	plain.Send(h2.ClientPreface)
	equal(t, "a preface after a request", plain.Response("GET").Status(), 505)
	only := run(t, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprotocols = \"h2c\"\n[[routes]]\nrespond = {}\n")
	c := testkit.DialFrames(t, only.addr, nil)
	c.Get(1, "/")
	equal(t, "h2c alone", c.Whole(1).Status(), "200")
	off := run(t, "[[routes]]\nrespond = {}\n").dial()
	off.Send(h2.ClientPreface)
	equal(t, "without h2c", off.Response("GET").Status(), 505)
	up := testkit.Dial(t, w.Addr("plain"))
	up.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n")
	equal(t, "an upgrade to h2c", up.Response("GET").Status(), 200)
}
