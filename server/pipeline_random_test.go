package server_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/testkit"
)

// moody answers requests with their X-Id, in all ways that HTTP/1.1 knows and in
// some that it does not, in pieces of any size, and breaks off now and then. The
// one thing that it never sends is a whole answer that no request asked for.
func moody(c *testkit.Conn) {
	r := rand.New(rand.NewPCG(1, uint64(c.Index)))
	send := func(s string) bool {
		for len(s) > 0 && r.IntN(4) == 0 {
			n := 1 + r.IntN(len(s))
			if c.TrySend(s[:n]) != nil {
				return false
			}
			if s = s[n:]; r.IntN(8) == 0 {
				<-after(r.IntN(25))
			}
		}
		return c.TrySend(s) == nil
	}
	for {
		m, err := c.TryHead()
		if err != nil {
			return
		}
		id := m.Get("X-Id")
		line, body := "HTTP/1.1 200 OK\r\nX-Id: "+id+"\r\n", id
		switch r.IntN(30) {
		case 0:
			body = strings.Repeat(id, 1+r.IntN(5000))
		case 1:
			body = strings.Repeat(id, 1+r.IntN(1500))
		}
		answer, ends := line+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), false
		switch r.IntN(120) {
		case 0, 1, 2: // breaks off
			answer, ends = answer[:r.IntN(len(answer))], true
		case 3:
			c.Reset()
			return
		case 4:
			<-after(r.IntN(40))
		case 5, 6, 7, 8, 9, 10:
			answer = line + "Transfer-Encoding: chunked\r\n\r\n"
			for rest := body; rest != ""; {
				n := 1 + r.IntN(len(rest))
				answer += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			if answer += "0\r\n"; r.IntN(2) == 0 {
				answer += "X-Trailer: " + id + "\r\n"
			}
			answer += "\r\n"
		case 11, 12:
			answer = "HTTP/1.1 204 No Content\r\nX-Id: " + id + "\r\n\r\n"
		case 13, 14:
			answer = "HTTP/1.1 304 Not Modified\r\nX-Id: " + id + "\r\n\r\n"
		case 15:
			answer = "HTTP/1.1 103 Early Hints\r\nX-Id: " + id + "\r\n\r\n" + answer
		case 16:
			answer, ends = line+"Connection: close\r\n"+answer[len(line):], true
		case 17:
			answer, ends = line+"\r\n"+body, true // until it closes
		case 18:
			answer, ends = strings.Replace(answer, "1.1", "1.0", 1), true
		case 19: // another one begins that no request asked for
			answer, ends = answer+"HTTP/1.1 200 OK\r\nX-Id: nobody\r\nConte", true
		case 20:
			answer += "\r\n\r\n"
		case 21:
			answer, ends = "garbage\r\n\r\n", true
		case 22: // it closes, but has read more
			ends = true
		}
		if !send(answer) || ends {
			return
		}
	}
}

// No client ever gets the answer to another's request, whatever clients and origin do, and
// nothing is left of it. When weir has had enough of the origin, a reload makes
// it forget: connections of another depth are other connections.
func TestPipelineOwnAnswers(t *testing.T) {
	for _, kind := range []string{"tcp", "unix"} {
		t.Run(kind, func(t *testing.T) {
			done := leaksNothing(t)
			t.Run("life", func(t *testing.T) {
				listen := testkit.Listen
				if kind == "unix" {
					listen = testkit.ListenUnix
				}
				origin := listen(t, moody)
				text := func(depth int) string {
					return plainListener + toOrigin(origin.URL) + fmt.Sprintf("connections = { pipeline = %d, idle = \"20ms\" }\nhealth.passive.failures = 0\n", depth)
				}
				w := launch(t, text(8))
				var shared int64
				add := func() {
					n, _ := strconv.ParseInt(w.figure("weir_upstream_pipeline_requests_total"), 10, 64)
					shared += n
				}
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					for reloads := 0; ; {
						select {
						case <-stop:
							t.Logf("%d reloads", reloads)
							return
						case <-after(1):
						}
						if w.figure("weir_upstream_pipeline_paused") == "1" {
							add()
							reloads++
							if err := w.Reload(parse(t, text(8-reloads%2))); err != nil {
								t.Error(err)
							}
						}
					}
				}()
				const clients = 24
				requests := testkit.Soak(t, "PIPELINE_REQUESTS", testkit.Rounds(20, 50))
				ownAnswers(t, w, clients, requests)
				close(stop)
				<-stopped
				if add(); shared < int64(clients*requests/5) {
					t.Errorf("only %d exchanges were answered on shared connections", shared)
				}
				t.Logf("%d were answered on shared connections", shared)
			})
			done()
		})
	}
}

// ownAnswers has clients send requests, each its number, and looks at what they get.
func ownAnswers(t *testing.T, w *weir, clients, requests int) {
	var right, ended atomic.Int64
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			var nc net.Conn
			var br *bufio.Reader
			leave := func() {
				if nc != nil {
					nc.Close()
					nc = nil
				}
			}
			defer leave()
			for n := range requests {
				if nc == nil {
					var err error
					if nc, err = net.Dial("tcp", w.addr.String()); err != nil {
						t.Error(err)
						return
					}
					nc.SetDeadline(time.Now().Add(testkit.Limit))
					br = bufio.NewReader(nc)
				}
				id := fmt.Sprintf("%d-%d.", i, n)
				fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Id: %s\r\n\r\n", id)
				if r.IntN(25) == 0 { // goes away
					leave()
					continue
				}
				m, err := http.ReadResponse(br, nil)
				for err == nil && m.StatusCode < 200 {
					equal(t, "interim response's number", m.Header.Get("X-Id"), id)
					m, err = http.ReadResponse(br, nil)
				}
				if err != nil {
					ended.Add(1)
					leave()
					continue
				}
				body, err := io.ReadAll(m.Body)
				got, whole := string(body), err == nil
				switch {
				case m.StatusCode >= 500:
				case m.Header.Get("X-Id") != id, !strings.HasPrefix(strings.Repeat(id, len(got)/len(id)+1), got),
					whole && len(got)%len(id) != 0 && m.ContentLength >= 0:
					t.Errorf("client %s got the answer of %q: %d %.60q", id, m.Header.Get("X-Id"), m.StatusCode, got)
				case whole:
					right.Add(1)
				}
				if err != nil || m.Close {
					leave()
				}
			}
		})
	}
	all.Wait()
	sum := clients * requests
	if right.Load() < int64(sum*6/10) {
		t.Errorf("only %d of %d exchanges were answered, %d connections ended", right.Load(), sum, ended.Load())
	}
	t.Logf("%d of %d were answered, %d connections ended", right.Load(), sum, ended.Load())
	testkit.Eventually(t, "nothing runs", func() bool { return w.figure("weir_upstream_in_flight") == "0" })
}
