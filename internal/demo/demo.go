// Package demo is the built-in origin behind targets of the form "demo:NAME":
// it says who answers and what it got, echoes, streams, and is slow or fails on
// request, so that weir can be tried on a bare machine.
//
// Each name is a handler that package mount serves. The package knows nothing of the
// proxy; the server package dials it for demo targets.
package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"weir/internal/mount"
)

// Origin serves any number of names. Make it with New; Close it.
type Origin struct {
	handler http.Handler

	mu     sync.Mutex
	closed bool
	names  map[string]*instance
}

// instance is one name and who serves it.
type instance struct {
	name     string
	requests atomic.Int64
	server   *mount.Server
}

// instanceKey is the key of the *instance in a request's context.
type instanceKey struct{}

// New makes an origin.
func New() *Origin {
	return &Origin{handler: handler(), names: map[string]*instance{}}
}

// Dial returns a new connection to the instance of that name. The caller closes
// it. It fails only after Close, or without free descriptors.
func (o *Origin) Dial(name string) (net.Conn, error) {
	o.mu.Lock()
	i, closed := o.names[name], o.closed
	if i == nil && !closed {
		i = o.newInstance(name)
		o.names[name] = i
	}
	o.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("cannot connect to demo target %q: %w", name, net.ErrClosed)
	}
	c, err := i.server.Dial()
	if err != nil {
		return nil, fmt.Errorf("cannot connect to demo target %q: %w", name, err)
	}
	return c, nil
}

func (o *Origin) newInstance(name string) *instance {
	i := &instance{name: name}
	i.server = mount.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), instanceKey{}, i)))
	}), mount.Options{})
	return i
}

// Close cuts all connections and returns when nothing of the origin runs any more. It
// returns nil.
func (o *Origin) Close() error {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	for _, i := range o.names { // nothing is added any more
		i.server.Close()
	}
	return nil
}
