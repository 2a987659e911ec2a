package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
)

// asker sends the requests of the probes of one target.
type asker struct {
	dialer
	// protocols are what it speaks; nil means HTTP/1.1.
	protocols *http.Protocols
	// alpn is offered if the target has TLS.
	alpn []string
}

// do sends req on a connection that is made for it and returns what judge says of the response. It
// follows no redirects and ignores the proxies of the environment. Whatever has happened, the
// connection is closed at the end: the library closes one of HTTP/2 only once its stream has ended,
// which a probe that gives up does not wait for.
func (a *asker) do(req *http.Request, judge func(*http.Response) error) error {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	var made connections
	defer made.close()
	// The context that the library passes goes on after the request.
	dial := func(context.Context, string, string) (net.Conn, error) {
		c, err := a.Dial(ctx, a.alpn...)
		if err != nil {
			return nil, err
		}
		return c, made.add(c)
	}
	client := http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			DialTLSContext:         dial,
			Protocols:              a.protocols,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return unwrapURL(err)
	}
	defer resp.Body.Close()
	return judge(resp)
}

// unwrapURL removes the URL, which has no real host, from a client's error.
func unwrapURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// connections are those of one probe.
type connections struct {
	mu    sync.Mutex
	open  []net.Conn
	ended bool
}

// add adds c, or closes it if the probe has ended, which is an error.
func (s *connections) add(c net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		c.Close()
		return net.ErrClosed
	}
	s.open = append(s.open, c)
	return nil
}

func (s *connections) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, c := range s.open {
		c.Close()
	}
}

// longestReason is how many bytes of what a target's server says go into logs and states.
const longestReason = 256

// brief returns what err says, or the beginning of it: errors quote what servers send.
func brief(err error) string {
	s := err.Error()
	if len(s) > longestReason {
		s = s[:longestReason] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
