package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"weir/discover"
	"weir/lb"
)

// The keys of a service's metadata that say more about an endpoint.
const (
	metaVersion  = "version"
	metaScheme   = "scheme"
	metaPriority = "priority"
	metaDrain    = "drain"
)

type source struct {
	place
	tags    []string
	version string
	// scheme is that of endpoints whose metadata says none.
	scheme     string
	complaints *discover.Complaints
}

func newSource(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
	s := &source{complaints: o.Complaints(u.String())}
	q := discover.ParseQuery(u.RawQuery)
	if err := s.read(u, q); err != nil {
		return nil, err
	}
	s.readInstances(q)
	s.version = q.Text("version")
	if s.name == "" || strings.Contains(s.name, "/") {
		return nil, fmt.Errorf(`found the path %q: want "/SERVICE"`, u.Path)
	}
	return s, q.Err()
}

// readInstances reads the options about instances.
func (s *source) readInstances(q *discover.Query) {
	s.tags = q.Texts("tag")
	s.scheme = q.OneOf("scheme", "http", "https")
}

// Run reports the endpoints of the service that are not critical.
func (s *source) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	client, end, err := s.open()
	if err != nil {
		return err
	}
	defer end()
	return s.entries(ctx, client, func(found []discover.Entry) {
		list := make([]lb.Endpoint, len(found))
		for i, e := range found {
			list[i] = e.Endpoint
		}
		report(list)
	})
}

// entries reports the instances of the service that are not critical.
func (s *source) entries(ctx context.Context, client *api.Client, report func([]discover.Entry)) error {
	return s.query(ctx, func(o *api.QueryOptions) (*api.QueryMeta, error) {
		found, meta, err := client.Health().ServiceMultipleTags(s.name, s.tags, false, o)
		if err != nil {
			return nil, err
		}
		list, bad := s.usable(found)
		if err := s.complaints.Judge("endpoints", len(list), bad); err != nil {
			return nil, err
		}
		report(list)
		return meta, nil
	})
}

// usable returns what can be used.
func (s *source) usable(found []*api.ServiceEntry) (list []discover.Entry, bad []error) {
	list = []discover.Entry{}
	for _, f := range found {
		if f.Service == nil || f.Node == nil {
			bad = append(bad, errors.New("found an entry without a service or a node"))
			continue
		}
		if s.version != "" && f.Service.Meta[metaVersion] != s.version {
			continue
		}
		weight := f.Service.Weights.Passing
		switch f.Checks.AggregatedStatus() {
		case api.HealthPassing:
		case api.HealthWarning:
			weight = f.Service.Weights.Warning
		default:
			continue
		}
		e, err := s.endpoint(f, weight)
		if err != nil {
			bad = append(bad, fmt.Errorf("service %q: %w", f.Service.ID, err))
			continue
		}
		list = append(list, discover.Entry{Name: s.name, Version: f.Service.Meta[metaVersion], Endpoint: e})
	}
	return list, bad
}

func (s *source) endpoint(f *api.ServiceEntry, weight int) (lb.Endpoint, error) {
	host, meta, scheme := f.Service.Address, f.Service.Meta, s.scheme
	if host == "" {
		host = f.Node.Address
	}
	if f.Service.Port < 1 || host == "" {
		return lb.Endpoint{}, fmt.Errorf("found address %q and port %d: want both", host, f.Service.Port)
	}
	if meta[metaScheme] != "" {
		scheme = meta[metaScheme]
	}
	e := lb.Endpoint{
		URL:    scheme + "://" + net.JoinHostPort(host, strconv.Itoa(f.Service.Port)),
		Weight: max(weight, 1),
		Drain:  weight == 0 || meta[metaDrain] == "true",
	}
	if text := meta[metaPriority]; text != "" {
		n, err := strconv.ParseUint(text, 10, 4)
		if err != nil {
			return e, fmt.Errorf("found priority %q in its metadata: want 0 to 15", text)
		}
		e.Priority = int(n)
	}
	return e, nil
}

type documents struct{ place }

func newDocuments(u *url.URL, _ discover.SchemeOptions) (discover.Documents, error) {
	d := &documents{}
	q := discover.ParseQuery(u.RawQuery)
	if err := d.read(u, q); err != nil {
		return nil, err
	}
	if d.name == "" {
		return nil, errors.New(`found no path: want "consul://HOST:PORT/KEY"`)
	}
	return d, q.Err()
}

// Run reports what the key, and the keys below it, have.
func (d *documents) Run(ctx context.Context, report func(int64, []discover.Document)) error {
	client, end, err := d.open()
	if err != nil {
		return err
	}
	defer end()
	return d.query(ctx, func(o *api.QueryOptions) (*api.QueryMeta, error) {
		pairs, meta, err := client.KV().List(d.name, o)
		if err != nil {
			return nil, err
		}
		var list []discover.Document
		for _, kv := range pairs {
			if kv.Key == d.name || strings.HasPrefix(kv.Key, d.name+"/") && !strings.HasSuffix(kv.Key, "/") {
				list = append(list, discover.Document{Name: "consul:" + kv.Key, Text: kv.Value})
			}
		}
		report(int64(meta.LastIndex), list)
		return meta, nil
	})
}
