package zookeeper

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/go-zookeeper/zk"

	"weir/discover"
)

// registrar writes endpoints as nodes that end with its session.
type registrar struct {
	place
	conn *zk.Conn // nil until it is needed
	ttl  time.Duration
	// turn is for one call at a time: one whose context has ended may still wait for a connection.
	turn chan struct{}
}

// do does f, until ctx ends.
func (r *registrar) do(ctx context.Context, f func() error) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-r.turn }()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Put writes e. The session itself is the lease: the library keeps it.
func (r *registrar) Put(ctx context.Context, e discover.Entry, ttl time.Duration) error {
	return r.do(ctx, func() error {
		if err := r.connect(ttl); err != nil {
			return err
		}
		path, data := r.pathOf(e), discover.FormatEndpoint(e.Endpoint)
		now, stat, err := r.conn.Get(path)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			return r.create(path, data)
		case err != nil:
			return err
		case stat.EphemeralOwner != r.conn.SessionID():
			// The node is of a session that is over, or will be, and would go with that session.
			if err := r.conn.Delete(path, stat.Version); err != nil && !errors.Is(err, zk.ErrNoNode) {
				return err
			}
			return r.create(path, data)
		case !bytes.Equal(now, data):
			_, err := r.conn.Set(path, data, stat.Version)
			return err
		}
		return nil
	})
}

// create makes the node, and those above it.
func (r *registrar) create(path string, data []byte) error {
	acl := zk.WorldACL(zk.PermAll)
	for i := range path[1:] {
		if path[1+i] != '/' {
			continue
		}
		if _, err := r.conn.Create(path[:1+i], nil, 0, acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	_, err := r.conn.Create(path, data, zk.FlagEphemeral, acl)
	return err
}

// connect makes a session of the length of ttl, if there is none.
func (r *registrar) connect(ttl time.Duration) error {
	if r.conn != nil && r.ttl == ttl {
		return nil
	}
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
	c, events, err := r.open(ttl)
	if err != nil {
		return err
	}
	go func() {
		for range events { // so that the channel never fills
		}
	}()
	if err := r.login(c); err != nil {
		c.Close()
		return err
	}
	r.conn, r.ttl = c, ttl
	return nil
}

// Withdraw removes e.
func (r *registrar) Withdraw(ctx context.Context, e discover.Entry) error {
	return r.do(ctx, func() error {
		if err := r.connect(cmp.Or(r.ttl, r.session)); err != nil {
			return err
		}
		err := r.conn.Delete(r.pathOf(e), -1)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		return err
	})
}

// Close ends the session, and so what was put.
func (r *registrar) Close() error {
	if r.conn != nil {
		r.conn.Close()
	}
	return nil
}

// pathOf returns the path of the node of e.
func (r *registrar) pathOf(e discover.Entry) string {
	return r.path + "/" + discover.FormatKey(e)
}
