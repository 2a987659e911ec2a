package proxy

import (
	"bytes"
	"errors"
	"net"
	"time"

	"weir/internal/body"
	"weir/internal/head"
)

// newSub returns an exchange that weir makes itself on behalf of x: it has x's client
// address, host and request id, x's request as a GET, no body, and no client that gets the answer.
// It may outlive x.
func (x *Exchange) newSub() *Exchange {
	s := NewExchange()
	s.cached.store = new(storing)
	peer := *x.Client.Peer
	s.Client = &Client{
		Front: NoClient{}, Cancel: &s.cached.store.cancel, Listener: x.Client.Listener, Peer: &peer,
		Remote: x.Client.Remote, TLS: x.Client.TLS,
	}
	x.Request.Clone(&s.Request)
	s.Request.SetMethod([]byte("GET"))
	s.Request.Length = head.LengthNone
	s.Start = time.Now()
	s.proxy = x.proxy
	s.RequestTarget = append(s.RequestTarget, x.RequestTarget...)
	s.splitTarget(s.Request.Target())
	s.Canonical = append(s.room.canonical[:0], x.Canonical...)
	s.Host = append(s.Host, x.Host...)
	s.ClientHost, s.OtherOrigins = bytes.Clone(x.ClientHost), append(s.OtherOrigins, x.OtherOrigins...)
	s.ClientAddr, s.Scheme = x.ClientAddr, x.Scheme
	s.RequestID = append(s.RequestID, x.RequestID...)
	s.User = append(s.User, x.User...)
	return s
}

// NoClient is the Front of an exchange without a client. It takes all that can be written, and has
// no way for bytes inside the kernel and for tunnels.
type NoClient struct{}

func (NoClient) Inform(*head.Head) error             { return nil }
func (NoClient) Start(*head.Head, int64, bool) error { return nil }
func (NoClient) Room() int                           { return copyBuffer }
func (NoClient) Write([]byte) error                  { return nil }
func (NoClient) Flush() error                        { return nil }
func (NoClient) Finish(*head.Head) error             { return nil }
func (NoClient) Delivered() (int64, bool)            { return 0, true }
func (NoClient) Abort()                              {}
func (NoClient) CloseAfter()                         {}
func (NoClient) PauseReading()                       {}
func (NoClient) ResumeReading()                      {}
func (NoClient) BePatient(time.Duration, bool)       {}

func (NoClient) Move(body.Kernel, int64) (int64, error, error) { return 0, nil, errors.ErrUnsupported }

func (NoClient) Tunnel(*head.Head) (net.Conn, []byte, error) {
	return nil, nil, errors.ErrUnsupported
}
