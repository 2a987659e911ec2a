package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"

	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/discover"
)

// folder is where a pod has its token and the authority of the API server.
const folder = "/var/run/secrets/kubernetes.io/serviceaccount/"

// server is an API server, and the Service whose slices it is asked for.
type server struct {
	namespace, service string
	api                string // empty: that of the pod's cluster
	token              discover.Secret
	tls                discover.TLSFiles
}

// follow calls changed with all slices of the Service when they are known, and again after changes, until ctx ends or the
// API server fails.
func (s *server) follow(ctx context.Context, changed func([]*discoveryv1.EndpointSlice) error) error {
	api, token, files, err := s.account()
	if err != nil {
		return err
	}
	secure, err := files.Load()
	if err != nil {
		return err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.ResponseHeaderTimeout = secure, answerWithin
	defer t.CloseIdleConnections()
	c, err := newClient(api, s.namespace, &exchanges{t, token})
	if err != nil {
		return err
	}
	return follow(ctx, c, s.labels(), changed)
}

// labels selects the slices of the Service.
func (s *server) labels() string {
	if s.service == every {
		return discoveryv1.LabelServiceName
	}
	return discoveryv1.LabelServiceName + "=" + s.service
}

// account returns the URL of the API server and what it is asked with. Without the option "api" it is that of the pod's own
// cluster, which is asked with the token and authority of the pod's account, unless there are options for them.
func (s *server) account() (api string, token discover.Secret, files discover.TLSFiles, err error) {
	if s.api != "" {
		return s.api, s.token, s.tls, nil
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return "", token, files, errors.New("there is no API server: weir does not run in a pod, and the URL has no option api")
	}
	pod := discover.ParseQuery("ca=" + folder + "ca.crt&token_file=" + folder + "token")
	return "https://" + net.JoinHostPort(host, port), cmp.Or(s.token, pod.Secret("token_file")), cmp.Or(s.tls, pod.TLS()), nil
}

// exchanges has what client-go's requests and their answers need besides.
type exchanges struct {
	http.RoundTripper
	token discover.Secret
}

// RoundTrip adds the token, as it is in its file now. It bounds the body of the answer, which client-go reads as long as it is.
func (e *exchanges) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := e.token.Read()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "weir")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := e.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = http.MaxBytesReader(nil, answer.Body, longest)
	return answer, nil
}
