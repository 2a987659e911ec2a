package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"weir/cache/tier"
	"weir/internal/resp"
)

// withoutDial returns a context whose commands do not make a connection: others would wait
// for it.
func withoutDial(ctx context.Context) context.Context {
	return context.WithValue(ctx, noDialKey{}, true)
}

type noDialKey struct{}

// noDial is the context of look-ups.
var noDial = withoutDial(context.Background())

// background returns a dial that refuses commands that are not to make a connection, and whose connections close
// when ctx ends: a command that waits for announcements would hold up Close.
func background(ctx context.Context, with resp.Dial) resp.Dial {
	return func(dialing context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
		if dialing.Value(noDialKey{}) != nil {
			return nil, tier.ErrUnavailable
		}
		c, err := with(dialing, address, d, secure)
		if err != nil {
			return nil, err
		}
		return &conn{c, context.AfterFunc(ctx, func() { c.Close() })}, nil
	}
}

// conn is a connection that its tier closes in the end.
type conn struct {
	net.Conn
	forget func() bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// reason is err without what differs from one connection to the next, so that it is logged
// once.
func reason(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return errNoAnswer
	case errors.As(err, &op):
		where := ""
		if op.Addr != nil {
			where = " " + op.Addr.String()
		}
		return fmt.Errorf("%s%s: %w", op.Op, where, op.Err)
	}
	return err
}

var errNoAnswer = errors.New("no answer in time")
