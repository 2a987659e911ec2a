package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
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
	// The end closes the connections; the time of the probe alone does not, so that its error is the time-out.
	over, end := context.WithCancel(context.Background())
	defer end()
	// The context that the library passes goes on after the request.
	dial := func(context.Context, string, string) (net.Conn, error) {
		c, err := a.Dial(ctx, a.alpn...)
		if err == nil {
			context.AfterFunc(over, func() { c.Close() })
		}
		return c, err
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
