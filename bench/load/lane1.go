package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// lane1 is a connection of HTTP/1.1.
type lane1 struct {
	opt  *Options
	mu   sync.Mutex // guards conn against interrupt
	conn net.Conn
	resp response
	buf  []byte
}

func newLane1(opt *Options) ([]lane, error) {
	l := &lane1{opt: opt, buf: make([]byte, 32<<10)}
	var err error
	if l.conn, err = dial(opt, "http/1.1"); err != nil {
		return nil, err
	}
	return []lane{l}, nil
}

// dial connects. With TLS the protocol is what ALPN asks for.
func dial(opt *Options, protocol string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", opt.Address, opt.Timeout)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %q: %w", opt.Address, err)
	}
	if opt.TLS == nil {
		return conn, nil
	}
	cfg := opt.TLS.Clone()
	cfg.NextProtos = []string{protocol}
	secure := tls.Client(conn, cfg)
	err = conn.SetDeadline(time.Now().Add(opt.Timeout))
	if err == nil {
		err = secure.Handshake()
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if chosen := secure.ConnectionState().NegotiatedProtocol; err == nil && protocol == "h2" && chosen != protocol {
		err = fmt.Errorf("found protocol %q: want %q", chosen, protocol)
	}
	if err != nil {
		_ = conn.Close() // the first error tells
		return nil, fmt.Errorf("cannot do a TLS handshake with %q: %w", opt.Address, err)
	}
	return secure, nil
}

func (l *lane1) interrupt() {
	l.mu.Lock()
	_ = l.conn.SetDeadline(time.Unix(1, 0)) // an already closed one needs none
	l.mu.Unlock()
}

func (l *lane1) close() { _ = l.conn.Close() } // nothing is in flight that could be lost

func (l *lane1) renew() error {
	l.close()
	conn, err := dial(l.opt, "http/1.1")
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	return nil
}

func (l *lane1) exchange(k int64) (a answer, closed bool, err error) {
	req := l.opt.Requests[k%int64(len(l.opt.Requests))]
	l.resp.reset(req)
	if _, err := l.conn.Write(req); err != nil {
		return a, false, err
	}
	for {
		n, err := l.conn.Read(l.buf)
		if n > 0 {
			used, done, ferr := l.resp.feed(l.buf[:n])
			switch {
			case ferr != nil:
				return a, false, ferr
			case done && used < n:
				return a, false, errors.New(causeExtra)
			case done:
				return l.resp.answer(), l.resp.closing, nil
			}
		}
		switch {
		case err == io.EOF && l.resp.part == toClose:
			return l.resp.answer(), true, nil
		case err == io.EOF && n > 0: // comes again
		case err != nil:
			return a, false, err
		}
	}
}
