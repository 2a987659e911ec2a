package proxy_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"weir/internal/sock"
	"weir/proxy"
)

// The errors of slow clients name the limit, and are time-outs; other errors stay as they are.
func TestSlow(t *testing.T) {
	slow := func(err error) error { return proxy.Slow(err, 10*time.Second, 240) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{proxy.SentNothing(time.Minute), "client sent nothing for 1m0s (timeouts.grace)"},
		{proxy.SentLess(100), "client sent less than 100 bytes per second (timeouts.min_rate)"},
		{slow(sock.ErrTookNothing), "client took nothing for 10s (timeouts.grace)"},
		{slow(fmt.Errorf("tls: %w", sock.ErrTookLittle)), "client took less than 240 bytes per second (timeouts.min_rate)"},
	} {
		var timeout net.Error
		if c.err.Error() != c.want || !errors.As(c.err, &timeout) || !timeout.Timeout() {
			t.Errorf("found %v (time-out: %v), want %s", c.err, timeout, c.want)
		}
	}
	for _, err := range []error{nil, net.ErrClosed} {
		if got := slow(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
