// Package kubetest has a stand-in for the API server of Kubernetes, as far as EndpointSlices go: lists,
// and watches from a version on.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/lb"
)

// Server is an API server with the slices of one namespace and service.
type Server struct {
	// Addr is its address.
	Addr string
	// Token, if it is not empty, is what each request must have.
	Token string

	mu      sync.Mutex
	server  *http.Server
	conns   map[net.Conn]bool
	version int
	// first is the oldest version from which a watch may begin.
	first   int
	changed chan struct{} // closed at each change
	slices  map[string]any
	events  []event
	broken  bool
}

// event is a change.
type event struct {
	version int
	Type    string `json:"type"`
	Object  any    `json:"object"`
}

// path is where the slices of the namespace are.
const path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

// Start starts a server.
func Start() (*Server, error) {
	s := &Server{Addr: "127.0.0.1:0", version: 100, first: 100, changed: make(chan struct{}), slices: make(map[string]any)}
	return s, s.Start()
}

// Start starts it again after Stop.
func (s *Server) Start() error {
	ln, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Addr, s.conns = ln.Addr().String(), make(map[net.Conn]bool)
	s.server = &http.Server{Handler: s, ConnState: func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns[c] = state != http.StateClosed
	}}
	go s.server.Serve(ln)
	return nil
}

// Stop ends it; the slices stay.
func (s *Server) Stop() error { return s.server.Close() }

// Cut ends all connections.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, open := range s.conns {
		if open {
			c.Close()
		}
	}
}

// Break makes it answer an error page of status 200, until it is called with false.
func (s *Server) Break(broken bool) {
	s.mu.Lock()
	s.broken = broken
	s.mu.Unlock()
	s.Cut()
}

// Forget makes it forget all changes so far: watches cannot begin before now, and those that run end with an error.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version += 10
	s.first = s.version
	s.events = nil
	s.wake()
}

// Put makes a slice of this name have endpoints, which are JSON, at a port called "http". An empty text deletes it.
func (s *Server) Put(name string, port int, endpoints string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	kind := "MODIFIED"
	if s.slices[name] == nil {
		kind = "ADDED"
	}
	object := map[string]any{
		"metadata":    map[string]any{"name": name, "resourceVersion": strconv.Itoa(s.version)},
		"addressType": "IPv4",
		"endpoints":   json.RawMessage("[" + endpoints + "]"),
		"ports":       []any{map[string]any{"name": "http", "port": port, "protocol": "TCP"}},
	}
	if endpoints == "" {
		kind = "DELETED"
		delete(s.slices, name)
	} else {
		s.slices[name] = object
	}
	s.events = append(s.events, event{s.version, kind, object})
	s.wake()
}

func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// ServeHTTP answers as the API server does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken:
		io.WriteString(w, "<html>nonsense</html>")
	case s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path != path || r.FormValue("labelSelector") != "kubernetes.io/service-name=shop":
		w.WriteHeader(http.StatusNotFound)
	case r.FormValue("watch") == "true":
		s.watch(w, r)
	default:
		items := []any{}
		for _, item := range s.slices {
			items = append(items, item)
		}
		json.NewEncoder(w).Encode(map[string]any{"kind": "EndpointSliceList", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items})
	}
}

// watch sends events. s.mu is held.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.FormValue("resourceVersion"))
	w.WriteHeader(http.StatusOK)
	for {
		if from < s.first {
			json.NewEncoder(w).Encode(event{0, "ERROR", map[string]any{"kind": "Status", "code": http.StatusGone, "message": "too old resource version"}})
			return
		}
		for _, e := range s.events {
			if e.version > from {
				json.NewEncoder(w).Encode(e)
				from = e.version
			}
		}
		http.NewResponseController(w).Flush()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		s.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}

// Set makes these the endpoints of the service.
func (s *Server) Set(list []lb.Endpoint) error {
	var texts []string
	port := 0
	for _, e := range list {
		u, err := url.Parse(e.URL)
		if err != nil {
			return err
		}
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return err
		}
		texts = append(texts, fmt.Sprintf(`{"addresses": [%q], "conditions": {"ready": true}}`, u.Hostname()))
	}
	s.Put("shop-1", port, strings.Join(texts, ","))
	return nil
}

// Place returns what the scheme follows.
func (s *Server) Place(scheme discover.Scheme) discovertest.Place {
	return discovertest.Place{
		URL:        func(string) string { return "kubernetes:default/shop:http?api=http://" + s.Addr },
		Schemes:    []discover.Scheme{scheme},
		Set:        s.Set,
		Unweighted: true,
		Stop:       s.Stop,
		Start:      s.Start,
		Cut:        s.Cut,
		Break:      func() error { s.Break(true); return nil },
		Mend:       func() error { s.Break(false); return nil },
	}
}
