package consul

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	"weir/discover"
)

// forgetAfter is how long Consul keeps a service whose time to live has passed: it takes no less.
const forgetAfter = time.Minute

// registrar registers services with an agent, each with a check by time to live.
type registrar struct {
	place
	client *api.Client // nil until it is needed
	end    func()
	known  map[string]registered // by ID
}

// registered is what the agent was told.
type registered struct {
	discover.Entry
	ttl time.Duration
}

func newRegistrar(u *url.URL, _ discover.SchemeOptions) (discover.Registrar, error) {
	r := &registrar{known: make(map[string]registered)}
	q := discover.ParseQuery(u.RawQuery)
	if err := r.read(u, q); err != nil {
		return nil, err
	}
	if r.name != "" {
		return nil, fmt.Errorf(`found the path %q: want none, because a service is registered by its name`, u.Path)
	}
	return r, q.Err()
}

// Put passes the check of e, and registers e if the agent does not know it so.
func (r *registrar) Put(ctx context.Context, e discover.Entry, ttl time.Duration) error {
	token, err := r.connect()
	if err != nil {
		return err
	}
	q := (&api.QueryOptions{Token: token}).WithContext(ctx)
	id := idOf(e)
	if r.known[id] == (registered{e, ttl}) {
		err := r.client.Agent().UpdateTTLOpts("service:"+id, "", api.HealthPassing, q)
		var status api.StatusError
		if err == nil || !errors.As(err, &status) {
			return err
		}
		// The agent does not know the check: it has lost its memory.
	}
	service, err := serviceOf(e, ttl)
	if err != nil {
		return err
	}
	o := api.ServiceRegisterOpts{Token: token}
	if err := r.client.Agent().ServiceRegisterOpts(service, o.WithContext(ctx)); err != nil {
		return err
	}
	r.known[id] = registered{e, ttl}
	return nil
}

func serviceOf(e discover.Entry, ttl time.Duration) (*api.AgentServiceRegistration, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("found endpoint %q: want one of http or https, because Consul has addresses and ports", e.URL)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = map[string]int{"http": 80, "https": 443}[u.Scheme]
	}
	meta := map[string]string{metaScheme: u.Scheme, metaPriority: strconv.Itoa(e.Priority), metaDrain: strconv.FormatBool(e.Drain)}
	if e.Version != "" {
		meta[metaVersion] = e.Version
	}
	weight := max(e.Weight, 1)
	return &api.AgentServiceRegistration{
		ID: idOf(e), Name: e.Name, Address: u.Hostname(), Port: port, Meta: meta,
		Weights: &api.AgentWeights{Passing: weight, Warning: weight},
		Check: &api.AgentServiceCheck{
			TTL: ttl.String(), Status: api.HealthPassing, DeregisterCriticalServiceAfter: max(ttl, forgetAfter).String(),
		},
	}, nil
}

// idOf returns the ID of an entry, which is the same for the same service and URL.
func idOf(e discover.Entry) string { return url.PathEscape(discover.FormatKey(e)) }

// Withdraw removes e.
func (r *registrar) Withdraw(ctx context.Context, e discover.Entry) error {
	token, err := r.connect()
	if err != nil {
		return err
	}
	id := idOf(e)
	delete(r.known, id)
	err = r.client.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{Token: token}).WithContext(ctx))
	if status := (api.StatusError{}); errors.As(err, &status) && status.Code == 404 {
		return nil
	}
	return err
}

// Close ends the connections.
func (r *registrar) Close() error {
	if r.client != nil {
		r.end()
	}
	return nil
}

// connect makes the client, if there is none, and returns the token.
func (r *registrar) connect() (token string, err error) {
	if r.client == nil {
		if r.client, r.end, err = r.open(); err != nil {
			return "", err
		}
	}
	return r.token.Read()
}
