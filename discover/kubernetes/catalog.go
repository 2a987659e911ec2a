package kubernetes

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"weir/discover"
)

// catalog finds the ready endpoints of all Services of a namespace that have a port.
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

// Run reports the endpoints of all services.
func (c *catalog) Run(ctx context.Context, report func([]discover.Entry)) error {
	return c.follow(ctx, func(all map[string]slice) error {
		list := []discover.Entry{}
		var bad []error
		for _, name := range slices.Sorted(maps.Keys(all)) {
			labels := all[name].Metadata.Labels
			service, version := labels[ofService], ""
			if c.label != "" {
				version = labels[c.label]
			}
			if err := discover.CheckService(service, version); err != nil {
				bad = append(bad, err)
				continue
			}
			port, ok := c.portOf(all[name])
			if !ok {
				continue // a Service for something else
			}
			list = append(list, discover.EntriesOf(service, version, c.ready(all[name], port))...)
		}
		c.complaints.Tell(bad)
		report(list)
		return nil
	})
}
