package cli

import (
	"errors"
	"net/url"
	"slices"

	"weir/discover"
	"weir/discover/consul"
	"weir/discover/dns"
	"weir/discover/file"
	"weir/discover/kubernetes"
	"weir/discover/list"
	"weir/discover/zookeeper"
)

// schemes are the sources that the program has: of targets, of services and of parts of the
// configuration.
func schemes() []discover.Scheme {
	return slices.Concat(dns.Schemes(), list.Schemes(), []discover.Scheme{
		file.Scheme(), consul.Scheme(), zookeeper.Scheme(), kubernetes.Scheme(), etcdScheme(),
	})
}

// without stands for a scheme that the program is built without, because few need it and it is large.
func without(name string) discover.Scheme {
	err := errors.New("this program was built without " + name + `: want one of "make build WITH=` + name + `"`)
	return discover.Scheme{
		Name:      name,
		Source:    func(*url.URL, discover.SchemeOptions) (discover.Source, error) { return nil, err },
		Catalog:   func(*url.URL, discover.SchemeOptions) (discover.Catalog, error) { return nil, err },
		Documents: func(*url.URL, discover.SchemeOptions) (discover.Documents, error) { return nil, err },
		Registrar: func(*url.URL, discover.SchemeOptions) (discover.Registrar, error) { return nil, err },
	}
}
