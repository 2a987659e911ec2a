// Package baseline is the proxy that weir is compared with when nothing else
// is installed: net/http/httputil.ReverseProxy, set up as well as it can be
// (pooled copy buffers, as many idle connections as clients, no compression).
// The benchmarks of bench run it in their process, bench/cmd/peers as one of
// its own.
package baseline

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"weir/bench"
)

// Options set the proxy up.
type Options struct {
	// Target is the origin's "host:port".
	Target string
	// TLS makes clients speak TLS; nil means plaintext.
	TLS *tls.Config
	// Forwarding adds the forwarding fields that weir sends by default.
	Forwarding bool
}

// via is this proxy's element of Via.
const via = "1.1 httputil"

// buffers is the copy buffers' pool. It holds pointers to arrays, which, unlike
// slices, go in and out without an allocation.
type buffers struct{ pool sync.Pool }

type buffer [32 << 10]byte

func (b *buffers) Get() []byte  { return b.pool.Get().(*buffer)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*buffer)(p)) }

// New makes the server; the caller runs Serve or ServeTLS and Close.
func New(opt Options) *http.Server {
	to := &url.URL{Scheme: "http", Host: opt.Target}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			if opt.Forwarding {
				r.SetXForwarded()
				r.Out.Header.Add("Via", via)
				r.Out.Header.Set("X-Request-Id", string(bench.AppendRequestID(nil)))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if opt.Forwarding {
				r.Header.Add("Via", via)
			}
			return nil
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConns:        0, // no bound
			MaxIdleConnsPerHost: 16384,
			IdleConnTimeout:     5 * time.Minute,
			DisableCompression:  true,
		},
		BufferPool: &buffers{pool: sync.Pool{New: func() any { return new(buffer) }}},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	return &http.Server{
		Handler:      proxy,
		TLSConfig:    opt.TLS,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 for everybody
		ErrorLog:     log.New(io.Discard, "", 0),
	}
}
