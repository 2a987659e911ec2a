package consul

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"

	"github.com/hashicorp/consul/api"

	"weir/discover"
)

// mostServices bounds a catalog: there is a blocking query for each service, and an agent takes 200
// connections from a client by default.
const mostServices = 150

// catalog finds the instances of all services that have some tags.
type catalog struct {
	source
	url string
	log *slog.Logger
}

func newCatalog(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
	c := &catalog{url: u.String(), log: o.Log}
	c.complaints = discover.NewComplaints(o.Log, c.url)
	q := discover.ParseQuery(u.RawQuery)
	if err := c.read(u, q); err != nil {
		return nil, err
	}
	c.readInstances(q)
	if c.name != "" {
		return nil, fmt.Errorf(`found the path %q: want none, because a catalog has all services`, u.Path)
	}
	return c, q.Err()
}

// Run reports the instances of all services.
func (c *catalog) Run(ctx context.Context, report func([]discover.Entry)) error {
	client, end, err := c.open()
	if err != nil {
		return err
	}
	defer end()
	log := c.log.With("catalog", c.url)
	services := discover.NewMerged(log)
	return services.RunWith(ctx, report, func(ctx context.Context) error {
		return c.query(ctx, func(o *api.QueryOptions) (*api.QueryMeta, error) {
			found, meta, err := client.Catalog().Services(o)
			if err != nil {
				return nil, err
			}
			names, err := c.choose(found)
			if err != nil {
				return nil, err
			}
			services.Set(names, func(name string) discover.Catalog {
				one := c.source
				one.name, one.complaints = name, discover.NewComplaints(log, name)
				return service{&one, client}
			})
			return meta, nil
		})
	})
}

// choose returns the names of the services that have the tags; found are the tags of each.
func (c *catalog) choose(found map[string][]string) (names []string, err error) {
	var bad []error
	for name, tags := range found {
		lacks := func(tag string) bool { return !slices.Contains(tags, tag) }
		if name == "consul" || slices.ContainsFunc(c.tags, lacks) { // the servers themselves
			continue
		}
		if err := discover.CheckService(name, ""); err != nil {
			bad = append(bad, err)
			continue
		}
		names = append(names, name)
	}
	if len(names) > mostServices {
		return nil, fmt.Errorf("found %d services: want at most %d, chosen by the option tag", len(names), mostServices)
	}
	return names, c.complaints.Judge("services", len(names), bad)
}

// service is one service of a catalog.
type service struct {
	*source
	client *api.Client
}

func (s service) Run(ctx context.Context, report func([]discover.Entry)) error {
	return s.entries(ctx, s.client, report)
}
