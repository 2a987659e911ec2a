package dns

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"weir/discover"
)

// catalogOf returns what makes a catalog of sources whose names have "{service}" and "{version}" in
// them. Name servers do not list names, so the option service says which services there are.
func catalogOf(newSource func(*url.URL, discover.SchemeOptions) (discover.Source, error)) func(*url.URL, discover.SchemeOptions) (discover.Catalog, error) {
	return func(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
		options, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return nil, fmt.Errorf("found options %q: want NAME=VALUE, joined by \"&\"", u.RawQuery)
		}
		services := options["service"]
		delete(options, "service")
		if len(services) == 0 || !strings.Contains(u.Opaque, "{service}") {
			return nil, errors.New(`found no name with "{service}", or no option service: want one such as "srv:_http._tcp.{service}.internal?service=shop&service=cart"`)
		}
		sources := make(map[string]discover.Catalog)
		for _, service := range services {
			name, version, err := discover.ParseService(service)
			if err != nil {
				return nil, err
			}
			if versioned := strings.Contains(u.Opaque, "{version}"); versioned != (version != "") {
				return nil, fmt.Errorf("found the service %q: want one with a version if the name has \"{version}\", and one without if not", service)
			}
			one := url.URL{Scheme: u.Scheme, Opaque: strings.NewReplacer("{service}", name, "{version}", version).Replace(u.Opaque), RawQuery: options.Encode()}
			source, err := newSource(&one, o)
			if err != nil {
				return nil, err
			}
			sources[one.String()] = discover.ServiceCatalog(name, version, source)
		}
		m := discover.NewMerged(o.Log)
		m.Set(slices.Collect(maps.Keys(sources)), func(name string) discover.Catalog { return sources[name] })
		return m, nil
	}
}
