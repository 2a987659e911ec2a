// Package consultest has a stand-in for a Consul agent, written from the documentation of its HTTP API:
// blocking queries with indexes, health of services, registration with checks by time to live, and
// keys. Tests say what goes wrong.
package consultest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/lb"
)

// Server is an agent with a catalog of its own.
type Server struct {
	discovertest.Web
	// Token, if it is not empty, is what each request must have.
	Token string

	mu       sync.Mutex
	index    uint64
	changed  chan struct{} // closed at each change
	services map[string]*service
	keys     map[string]*api.KVPair
	broken   bool
	queries  []url.Values
}

type service struct {
	api.AgentServiceRegistration
	status  string
	expires time.Time // zero: never
	index   uint64
}

// Start starts an agent.
func Start() (*Server, error) {
	s := &Server{index: 10, changed: make(chan struct{}), services: map[string]*service{}, keys: map[string]*api.KVPair{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/catalog/services", s.catalog)
	mux.HandleFunc("GET /v1/health/service/{name}", s.health)
	mux.HandleFunc("GET /v1/kv/{key...}", s.list)
	mux.HandleFunc("PUT /v1/agent/service/register", s.register)
	mux.HandleFunc("PUT /v1/agent/service/deregister/{id}", s.deregister)
	mux.HandleFunc("PUT /v1/agent/check/update/{id}", s.update)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.isBroken():
			io.WriteString(w, "<html>nonsense</html>")
		case s.Token != "" && r.Header.Get("X-Consul-Token") != s.Token:
			http.Error(w, "Permission denied: token lacks permission", http.StatusForbidden)
		default:
			mux.ServeHTTP(w, r)
		}
	})
	return s, s.Start()
}

// Break makes it answer an error page of status 200, until it is called with false.
func (s *Server) Break(broken bool) {
	s.change(func() { s.broken = broken })
	s.Cut()
}

func (s *Server) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// Reset makes the index begin anew, as it does when servers are restored from a snapshot.
func (s *Server) Reset() {
	s.change(func() {
		s.index = 0
		for _, v := range s.services {
			v.index = 1
		}
	})
}

// Forget makes it lose all services.
func (s *Server) Forget() { s.change(func() { clear(s.services) }) }

// Queries returns the parameters of all questions so far.
func (s *Server) Queries() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Register makes it know a service of this status.
func (s *Server) Register(r api.AgentServiceRegistration, status string) {
	s.change(func() { s.services[r.ID] = &service{AgentServiceRegistration: r, status: status, index: s.index + 1} })
}

// Deregister makes it forget a service.
func (s *Server) Deregister(id string) { s.change(func() { delete(s.services, id) }) }

// Status returns the status of a service's check, or "" if there is no such service.
func (s *Server) Status(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services[id] == nil {
		return ""
	}
	return s.services[id].now()
}

// SetKey gives a key a value; an empty one removes it.
func (s *Server) SetKey(key, value string) {
	s.change(func() {
		if value == "" {
			delete(s.keys, key)
			return
		}
		s.keys[key] = &api.KVPair{Key: key, Value: []byte(value), ModifyIndex: s.index + 1}
	})
}

// change does f and answers the requests that wait for a change.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.index++
	close(s.changed)
	s.changed = make(chan struct{})
}

// block waits, as a blocking query does, and returns with s.mu held.
func (s *Server) block(r *http.Request) {
	index, _ := strconv.ParseUint(r.FormValue("index"), 10, 64)
	wait, err := time.ParseDuration(r.FormValue("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	over := time.After(wait)
	s.mu.Lock()
	s.queries = append(s.queries, r.Form)
	for index != 0 && index == s.index && !s.broken {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-over:
			s.mu.Lock()
			return
		case <-r.Context().Done():
			s.mu.Lock()
			return
		}
		s.mu.Lock()
	}
}

// answer sends v with the index. s.mu is held.
func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Consul-Index", strconv.FormatUint(s.index, 10))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	json.NewEncoder(w).Encode(v)
}

func (s *Server) catalog(w http.ResponseWriter, r *http.Request) {
	s.block(r)
	defer s.mu.Unlock()
	tags := map[string][]string{"consul": {}}
	for _, v := range s.services {
		tags[v.Name] = append(tags[v.Name], v.Tags...)
	}
	s.answer(w, tags)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	s.block(r)
	defer s.mu.Unlock()
	list := []*api.ServiceEntry{}
	for _, v := range s.services {
		lacks := func(tag string) bool { return !slices.Contains(v.Tags, tag) }
		if v.Name != r.PathValue("name") || slices.ContainsFunc(r.Form["tag"], lacks) {
			continue
		}
		weights := api.AgentWeights{Passing: 1, Warning: 1}
		if v.Weights != nil {
			weights = *v.Weights
		}
		list = append(list, &api.ServiceEntry{
			Node:    &api.Node{Node: "node", Address: "10.255.0.1"},
			Service: &api.AgentService{ID: v.ID, Service: v.Name, Tags: v.Tags, Meta: v.Meta, Address: v.Address, Port: v.Port, Weights: weights},
			Checks: api.HealthChecks{
				{CheckID: "serfHealth", Status: api.HealthPassing},
				{CheckID: "service:" + v.ID, ServiceID: v.ID, Status: v.now()},
			},
		})
	}
	slices.SortFunc(list, func(a, b *api.ServiceEntry) int { return strings.Compare(a.Service.ID, b.Service.ID) })
	s.answer(w, list)
}

func (v *service) now() string {
	if !v.expires.IsZero() && time.Now().After(v.expires) {
		return api.HealthCritical
	}
	return v.status
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	s.block(r)
	defer s.mu.Unlock()
	list := []*api.KVPair{}
	for key, kv := range s.keys {
		if strings.HasPrefix(key, r.PathValue("key")) {
			list = append(list, kv)
		}
	}
	slices.SortFunc(list, func(a, b *api.KVPair) int { return strings.Compare(a.Key, b.Key) })
	if len(list) == 0 {
		w.Header().Set("X-Consul-Index", strconv.FormatUint(s.index, 10))
		w.Header().Set("X-Consul-KnownLeader", "true")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.answer(w, list)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	var v api.AgentServiceRegistration
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil || v.Name == "" {
		http.Error(w, "Request decode failed", http.StatusBadRequest)
		return
	}
	status := api.HealthPassing
	var ttl time.Duration
	if v.Check != nil {
		status = v.Check.Status
		ttl, _ = time.ParseDuration(v.Check.TTL)
	}
	s.Register(v, status)
	s.extend(v.ID, status, ttl)
}

// extend begins a check's time anew.
func (s *Server) extend(id, status string, ttl time.Duration) {
	s.change(func() {
		v := s.services[id]
		v.status = status
		if ttl > 0 {
			v.expires = time.Now().Add(ttl)
			time.AfterFunc(ttl, func() { s.change(func() {}) })
		}
	})
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.PathValue("id"), "service:")
	s.mu.Lock()
	v := s.services[id]
	s.mu.Unlock()
	if v == nil || v.Check == nil {
		http.Error(w, fmt.Sprintf("Unknown check ID %q. Ensure that the check ID is passed, not the check name.", r.PathValue("id")), http.StatusNotFound)
		return
	}
	var body struct{ Status string }
	json.NewDecoder(r.Body).Decode(&body)
	ttl, _ := time.ParseDuration(v.Check.TTL)
	s.extend(id, body.Status, ttl)
}

func (s *Server) deregister(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	known := s.services[r.PathValue("id")] != nil
	s.mu.Unlock()
	if !known {
		http.Error(w, fmt.Sprintf("Unknown service ID %q.", r.PathValue("id")), http.StatusNotFound)
		return
	}
	s.Deregister(r.PathValue("id"))
}

// Set makes these the endpoints of the service shop.
func (s *Server) Set(list []lb.Endpoint) error {
	all := make(map[string]*service)
	for _, e := range list {
		u, err := url.Parse(e.URL)
		if err != nil {
			return err
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			return err
		}
		r := api.AgentServiceRegistration{ID: e.URL, Name: "shop", Address: u.Hostname(), Port: port, Weights: &api.AgentWeights{Passing: e.Weight, Warning: 1}}
		all[r.ID] = &service{AgentServiceRegistration: r, status: api.HealthPassing}
	}
	s.change(func() { s.services = all })
	return nil
}

// Place returns what the scheme follows.
func (s *Server) Place(scheme discover.Scheme) discovertest.Place {
	return discovertest.Place{
		URL:     func(string) string { return "consul://" + s.Addr + "/shop" },
		Schemes: []discover.Scheme{scheme},
		Set:     s.Set,
		Stop:    s.Stop,
		Start:   s.Start,
		Cut:     s.Cut,
		Break:   func() error { s.Break(true); return nil },
		Mend:    func() error { s.Break(false); return nil },
		Documents: &discovertest.Documents{
			URL: "consul://" + s.Addr + "/weir/config",
			Put: func(text string) error { s.SetKey("weir/config", text); return nil },
		},
	}
}
