// Package kubernetes finds endpoints of a Service in Kubernetes: "kubernetes:NAMESPACE/SERVICE:PORT". It
// lists and watches EndpointSlices with client-go, the official client, of which it takes the parts
// that know no other objects.
package kubernetes

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/discover"
)

// Scheme is what weir can do with Kubernetes.
func Scheme() discover.Scheme {
	return discover.Scheme{Name: "kubernetes", Source: newSource, Catalog: newCatalog}
}

// every stands for all Services of a namespace.
const every = "*"

// places is what stands behind "kubernetes:".
var places = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)/([a-z0-9]([-a-z0-9]*[a-z0-9])?):([a-z0-9]([-a-z0-9]*[a-z0-9])?)$`)

func newSource(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
	parts := places.FindStringSubmatch(u.Opaque)
	if parts == nil {
		return nil, errors.New(`found a place that has another form: want "kubernetes:NAMESPACE/SERVICE:PORT", with the name or number of a port of the pods`)
	}
	q := discover.ParseQuery(u.RawQuery)
	s := read(parts, q, u, o)
	return s, q.Err()
}

// read makes a source of the parts that places finds and of the options in q.
func read(parts []string, q *discover.Query, u *url.URL, o discover.SchemeOptions) *source {
	s := &source{
		server:     server{namespace: parts[1], service: parts[3], api: q.Text("api"), token: q.Secret("token_file"), tls: q.TLS()},
		choice:     choice{port: parts[5], scheme: q.OneOf("scheme", "http", "https"), zone: q.Text("zone")},
		complaints: o.Complaints(u.String()),
	}
	s.family = map[string]discoveryv1.AddressType{"ipv4": discoveryv1.AddressTypeIPv4, "ipv6": discoveryv1.AddressTypeIPv6}[q.OneOf("family", "any", "ipv4", "ipv6")]
	if s.api != "" {
		if a, err := url.Parse(s.api); err != nil || a.Scheme != "http" && a.Scheme != "https" || a.Host == "" || a.User != nil {
			q.Wrong("api", "the URL of an API server, of http or https")
		}
		s.api = strings.TrimRight(s.api, "/")
	}
	return s
}
