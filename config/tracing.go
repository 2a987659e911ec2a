package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"weir/internal/field"
)

// Tracing makes spans of exchanges, for a collector of OpenTelemetry, and tells targets which trace
// a request is a part of (W3C Trace Context).
type Tracing struct {
	// Enabled switches tracing on. Without it what clients send in traceparent and tracestate goes to
	// targets as it came, like any other field.
	Enabled bool `toml:"enabled"`
	// Endpoint is the URL of a collector that takes OTLP over HTTP, such as "http://localhost:4318"; without a
	// path "/v1/traces" is added. Empty means what the environment says in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
	// OTEL_EXPORTER_OTLP_ENDPOINT, else "http://localhost:4318". "none" sends no spans: trace ids are still
	// in the access log and go to targets.
	Endpoint string `toml:"endpoint"`
	// Headers are fields of the requests to the collector, such as Authorization. None means what
	// OTEL_EXPORTER_OTLP_HEADERS says.
	Headers map[string]string `toml:"headers" secret:"true"`
	// CA is a PEM file of the authorities to trust for the collector; empty means
	// OTEL_EXPORTER_OTLP_CERTIFICATE, else the system's.
	CA string `toml:"ca"`
	// ServiceName is what the collector calls this weir; empty means OTEL_SERVICE_NAME, else "weir".
	ServiceName string `toml:"service_name"`
	// Sample is the share of the traces that are kept of those that begin here, or that clients ask to
	// keep, 0 to 1. What trusted proxies decided counts in its place.
	Sample float64 `toml:"sample"`
	// Accept says whose traces go on: "all", those of "trusted" proxies alone, or "none". The requests of others
	// begin new traces, with a link to the one that they named.
	Accept string `toml:"accept"`
	// Queue is how many spans may wait for the collector; what comes when they are so many is
	// dropped and counted.
	Queue int `toml:"queue"`
	// Timeout bounds one request to the collector.
	Timeout Duration `toml:"timeout"`
}

// The values of Tracing.Accept.
const (
	AcceptAll     = "all"
	AcceptTrusted = "trusted"
	AcceptNone    = "none"
)

// NoEndpoint is the value of Tracing.Endpoint that sends no spans.
const NoEndpoint = "none"

func (t *Tracing) setDefaults() {
	*t = Tracing{Sample: 1, Accept: AcceptAll, Queue: 4096, Timeout: Duration(10 * time.Second)}
}

func (t *Tracing) validate(at keyPath) {
	at.upTo("sample", t.Sample, 1)
	at.oneOf("accept", t.Accept, AcceptAll, AcceptTrusted, AcceptNone)
	at.between("queue", t.Queue, 1, 1_000_000)
	at.positive("timeout", t.Timeout)
	if t.Endpoint != "" && t.Endpoint != NoEndpoint {
		if err := CheckCollector(t.Endpoint); err != nil {
			at.wrong("endpoint", strconv.Quote(t.Endpoint), err.Error())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		if !field.IsToken(name) {
			at.key("headers").wrong("", strconv.Quote(name), "the name of a field")
		}
	}
	if t.CA != "" {
		at.file("ca", t.CA)
	}
}

// CheckCollector returns what is wanted in place of the URL of a collector; nil if it is one.
func CheckCollector(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf(`"none", or a URL of http or https without user, query and fragment, such as "http://localhost:4318"`)
	}
	return nil
}
