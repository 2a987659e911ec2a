package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// connection2 is a connection of HTTP/2, which several lanes share.
type connection2 struct {
	opt      *Options
	requests []template
	mu       sync.Mutex // guards conn
	conn     *http.ClientConn
}

// template is a request that is sent again and again.
type template struct {
	*http.Request
	body []byte
}

// lane2 has one stream at a time.
type lane2 struct {
	*connection2
	mu     sync.Mutex // guards cancel
	cancel context.CancelCauseFunc
	used   *http.ClientConn // by the last exchange
	buf    []byte
}

func newLanes2(opt *Options) (lanes []lane, err error) {
	c := &connection2{opt: opt}
	for _, raw := range opt.Requests {
		t, err := newTemplate(opt, raw)
		if err != nil {
			return nil, err
		}
		c.requests = append(c.requests, t)
	}
	if c.conn, err = dial2(opt); err != nil {
		return nil, err
	}
	for range opt.Streams {
		lanes = append(lanes, &lane2{connection2: c, used: c.conn, buf: make([]byte, 32<<10)})
	}
	return lanes, nil
}

// newTemplate reads a request of HTTP/1.1.
func newTemplate(opt *Options, raw []byte) (template, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return template{}, fmt.Errorf("cannot make a request of HTTP/2: %w", err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return template{}, fmt.Errorf("cannot make a request of HTTP/2: %w", err)
	}
	r.RequestURI = ""
	r.URL.Scheme, r.URL.Host = "http", opt.Address
	if opt.TLS != nil {
		r.URL.Scheme = "https"
	}
	if _, own := r.Header["User-Agent"]; !own {
		r.Header["User-Agent"] = nil // none instead of the library's
	}
	return template{r, body}, nil
}

func dial2(opt *Options) (*http.ClientConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), opt.Timeout)
	defer cancel()
	open := func(context.Context, string, string) (net.Conn, error) { return dial(opt, "h2") }
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true, DialContext: open, DialTLSContext: open}
	scheme := "http"
	if opt.TLS != nil {
		scheme = "https"
		transport.Protocols.SetHTTP2(true)
	} else {
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	conn, err := transport.NewClientConn(ctx, scheme, opt.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot speak HTTP/2 with %q: %w", opt.Address, err)
	}
	return conn, nil
}

func (l *lane2) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(errors.New(causeTimeout))
	}
}

// close closes the connection of all lanes that share it.
func (c *connection2) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.Close() // nothing is in flight that could be lost
}

// renew replaces the connection if it has ended, and no other lane has done so.
func (l *lane2) renew() error {
	c := l.connection2
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != l.used || c.conn.Err() == nil {
		return nil
	}
	conn, err := dial2(l.opt)
	if err != nil {
		return err
	}
	_ = c.conn.Close() // it has ended
	c.conn = conn
	return nil
}

func (l *lane2) exchange(k int64) (a answer, closed bool, err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	l.mu.Lock()
	l.cancel = cancel
	l.mu.Unlock()
	l.connection2.mu.Lock()
	l.used = l.conn
	l.connection2.mu.Unlock()

	t := l.requests[k%int64(len(l.requests))]
	r := t.WithContext(ctx)
	if len(t.body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(t.body))
	}
	answered, err := l.used.RoundTrip(r)
	if err == nil {
		defer answered.Body.Close()
		a.status = answered.StatusCode
		for err == nil {
			var n int
			n, err = answered.Body.Read(l.buf)
			a.body += int64(n)
		}
		if err == io.EOF {
			return a, l.used.Err() != nil, nil
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return a, false, err
}
