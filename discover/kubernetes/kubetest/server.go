// Package kubetest has a stand-in for the API server of Kubernetes, as far as EndpointSlices go: lists,
// and watches from a version on.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
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
	discovertest.Web

	mu sync.Mutex
	// token, if it is not empty, is what each request must have.
	token   string
	version int
	// first is the oldest version from which a watch may begin.
	first   int
	changed chan struct{} // closed at each change
	slices  map[string]slice
	events  []event
	broken  bool
}

// event is a change.
type event struct {
	version int
	service string
	Type    string `json:"type"`
	Object  any    `json:"object"`
}

// slice is an EndpointSlice of a service.
type slice struct {
	service string
	object  any
}

// ofService is the label with the Service's name.
const ofService = "kubernetes.io/service-name"

// path is where the slices of the namespace are.
const path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

// Start starts a server.
func Start() (*Server, error) {
	s := &Server{version: 100, first: 100, changed: make(chan struct{}), slices: make(map[string]slice)}
	s.Handler = s
	return s, s.Start()
}

// Break makes it answer an error page of status 200, until it is called with false.
func (s *Server) Break(broken bool) {
	s.mu.Lock()
	s.broken = broken
	s.mu.Unlock()
	s.Cut()
}

// SetToken makes token what each request must have.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// Bookmark sends those who watch an event that only says how far they have come.
func (s *Server) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	object := map[string]any{"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "endpoints": nil}
	s.events = append(s.events, event{s.version, "shop", "BOOKMARK", object})
	s.wake()
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

// Put makes a slice of this name, of the Service shop, have endpoints, which are JSON, at a port called "http". An
// empty text deletes it.
func (s *Server) Put(name string, port int, endpoints string) {
	s.PutOf(map[string]string{ofService: "shop"}, name, port, endpoints)
}

// PutOf is Put for a slice that has these labels.
func (s *Server) PutOf(labels map[string]string, name string, port int, endpoints string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	kind := "MODIFIED"
	if s.slices[name].object == nil {
		kind = "ADDED"
	}
	object := map[string]any{
		"metadata":    map[string]any{"name": name, "resourceVersion": strconv.Itoa(s.version), "labels": labels},
		"addressType": "IPv4",
		"endpoints":   json.RawMessage("[" + endpoints + "]"),
		"ports":       []any{map[string]any{"name": "http", "port": port, "protocol": "TCP"}},
	}
	if endpoints == "" {
		kind = "DELETED"
		delete(s.slices, name)
	} else {
		s.slices[name] = slice{labels[ofService], object}
	}
	s.events = append(s.events, event{s.version, labels[ofService], kind, object})
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
	case s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path != path || !strings.HasPrefix(r.FormValue("labelSelector"), ofService):
		w.WriteHeader(http.StatusNotFound)
	case r.FormValue("watch") == "true":
		s.watch(w, r)
	default:
		items := []any{}
		for _, item := range s.slices {
			if selected(r, item.service) {
				items = append(items, item.object)
			}
		}
		json.NewEncoder(w).Encode(map[string]any{"kind": "EndpointSliceList", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items})
	}
}

// selected says whether a request asks for the slices of a service.
func selected(r *http.Request, service string) bool {
	selector := r.FormValue("labelSelector")
	return selector == ofService || selector == ofService+"="+service
}

// watch sends events. s.mu is held.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.FormValue("resourceVersion"))
	w.WriteHeader(http.StatusOK)
	for {
		if from < s.first {
			json.NewEncoder(w).Encode(event{0, "", "ERROR", map[string]any{"kind": "Status", "code": http.StatusGone, "message": "too old resource version"}})
			return
		}
		for _, e := range s.events {
			if e.version <= from {
				continue
			}
			if from = e.version; selected(r, e.service) {
				json.NewEncoder(w).Encode(e)
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
