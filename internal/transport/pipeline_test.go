package transport_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/config"
	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/testkit"
	"weir/internal/transport"
)

// patient makes the tests independent of how fast the machine is.
var patient = transport.Options{SlowTurn: time.Hour}

// shared returns the pool of a target whose connections are shared.
func shared(t *testing.T, url string, change func(*config.Upstream)) *transport.HTTP1 {
	return transport.Connect(t, url, patient, func(u *config.Upstream) {
		u.Connections.Pipeline = 8
		if change != nil {
			change(u)
		}
	})
}

// scanned returns the head of a request.
func scanned(t testing.TB, text string) *head.Head {
	t.Helper()
	h := new(head.Head)
	if err := h.ScanRequest([]byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return h
}

// ask makes an exchange on a shared connection and returns the answer's bytes.
func ask(pool *transport.HTTP1, request []byte, size int) (string, error) {
	c := pool.Join(time.Minute, time.Minute)
	if c == nil {
		return "", errors.New("nothing is shared")
	}
	defer pool.Release(c, true)
	if err := transport.SendForTest(c, request); err != nil {
		return "", err
	}
	b, err := c.Reader.Peek(size)
	return string(b), err
}

// Exchanges on shared connections allocate nothing once everything is warm,
// and leave no connection lent.
func TestPipelineAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and makes pools forget")
	}
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	request := scanned(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		b, out := make([]byte, 64<<10), []byte(strings.Repeat(answer, 64))
		for {
			n, err := c.Conn.Read(b)
			if err != nil {
				return
			}
			c.Conn.Write(out[:n/request.Size*len(answer)])
		}
	})
	pool := shared(t, origin.URL, nil)
	var h head.Head
	var r body.Reader
	sent := transport.Request{Head: request}
	one := func() {
		s := pool.Share(time.Minute, time.Minute)
		s.Send(&sent)
		if _, err := s.ReadHead(&h); err != nil {
			t.Error(err)
		}
		src, _ := s.Response(&h, false, &r)
		if p, err := src.Next(nil); string(p) != "hello" {
			t.Errorf("the body is %q, %v", p, err)
		}
		s.Release(true)
	}
	for range 100 {
		one()
	}
	if n := testing.AllocsPerRun(2000, one); n > 0 {
		t.Errorf("%v allocations per exchange", n)
	}
	testkit.Eventually(t, "the connection rests", func() bool {
		open, idle := pool.Conns()
		return open == 1 && idle == 1
	})
}

// At most half of the bounded connections are shared; an exchange that finds
// no room is sent to the ordinary ones, without a mark against the target.
func TestPipelineLeavesConnections(t *testing.T) {
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	pool := shared(t, origin.URL, func(u *config.Upstream) { u.Connections.Max, u.Connections.Pipeline = 2, 2 })
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			c := pool.Join(time.Minute, time.Minute)
			transport.SendForTest(c, []byte("?"))
			c.Reader.Peek(1)
			pool.Release(c, false)
		})
	}
	testkit.Eventually(t, "both wait", func() bool {
		conns := origin.Conns()
		return len(conns) == 1 && conns[0].Seen() == "??"
	})
	_, err := ask(pool, []byte("?"), 1)
	equal(t, "error", fmt.Sprint(err), fmt.Sprint(transport.ErrAlone))
	p, _ := pool.Pipelined()
	equal(t, "repeated", p.Repeated, 0)
	open, _ := pool.Conns()
	equal(t, "connections", open, 1)
	origin.Close()
	wait.Wait()
}

// All exchanges that wait for a connection which does not come about are told why.
func TestPipelineDialError(t *testing.T) {
	pool := shared(t, "http://"+testkit.Reserve(t), nil)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			var d *transport.DialError
			if _, err := ask(pool, []byte("?"), 1); !errors.As(err, &d) && err != transport.ErrAlone {
				t.Errorf("error is %v", err)
			}
		})
	}
	wait.Wait()
	open, _ := pool.Conns()
	equal(t, "connections", open, 0)
}

// A request that is too large to gather goes alone.
func TestPipelineLargeRequest(t *testing.T) {
	origin := testkit.Listen(t, func(c *testkit.Conn) { io.Copy(io.Discard, c.Conn) })
	_, err := ask(shared(t, origin.URL, nil), make([]byte, 5<<10), 1)
	equal(t, "error", fmt.Sprint(err), fmt.Sprint(transport.ErrAlone))
}
