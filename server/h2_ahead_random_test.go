package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
)

// fickle is an origin that answers in many ways or not at all, and also sends bytes or closes connections without a request.
type fickle struct {
	whole sync.Map     // the ids of requests to /patient that got their whole answers at once
	twice atomic.Int64 // how often such a request came again
}

func (f *fickle) serve(c *testkit.Conn) {
	r := rand.New(rand.NewPCG(uint64(c.Index), uint64(c.LocalAddr().(*net.TCPAddr).Port)))
	pieces := func(s string) bool {
		for len(s) > 0 && r.IntN(3) == 0 {
			n := 1 + r.IntN(len(s))
			if c.TrySend(s[:n]) != nil {
				return false
			}
			if s = s[n:]; r.IntN(6) == 0 {
				<-after(r.IntN(10))
			}
		}
		return c.TrySend(s) == nil
	}
	for {
		m, err := c.TryHead()
		if err != nil || m.ReadBody(c.Reader) != nil {
			return
		}
		id := m.Get("X-Id")
		patient := m.Target() == "/patient"
		if before, _ := f.whole.Load(id); before == true {
			f.twice.Add(1)
		}
		isHead := strings.HasPrefix(m.Line, "HEAD ")
		line, body := "HTTP/1.1 200 OK\r\nX-Id: "+id+"\r\n", id
		switch r.IntN(20) {
		case 0:
			body = strings.Repeat(id, 1+r.IntN(30_000))
		case 1:
			body = strings.Repeat(id, 1+r.IntN(1500))
		}
		text := func() string {
			if isHead {
				return ""
			}
			return body
		}
		answer := line + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), text())
		ends, whole := false, false
		switch r.IntN(80) {
		case 0, 1: // breaks off
			answer, ends = answer[:r.IntN(len(answer))], true
		case 2:
			c.Reset()
			return
		case 3:
			<-after(r.IntN(40))
		case 4, 5, 6, 7, 8, 9, 10:
			answer = line + "Transfer-Encoding: chunked\r\n\r\n"
			for rest := text(); rest != ""; {
				n := 1 + r.IntN(len(rest))
				answer += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			if !isHead {
				answer += "0\r\nX-Trailer: " + id + "\r\n\r\n"
			}
		case 11, 12:
			answer = "HTTP/1.1 204 No Content\r\nX-Id: " + id + "\r\n\r\n"
		case 13:
			answer = "HTTP/1.1 304 Not Modified\r\nX-Id: " + id + "\r\n\r\n"
		case 14, 15:
			answer = "HTTP/1.1 103 Early Hints\r\nX-Id: " + id + "\r\n\r\n" + answer
		case 16:
			answer, ends = line+"Connection: close\r\n"+answer[len(line):], true
		case 17:
			answer, ends = line+"\r\n"+text(), true // until it closes
		case 18, 19, 20: // closes without a word
			ends = true
		case 21: // another one begins that no request asked for
			answer, ends = answer+"HTTP/1.1 200 OK\r\nX-Id: nobody\r\nConte", true
		case 22:
			answer, ends = "garbage\r\n\r\n", true
		case 23, 24, 25: // gives up the connection while it is unused
			if !pieces(answer) {
				return
			}
			if r.IntN(2) == 0 {
				<-after(r.IntN(3))
			}
			answer, ends = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true
		case 26: // and resets it
			if !pieces(answer) {
				return
			}
			c.Reset()
			return
		case 27, 28, 29, 30:
			answer = "HTTP/1.1 503 Service Unavailable\r\nX-Id: " + id + "\r\nContent-Length: 0\r\n\r\n"
		case 31: // never answers
			if !patient {
				c.Rest()
				return
			}
		default:
			if whole = c.TrySend(answer) == nil; whole {
				f.whole.Store(id, patient)
				continue
			}
			return
		}
		if !pieces(answer) || ends {
			return
		}
	}
}

// Every answer reaches the stream that asked for it, whatever clients and targets do and the configuration becomes, and nothing is left in the
// end: no exchange that counts as running, no goroutine and no descriptor.
func TestH2AheadOwnAnswers(t *testing.T) {
	done := leaksNothing(t)
	t.Run("life", func(t *testing.T) {
		var f fickle
		one, two := testkit.Listen(t, f.serve), testkit.Listen(t, f.serve)
		text := func(r *rand.Rand) string {
			targets := [...]string{fmt.Sprintf("%q", one.URL), fmt.Sprintf("%q", two.URL), fmt.Sprintf("%q, %q", one.URL, two.URL)}[r.IntN(3)]
			upstream := func(name, more string) string {
				return fmt.Sprintf("[[routes]]\npath = \"/%[1]s\"\nupstream = %[1]q\n[upstreams.%[1]s]\ntargets = [%[2]s]\nhealth.passive.failures = 0\n%[3]s\nconnections = { idle = \"%[4]dms\", max_age = \"%[5]dms\" }\n",
					name, targets, more, 5+r.IntN(3)*20, 100+r.IntN(2)*100)
			}
			return strings.Replace(plainListener, "\n", "\nprotocols = [\"h1\", \"h2c\"]\n", 1) +
				upstream("patient", "timeouts = { first_byte = \"1m\", total = \"1m\" }") +
				upstream("hasty", "timeouts = { first_byte = \"20ms\", total = \"60ms\" }") +
				upstream("sticky", "timeouts = { first_byte = \"200ms\" }\nsticky = { cookie = \"s\" }")
		}
		random := rand.New(rand.NewPCG(3, 3))
		w := launch(t, text(random))
		stop := make(chan struct{})
		var aside sync.WaitGroup
		aside.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					t.Logf("%d reloads", n)
					return
				case <-after(20):
					if err := w.Reload(parse(t, text(random))); err != nil {
						t.Error(err)
					}
				}
			}
		})
		var right, failed, left atomic.Int64
		ask := func(ctx context.Context, transport *http.Transport, r *rand.Rand, id string) {
			path := [...]string{"patient", "patient", "patient", "sticky", "hasty"}[r.IntN(5)]
			method, body := "GET", io.Reader(nil)
			switch r.IntN(12) {
			case 0:
				method = "HEAD"
			case 1:
				method, body = "PUT", strings.NewReader(id)
			}
			q, err := http.NewRequestWithContext(ctx, method, "http://"+w.addr.String()+"/"+path, body)
			if err != nil {
				t.Error(err)
				return
			}
			q.Header.Set("X-Id", id)
			m, err := transport.RoundTrip(q)
			if ctx.Err() == context.DeadlineExceeded {
				t.Errorf("%s %s %s hangs", method, path, id)
			}
			if err != nil {
				left.Add(1)
				return
			}
			defer m.Body.Close()
			limit := int64(1 << 30)
			if r.IntN(20) == 0 { // is content with the beginning
				limit = 1
			}
			got, err := io.ReadAll(io.LimitReader(m.Body, limit))
			own, whole := m.Header.Get("X-Id") == id, err == nil && limit > 1
			switch {
			case m.StatusCode >= 500 && !own, m.StatusCode == 408:
				failed.Add(1)
			case !own, !strings.HasPrefix(strings.Repeat(id, len(got)/len(id)+1), string(got)), whole && len(got)%len(id) != 0 && m.ContentLength >= 0:
				t.Errorf("%s %s %s got the answer of %q: %d, %v, %.60q", method, path, id, m.Header.Get("X-Id"), m.StatusCode, err, got)
			case whole:
				right.Add(1)
			default:
				failed.Add(1)
			}
		}
		var clients sync.WaitGroup
		requests := testkit.Soak(t, "AHEAD_REQUESTS", testkit.Rounds(20, 40))
		for i := range 4 {
			var mu sync.Mutex
			var conns []net.Conn
			dialer := net.Dialer{}
			transport := &http.Transport{
				Protocols: new(http.Protocols),
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := dialer.DialContext(ctx, network, address)
					if err == nil {
						mu.Lock()
						conns = append(conns, c)
						mu.Unlock()
					}
					return c, err
				},
			}
			transport.Protocols.SetUnencryptedHTTP2(true)
			if i%2 == 1 {
				transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 16 << 10}
			}
			t.Cleanup(transport.CloseIdleConnections)
			for k := range 12 {
				clients.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), uint64(k)))
					for n := range requests {
						if mu.Lock(); len(conns) > 0 && r.IntN(200) == 0 {
							conns[r.IntN(len(conns))].Close()
						}
						mu.Unlock()
						ctx, cancel := context.WithTimeout(context.Background(), testkit.Limit)
						if r.IntN(6) == 0 || n == requests-1 {
							time.AfterFunc(time.Duration(r.IntN(3000))*time.Microsecond, cancel)
						}
						ask(ctx, transport, r, fmt.Sprintf("%d-%d-%d.", i, k, n))
						cancel()
					}
				})
			}
		}
		clients.Wait()
		close(stop)
		aside.Wait()
		t.Logf("%d answers, %d failures, %d given up", right.Load(), failed.Load(), left.Load())
		equal(t, "requests that came again after their answers", f.twice.Load(), 0)
		if sum := int64(4 * 12 * requests); right.Load() < sum/2 {
			t.Errorf("only %d of %d were answered", right.Load(), sum)
		}
		for _, series := range []string{"weir_upstream_in_flight", "weir_listener_requests_in_flight"} {
			w.becomes(series, series, "0")
		}
	})
	done()
}

// However the server, or its target, ends while answers to requests that were sent ahead are waited for, nothing is left.
func TestH2AheadEnds(t *testing.T) {
	check := func(name, status string, end func(w *framed, answer func())) {
		t.Run(name, func(t *testing.T) {
			asked, now := make(chan struct{}), make(chan struct{})
			w, _, c := ahead(t, func(c *testkit.Conn, _ *testkit.Message) {
				close(asked)
				c.Wait(now)
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
			}, "")
			c.Get(3, "/second")
			<-asked
			end(w, func() { close(now) })
			if status != "" {
				equal(t, "status", c.Whole(3).Status(), status)
			}
			w.becomes("in flight", "weir_listener_requests_in_flight", "0")
			w.Close()
			testkit.Eventually(t, "no goroutine waits at a connection", func() bool {
				b := make([]byte, 1<<20)
				return !bytes.Contains(b[:runtime.Stack(b, true)], []byte("(*attendant)"))
			})
		})
	}
	check("closed", "", func(w *framed, _ func()) { w.Close() })
	check("the target is gone", "200", func(w *framed, answer func()) {
		cfg := w.changed(func(cfg *config.Config) { cfg.Upstreams["origin"].Targets[0].URL = "demo:a" })
		if err := w.Reload(cfg); err != nil {
			t.Error(err)
		}
		answer()
	})
	check("drained", "200", func(w *framed, answer func()) {
		ended := make(chan error)
		go func() { ended <- w.Shutdown(context.Background()) }()
		answer()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
