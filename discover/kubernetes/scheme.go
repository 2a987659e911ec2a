// Package kubernetes finds endpoints of a Service in Kubernetes: "kubernetes:NAMESPACE/SERVICE:PORT". It
// lists and watches EndpointSlices over the HTTP API, with a client of its own: the official one
// would more than double the program, for two requests.
package kubernetes

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"weir/discover"
)

// folder is where a pod has its token and the authority of the API server.
const folder = "/var/run/secrets/kubernetes.io/serviceaccount/"

// Scheme is what weir can do with Kubernetes.
func Scheme() discover.Scheme {
	return discover.Scheme{Name: "kubernetes", Source: newSource, Catalog: newCatalog}
}

const (
	// ofService is the label of a slice that names its Service.
	ofService = "kubernetes.io/service-name"
	// every stands for all Services of a namespace.
	every = "*"
)

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
		reflector:  reflector{namespace: parts[1], service: parts[3], api: q.Text("api"), token: q.Secret("token_file"), tls: q.TLS()},
		choice:     choice{port: parts[5], scheme: q.OneOf("scheme", "http", "https"), zone: q.Text("zone")},
		complaints: discover.NewComplaints(o.Log, u.String()),
	}
	s.family = map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}[q.OneOf("family", "any", "ipv4", "ipv6")]
	if s.api != "" {
		if a, err := url.Parse(s.api); err != nil || a.Scheme != "http" && a.Scheme != "https" || a.Host == "" || a.User != nil {
			q.Wrong("api", "the URL of an API server, of http or https")
		}
		s.api = strings.TrimRight(s.api, "/")
	}
	return s
}

// open makes a client and returns the URL of the API server: without the option "api" it is that of the
// pod's own cluster.
func (r *reflector) open() (*http.Client, string, error) {
	api := r.api
	secure, err := r.tls.Load()
	if err != nil {
		return nil, "", err
	}
	if api == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, "", errors.New("there is no API server: weir does not run in a pod, and the URL has no option api")
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		api = "https://" + host + ":" + port
		if !r.tls.Given() {
			if secure, err = discover.ParseQuery("ca=" + folder + "ca.crt").TLS().Load(); err != nil {
				return nil, "", err
			}
		}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.ResponseHeaderTimeout = secure, answerWithin
	// API servers do not redirect: what does has no use for the token.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: stay}, api, nil
}

// authorize adds the token: that of the option, or in a pod that of its account.
func (r *reflector) authorize(request *http.Request) error {
	token := r.token
	if !token.Given() && r.api == "" {
		token = discover.ParseQuery("token_file=" + folder + "token").Secret("token_file")
	}
	text, err := token.Read()
	if err == nil && text != "" {
		request.Header.Set("Authorization", "Bearer "+text)
	}
	return err
}
