package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/discover"
)

// catalog finds the endpoints of all Services of a namespace that have a port.
type catalog struct {
	*source
	// label is the label of a Service that has its version; empty: there are no versions.
	label string
}

func newCatalog(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
	namespace, port, ok := strings.Cut(u.Opaque, "/"+every+":")
	parts := places.FindStringSubmatch(namespace + "/x:" + port)
	if !ok || parts == nil {
		return nil, errors.New(`found a place that has another form: want "kubernetes:NAMESPACE/*:PORT", with the name or number of a port of the pods`)
	}
	parts[3] = every
	q := discover.ParseQuery(u.RawQuery)
	c := &catalog{label: q.Text("version_label")}
	c.source = read(parts, q, u, o)
	return c, q.Err()
}

// service is a name and version.
type service struct{ name, version string }

// Run reports the endpoints of all services.
func (c *catalog) Run(ctx context.Context, report func([]discover.Entry)) error {
	return c.follow(ctx, func(all []*discoveryv1.EndpointSlice) error {
		of := make(map[service][]*discoveryv1.EndpointSlice)
		for _, one := range all {
			key := service{name: one.Labels[discoveryv1.LabelServiceName]}
			if c.label != "" {
				key.version = one.Labels[c.label]
			}
			of[key] = append(of[key], one)
		}
		list := []discover.Entry{}
		var bad []error
		for key, its := range of {
			if err := discover.CheckService(key.name, key.version); err != nil {
				bad = append(bad, err)
				continue
			}
			found, _, _ := c.endpoints(its) // slices without the port are for something else
			list = append(list, discover.EntriesOf(key.name, key.version, found)...)
		}
		slices.SortFunc(list, func(a, b discover.Entry) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.URL, b.URL))
		})
		c.complaints.Tell(bad)
		report(list)
		return nil
	})
}
