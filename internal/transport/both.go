package transport

import (
	"errors"
	"sync/atomic"
	"time"

	"weir/config"
)

// New makes the connections to one target URL, with the settings of its upstream.
func New(rawURL string, cfg *config.Upstream, o Options) (Transport, error) {
	addr, err := parseTargetURL(rawURL)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(addr, cfg, o)
	switch {
	case err != nil:
		return nil, err
	case addr.scheme == "h2c":
		return newHTTP2(d, cfg, o), nil
	case addr.network == localNetwork || cfg.Connections.Protocol == config.ProtocolH1:
		return newHTTP1(d, cfg, o), nil
	}
	return &both{
		HTTP1: newHTTP1(d, cfg, o), frames: newHTTP2(d, cfg, o), first: cfg.Connections.Protocol == config.ProtocolH2, made: time.Now(),
	}, nil
}

// Of returns what New made and package lb keeps.
func Of(kept interface{ Retire() }) Transport {
	if t, ok := kept.(*both); ok {
		return t // most are, and to look one interface up by another costs more
	}
	return kept.(Transport)
}

// both is the connections to a target that may speak HTTP/1.1 and HTTP/2.
type both struct {
	*HTTP1
	frames *HTTP2
	// first says that exchanges that can do with any version use HTTP/2 if the target speaks it.
	first bool
	// until is when, since made, a target is asked again that did not speak HTTP/2; 0: it may be asked.
	until atomic.Int64
	made  time.Time
}

// askAgain is how long a target that does not speak HTTP/2 is not asked for it.
const askAgain = time.Minute

// Open implements Transport.
func (t *both) Open(within time.Duration, v Version) (Stream, error) {
	if v != PreferHTTP2 && (v == OnlyHTTP1 || !t.first) {
		return t.HTTP1.Open(within, v)
	}
	if until := t.until.Load(); until != 0 && int64(time.Since(t.made)) < until {
		return t.HTTP1.Open(within, v)
	}
	s, err := t.frames.Open(within, v)
	if err == nil {
		t.until.Store(0)
		return s, nil
	}
	if t.lacksFrames(err) {
		t.until.Store(int64(time.Since(t.made) + askAgain))
		return t.HTTP1.Open(within, v)
	}
	return nil, err
}

// lacksFrames says whether err means that the target speaks HTTP/1.1 alone. Without TLS that is not
// assumed of one that is configured to speak HTTP/2, or has spoken it: it is broken.
func (t *both) lacksFrames(err error) bool {
	var de *DialError
	return errors.Is(err, errChoseHTTP1) ||
		errors.As(err, &de) && de.Phase == "http2" && !t.first && !t.frames.spoke.Load()
}

// Protocols are what exchanges speak, by the names of ALPN.
func (t *both) Protocols() []string {
	switch {
	case !t.first:
		return protocolsHTTP1
	case t.tls == nil:
		return protocolsHTTP2
	}
	return protocolsBoth
}

// Share implements Transport.
func (t *both) Share(within, write time.Duration) Stream {
	if t.first {
		return nil
	}
	return t.HTTP1.Share(within, write)
}

// Attended implements Transport.
func (t *both) Attended() Attended {
	if t.first {
		return nil
	}
	return t.HTTP1.Attended()
}

// Conns implements Transport.
func (t *both) Conns() (open, idle int) {
	open, idle = t.HTTP1.Conns()
	moreOpen, moreIdle := t.frames.Conns()
	return open + moreOpen, idle + moreIdle
}

// CloseIdle implements Transport.
func (t *both) CloseIdle() {
	t.HTTP1.CloseIdle()
	t.frames.CloseIdle()
}

// Retire implements Transport.
func (t *both) Retire() {
	t.HTTP1.Retire()
	t.frames.Retire()
}
