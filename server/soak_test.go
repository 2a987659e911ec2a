package server_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
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
	"weir/server"
)

// soakOrigin answers each request with something that only its client can
// expect: a body made from the request's id, and a checksum of what was sent.
func soakOrigin(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Id")
	sent := sha256.New()
	n, err := io.Copy(sent, r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Id", id)
	w.Header().Set("X-Sent", fmt.Sprintf("%d %x", n, sent.Sum(nil)))
	size, _ := strconv.Atoi(r.URL.Query().Get("size"))
	body := soakBody(id, size)
	switch r.URL.Path {
	case "/length":
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Write(body)
	case "/chunked":
		for len(body) > 0 {
			k := min(len(body), 1+rand.IntN(20000))
			w.Write(body[:k])
			http.NewResponseController(w).Flush()
			body = body[k:]
		}
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %s %d\n\n", id, i)
			http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
	case "/cut":
		w.Header().Set("Content-Length", strconv.Itoa(size+1))
		w.Write(body)
		panic(http.ErrAbortHandler)
	case "/tunnel":
		w.Header().Set("Connection", "upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(101)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, rw)
	}
}

// soakBody is the content for an id.
func soakBody(id string, size int) []byte {
	return bytes.Repeat([]byte(id+"."), 1+size/(len(id)+1))[:size]
}

// soakClient is one client. It returns on its first error that is not of its own
// making.
type soakClient struct {
	name string
	addr string
	rand *rand.Rand
	c    net.Conn
	br   *bufio.Reader
}

func (s *soakClient) close() {
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

// exchange does one thing, chosen by chance.
func (s *soakClient) exchange(n int) error {
	if s.c == nil {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(testkit.Limit))
		s.c, s.br = c, bufio.NewReaderSize(c, 4<<10)
	}
	s.c.SetDeadline(time.Now().Add(testkit.Limit))
	id := fmt.Sprintf("%s-%d", s.name, n)
	size := s.rand.IntN(2000)
	if s.rand.IntN(20) == 0 {
		size = s.rand.IntN(1 << 20)
	}
	method, path, body := "GET", []string{"/length", "/chunked"}[s.rand.IntN(2)], []byte(nil)
	switch s.rand.IntN(8) {
	case 0, 1:
		method, body = "POST", soakBody(id, size)
	case 2:
		method, path = "HEAD", "/length"
	}
	kind := s.rand.IntN(24)
	switch kind {
	case 0:
		method, path, body = "GET", "/events", nil
	case 1:
		method, path, body = "GET", "/cut", nil
	case 2:
		return s.tunnel(id)
	case 3:
		method, path, body = "GET", "/dead", nil
	}
	head := fmt.Sprintf("%s %s?size=%d HTTP/1.1\r\nHost: weir.test\r\nX-Id: %s\r\n", method, path, size, id)
	message := head + "\r\n"
	if body != nil {
		if s.rand.IntN(2) == 0 {
			message = head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + string(body)
		} else {
			half := len(body) / 2
			message = head + "Transfer-Encoding: chunked\r\n\r\n"
			for _, part := range [][]byte{body[:half], body[half:]} {
				if len(part) > 0 {
					message += fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
				}
			}
			message += "0\r\n\r\n"
		}
	}
	if kind == 4 { // goes away in the middle of its request
		io.WriteString(s.c, message[:s.rand.IntN(len(message))])
		s.close()
		return nil
	}
	if kind == 5 && len(message) < 400 { // byte by byte
		for i := range len(message) {
			if _, err := io.WriteString(s.c, message[i:i+1]); err != nil {
				return err
			}
		}
	} else if _, err := io.WriteString(s.c, message); err != nil {
		return err
	}
	if kind == 6 { // goes away in the middle of the answer
		s.br.ReadByte()
		s.close()
		return nil
	}
	m, err := testkit.ReadResponse(s.br, method)
	if path == "/cut" {
		if err == nil && m.Status() == 200 {
			return fmt.Errorf("%s: an answer that was cut looks whole", id)
		}
		s.close()
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s %s: %w", id, method, path, err)
	}
	if m.Get("Connection") == "close" {
		defer s.close()
	}
	if path == "/dead" {
		if m.Status() != 502 && m.Status() != 503 {
			return fmt.Errorf("%s: %s from a dead upstream", id, m.Line)
		}
		return nil
	}
	want := string(soakBody(id, size))
	switch {
	case method == "HEAD":
		want = ""
	case path == "/events":
		want = ""
		for i := range 5 {
			want += fmt.Sprintf("data: %s %d\n\n", id, i)
		}
	}
	sent := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
	if m.Status() != 200 || m.Get("X-Id") != id || m.Get("X-Sent") != sent || m.Body != want {
		return fmt.Errorf("%s %s %s: %s, id %q, sent %q want %q, body of %d bytes want %d: %.100q",
			id, method, path, m.Line, m.Get("X-Id"), m.Get("X-Sent"), sent, len(m.Body), len(want), m.Body)
	}
	return nil
}

// tunnel upgrades, has its bytes echoed and leaves.
func (s *soakClient) tunnel(id string) error {
	defer s.close()
	fmt.Fprintf(s.c, "GET /tunnel HTTP/1.1\r\nHost: weir.test\r\nX-Id: %s\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", id)
	m, err := testkit.ReadResponseHead(s.br, "GET")
	if err != nil || m.Status() != 101 {
		return fmt.Errorf("%s: no tunnel: %v, %v", id, m, err)
	}
	for range 3 {
		io.WriteString(s.c, id)
		got := make([]byte, len(id))
		if _, err := io.ReadFull(s.br, got); err != nil || string(got) != id {
			return fmt.Errorf("%s: the tunnel says %q, %w", id, got, err)
		}
	}
	return nil
}

// TestSoak has everything happen at once: all kinds of requests, clients and
// targets that break off, reloads. Every answer must be that to its own request,
// and nothing may be left at the end. WEIR_SOAK_SECONDS makes it longer.
func TestSoak(t *testing.T) {
	limit := time.Duration(testkit.Soak(t, "WEIR_SOAK_SECONDS", testkit.Rounds(1, 2))) * time.Second
	done := leaksNothing(t)
	t.Run("life", func(t *testing.T) {
		first, second := newMortal(t, soakOrigin), newMortal(t, soakOrigin)
		text := func(name string) string {
			return plainListener + strings.ReplaceAll(fmt.Sprintf(`
[[routes]]
name = "NAME"
upstream = "NAME"
[[routes]]
name = "dead"
path = "/dead"
upstream = "dead"
[upstreams.NAME]
targets = ["http://%s", "http://%s"]
[upstreams.NAME.connections]
idle = "50ms"
[upstreams.NAME.health.passive]
failures = 0
[upstreams.dead]
targets = [%q]
[upstreams.dead.connections]
idle = "50ms"
`, first.addr, second.addr, "http://127.0.0.1:1"), "NAME", name)
		}
		var log textLog
		w := launch(t, text("one"), server.WithLog(log.logger()))
		end := time.Now().Add(limit)
		var clients sync.WaitGroup
		var exchanges, failures atomic.Int64
		for i := range 16 {
			clients.Go(func() {
				s := &soakClient{name: fmt.Sprintf("client-%d", i), addr: w.addr.String(), rand: rand.New(rand.NewPCG(1, uint64(i)))}
				defer s.close()
				for n := 0; time.Now().Before(end); n++ {
					if err := s.exchange(n); err != nil {
						if failures.Add(1) < 10 {
							t.Error(err)
						}
						s.close()
					}
					exchanges.Add(1)
				}
			})
		}
		reloads := 0
		for ; time.Now().Before(end); reloads++ {
			time.Sleep(100 * time.Millisecond)
			if err := w.Reload(parse(t, text([]string{"two", "one"}[reloads%2]))); err != nil {
				t.Error(err)
			}
		}
		clients.Wait()
		w.becomes("panics", "weir_panics_total", "0")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("log: %s", log.String())
		}
		t.Logf("%d exchanges, %d failed, %d reloads", exchanges.Load(), failures.Load(), reloads)
	})
	done()
}
