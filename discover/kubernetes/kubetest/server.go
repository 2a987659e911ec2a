// Package kubetest has a stand-in for the API server of Kubernetes, as far as EndpointSlices go: lists,
// and watches from a version on.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
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
	// refuse says which requests are refused.
	refuse func(*http.Request) *Refusal
	// lists counts answers with a list, or a part of one; parts are lists that are not at their end, by the text
	// that asks for what is left.
	lists int
	parts map[string]part
	// over is closed when watches end.
	over chan struct{}
}

// Refusal is an answer that is not what was asked for.
type Refusal struct {
	Code    int
	Message string
	// RetryAfter is a field of the answer; empty: the answer has no such field.
	RetryAfter string
}

// part is what is left of a list.
type part struct {
	version int
	items   []any
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
	s := &Server{version: 100, first: 100, changed: make(chan struct{}), over: make(chan struct{}), slices: make(map[string]slice), parts: make(map[string]part)}
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

// Refuse makes it refuse the requests for which f returns something.
func (s *Server) Refuse(f func(*http.Request) *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// Lists returns how many lists, or parts of one, it has answered with.
func (s *Server) Lists() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

// EndWatches ends all watches, as after their time.
func (s *Server) EndWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.over)
	s.over = make(chan struct{})
}

// Send sends those who watch an event as it is.
func (s *Server) Send(kind string, object any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.events = append(s.events, event{s.version, "shop", kind, object})
	s.wake()
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
	s.PutSlice(labels, name, "IPv4", fmt.Sprintf(`{"name": "http", "port": %d, "protocol": "TCP"}`, port), endpoints, endpoints == "")
}

// PutSlice makes it have a slice, or deletes one. ports and endpoints are lists in JSON, without the brackets.
func (s *Server) PutSlice(labels map[string]string, name, addressType, ports, endpoints string, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	kind := "MODIFIED"
	if s.slices[name].object == nil {
		kind = "ADDED"
	}
	object := map[string]any{
		"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
		"metadata":    map[string]any{"name": name, "resourceVersion": strconv.Itoa(s.version), "labels": labels},
		"addressType": addressType,
		"endpoints":   json.RawMessage("[" + endpoints + "]"),
		"ports":       json.RawMessage("[" + ports + "]"),
	}
	if gone {
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
	if s.refuse != nil {
		if no := s.refuse(r); no != nil {
			if no.RetryAfter != "" {
				w.Header().Set("Retry-After", no.RetryAfter)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(no.Code)
			json.NewEncoder(w).Encode(failure(no.Code, no.Message))
			return
		}
	}
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
		s.list(w, r)
	}
}

// list sends the slices, or a part of them. s.mu is held.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	left := part{version: s.version, items: []any{}}
	if asked := r.FormValue("continue"); asked != "" {
		left = s.parts[asked]
	} else {
		for _, name := range slices.Sorted(maps.Keys(s.slices)) {
			if selected(r, s.slices[name].service) {
				left.items = append(left.items, s.slices[name].object)
			}
		}
	}
	meta := map[string]any{"resourceVersion": strconv.Itoa(left.version)}
	items := left.items
	if limit, _ := strconv.Atoi(r.FormValue("limit")); limit > 0 && limit < len(items) {
		next := "part" + strconv.Itoa(len(s.parts))
		s.parts[next] = part{left.version, items[limit:]}
		items, meta["continue"] = items[:limit], next
	}
	s.lists++
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": meta, "items": items})
}

// failure is what the API server says when it refuses.
func failure(code int, message string) map[string]any {
	reason := map[int]string{http.StatusForbidden: "Forbidden", http.StatusGone: "Expired", http.StatusTooManyRequests: "TooManyRequests"}[code]
	return map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message}
}

// selected says whether a request asks for the slices of a service.
func selected(r *http.Request, service string) bool {
	selector := r.FormValue("labelSelector")
	return selector == ofService || selector == ofService+"="+service
}

// watch sends events. s.mu is held.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.FormValue("resourceVersion"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	for {
		if from < s.first {
			json.NewEncoder(w).Encode(event{0, "", "ERROR", failure(http.StatusGone, "too old resource version")})
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
		changed, over := s.changed, s.over
		s.mu.Unlock()
		ended := false
		select {
		case <-changed:
		case <-over:
			ended = true
		case <-r.Context().Done():
			ended = true
		}
		s.mu.Lock()
		if ended {
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
