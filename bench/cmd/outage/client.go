package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	// onePostIn is how many requests there are for each POST.
	onePostIn = 5
	// answerTimeout is how long a client waits for an answer.
	answerTimeout = 10 * time.Second
)

// answer is what a client got for one request.
type answer struct {
	method string
	id     string
	// due is when the request was to be sent; latency counts from then, so that
	// a stalled proxy is not flattered by requests that it kept from being sent.
	due     time.Time
	latency time.Duration
	status  int   // 0 if there was no answer
	err     error // nil if the answer was the right one
}

// clients keeps connections and sends requests over them. Unlike net/http's
// client it never sends a request twice.
type clients struct {
	address string
	mu      sync.Mutex
	idle    []*clientConn
	answers []answer
	wg      sync.WaitGroup
}

type clientConn struct {
	net.Conn
	br *bufio.Reader
}

// send sends requests at a rate until stop is closed, and waits for the last
// answer. begun is called for the first one.
func (c *clients) send(rate int, stop <-chan struct{}, prefix string) []answer {
	start := time.Now()
	for n := 0; ; n++ {
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		select {
		case <-stop:
			c.wg.Wait()
			c.close()
			return c.answers
		case <-time.After(time.Until(due)):
		}
		method := get
		if n%onePostIn == 0 {
			method = post
		}
		c.wg.Go(func() {
			a := c.one(method, fmt.Sprintf("%s%d", prefix, n), due)
			c.mu.Lock()
			c.answers = append(c.answers, a)
			c.mu.Unlock()
		})
	}
}

func (c *clients) close() {
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
}

// one sends one request.
func (c *clients) one(method, id string, due time.Time) answer {
	a := answer{method: method, id: id, due: due}
	a.status, a.err = c.exchange(method, id)
	a.latency = time.Since(due)
	return a
}

func (c *clients) exchange(method, id string) (int, error) {
	conn, err := c.take()
	if err != nil {
		return 0, err
	}
	conn.SetDeadline(time.Now().Add(answerTimeout))
	if method == post {
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: outage\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
	} else {
		_, err = fmt.Fprintf(conn, "GET /?id=%s HTTP/1.1\r\nHost: outage\r\n\r\n", id)
	}
	if err != nil {
		conn.Close()
		return 0, err
	}
	r, err := http.ReadResponse(conn.br, nil)
	if err != nil {
		conn.Close()
		return 0, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Close {
		conn.Close()
	} else {
		c.mu.Lock()
		c.idle = append(c.idle, conn)
		c.mu.Unlock()
	}
	switch {
	case err != nil:
		return r.StatusCode, err
	case r.StatusCode != http.StatusOK:
		return r.StatusCode, fmt.Errorf("%d %s", r.StatusCode, body)
	case string(body) != id:
		return r.StatusCode, fmt.Errorf("the answer is %q, not %q", body, id)
	}
	return r.StatusCode, nil
}

func (c *clients) take() (*clientConn, error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	nc, err := net.DialTimeout("tcp", c.address, answerTimeout)
	if err != nil {
		return nil, err
	}
	return &clientConn{nc, bufio.NewReader(nc)}, nil
}
