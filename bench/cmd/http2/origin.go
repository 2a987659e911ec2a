package main

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// origin answers /bytes/N with N bytes, /wait never, and everything else with a few.
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
	go http.Serve(ln, o)
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
	case r.URL.Path == "/reset":
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
	default:
		w.Write([]byte("hello\n"))
	}
}
