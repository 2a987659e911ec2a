package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	// framedPath is what the paths begin with that go to the origin in HTTP/2.
	framedPath = "/h2"
	// countPath is where the origin says how many bytes it got.
	countPath = "/count"
)

// origin answers /bytes/N with N bytes, /count with the size of the request's body, /wait never, and everything else with a few
// bytes.
type origin struct {
	ln     net.Listener
	asked  atomic.Int64
	waits  atomic.Int64
	resets atomic.Int64 // requests for /reset, which clients take back at once
}

func startOrigin() (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{ln: ln}
	server := &http.Server{Handler: o, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(ln)
	return o, nil
}

func (o *origin) address() string { return o.ln.Addr().String() }

var piece = make([]byte, 64<<10)

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked.Add(1)
	switch {
	case r.URL.Path == "/wait":
		o.waits.Add(1)
		<-r.Context().Done()
	case r.URL.Path == toReset:
		o.resets.Add(1)
		<-r.Context().Done()
	case strings.HasPrefix(r.URL.Path, "/bytes/"):
		n, _ := strconv.Atoi(r.URL.Path[len("/bytes/"):])
		w.Header().Set("Content-Length", strconv.Itoa(n))
		for n > 0 {
			m, err := w.Write(piece[:min(n, len(piece))])
			if err != nil {
				return
			}
			n -= m
		}
	case r.URL.Path == countPath:
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	default:
		w.Write([]byte("hello\n"))
	}
}
