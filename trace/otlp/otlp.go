// Package otlp sends spans to a collector of OpenTelemetry, by OTLP over HTTP with protobuf messages
// (https://opentelemetry.io/docs/specs/otlp/). It writes the messages itself: the official exporter
// brings gRPC and its reflection, which doubles the size of the program. Tests read what
// it writes with the official messages.
package otlp

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"weir/config"
	"weir/trace"
)

const (
	// tracesPath is where collectors take traces.
	tracesPath = "/v1/traces"
	// defaultEndpoint is where a collector of the same machine listens.
	defaultEndpoint = "http://localhost:4318"
	// maxResponse bounds what is read of a response.
	maxResponse = 64 << 10
	// tries is how often a batch is sent at most; firstPause comes after the first time and grows.
	tries      = 5
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
)

// exporter implements trace.Exporter.
type exporter struct {
	url      string
	headers  http.Header
	client   *http.Client
	timeout  time.Duration
	gzip     bool
	resource []trace.Attribute
	version  string
	request  []byte
	body     bytes.Buffer
	// pause is firstPause; for tests.
	pause time.Duration
}

// New returns an exporter for the collector that cfg names. What cfg leaves empty, the environment says: getenv
// is os.Getenv. version is that of the program. Nothing is connected.
func New(cfg *config.Tracing, version string, getenv func(string) string) (trace.Exporter, error) {
	e := &exporter{timeout: cfg.Timeout.D(), version: version, headers: make(http.Header), pause: firstPause}
	var err error
	if e.url, err = endpoint(cfg, getenv); err != nil {
		return nil, err
	}
	if err := e.setHeaders(cfg, getenv); err != nil {
		return nil, err
	}
	protocol, variable := either(getenv, "PROTOCOL")
	if protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf(`environment variable %s: found %q: want "http/protobuf", the only one that weir speaks`, variable, protocol)
	}
	switch c, variable := either(getenv, "COMPRESSION"); c {
	case "gzip":
		e.gzip = true
	case "", "none":
	default:
		return nil, fmt.Errorf(`environment variable %s: found %q: want "gzip" or "none"`, variable, c)
	}
	if err := e.setResource(cfg, getenv); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 1
	certificate, _ := either(getenv, "CERTIFICATE")
	if ca := cmp.Or(cfg.CA, certificate); ca != "" {
		pool, err := config.LoadAuthorities(ca)
		if err != nil {
			return nil, fmt.Errorf("cannot use the collector's authorities: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	e.client = &http.Client{
		Transport: transport,
		// A redirected POST would become a GET, and headers may be secrets.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

// The beginnings of variables for traces alone, and for all signals.
const (
	forTraces = "OTEL_EXPORTER_OTLP_TRACES_"
	forAll    = "OTEL_EXPORTER_OTLP_"
)

// either is the value of the exporter's variable for traces alone, or else of that for all signals, and which of
// the two it is.
func either(getenv func(string) string, name string) (value, variable string) {
	if value = getenv(forTraces + name); value != "" {
		return value, forTraces + name
	}
	return getenv(forAll + name), forAll + name
}

// endpoint is the URL that spans are posted to.
func endpoint(cfg *config.Tracing, getenv func(string) string) (string, error) {
	if cfg.Endpoint != "" {
		u, err := url.Parse(cfg.Endpoint)
		if err != nil {
			return "", err
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = tracesPath
		}
		return u.String(), nil
	}
	text, variable := either(getenv, "ENDPOINT")
	text = cmp.Or(text, defaultEndpoint)
	if err := config.CheckCollector(text); err != nil {
		return "", fmt.Errorf("environment variable %s: found %q: want %w", variable, text, err)
	}
	if strings.TrimSuffix(variable, "ENDPOINT") == forAll { // it is what paths of signals are added to
		text = strings.TrimSuffix(text, "/") + tracesPath
	}
	return text, nil
}

func (e *exporter) setHeaders(cfg *config.Tracing, getenv func(string) string) error {
	if len(cfg.Headers) == 0 {
		text, variable := either(getenv, "HEADERS")
		list, err := pairs(text)
		if err != nil {
			return fmt.Errorf("environment variable %s: %w", variable, err)
		}
		for _, p := range list {
			e.headers.Set(p[0], p[1])
		}
	}
	for name, value := range cfg.Headers {
		e.headers.Set(name, value)
	}
	e.headers.Set("Content-Type", "application/x-protobuf")
	e.headers.Set("User-Agent", "weir/"+cmp.Or(e.version, "devel"))
	return nil
}

// setResource notes what the spans are about.
func (e *exporter) setResource(cfg *config.Tracing, getenv func(string) string) error {
	list, err := pairs(getenv("OTEL_RESOURCE_ATTRIBUTES"))
	if err != nil {
		return fmt.Errorf("environment variable OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	known := map[string]string{"service.name": "weir", "service.version": e.version}
	known["host.name"], _ = os.Hostname()
	for _, p := range list {
		known[p[0]] = p[1]
	}
	if name := cmp.Or(cfg.ServiceName, getenv("OTEL_SERVICE_NAME")); name != "" {
		known["service.name"] = name
	}
	for key, value := range known {
		if value != "" {
			e.resource = append(e.resource, trace.Attribute{Key: key, Text: value})
		}
	}
	return nil
}

// pairs parses "name=value,name=value", the form that the variables have; values are percent-encoded. Errors show no
// values.
func pairs(text string) (list [][2]string, err error) {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, value, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		if value, err = url.PathUnescape(strings.TrimSpace(value)); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("found %q with a value that cannot be read: want name=value, with commas between", name)
		}
		list = append(list, [2]string{name, value})
	}
	return list, nil
}

// valid is text without what is no UTF-8, which messages must not have.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Export implements trace.Exporter.
func (e *exporter) Export(ctx context.Context, spans []*trace.Span) (rejected int, err error) {
	e.request = e.appendRequest(e.request[:0], spans)
	body := e.request
	if e.gzip {
		e.body.Reset()
		z := gzip.NewWriter(&e.body)
		z.Write(e.request)
		z.Close()
		body = e.body.Bytes()
	}
	pause := e.pause
	for try := 1; ; try++ {
		var again bool
		var wait time.Duration
		rejected, again, wait, err = e.post(ctx, body)
		if err == nil || !again || try == tries {
			return min(rejected, len(spans)), err
		}
		if wait == 0 {
			wait = pause/2 + rand.N(pause)
		}
		pause *= 2
		t := time.NewTimer(min(wait, maxPause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return 0, err
		}
	}
}

// post sends a request once. again says that it may be sent once more, after wait if that is more than 0.
func (e *exporter) post(ctx context.Context, body []byte) (rejected int, again bool, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return 0, false, 0, err
	}
	r.Header = e.headers.Clone()
	if e.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	response, err := e.client.Do(r)
	if err != nil {
		return 0, true, 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	switch {
	case response.StatusCode/100 == 2 && err == nil:
		return partialSuccess(answer), false, 0, nil
	case response.StatusCode/100 == 2:
		return 0, false, 0, err
	}
	switch response.StatusCode {
	case 429, 502, 503, 504:
		again = true
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = time.Duration(min(seconds, 3600)) * time.Second
		}
	}
	return 0, again, wait, errors.New("the collector answers " + response.Status)
}

// Close implements trace.Exporter.
func (e *exporter) Close() error {
	e.client.CloseIdleConnections()
	return nil
}
