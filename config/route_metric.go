package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"weir/internal/field"
)

// RouteMetric is a metric of the operator's own, which weir takes from the requests or the
// responses of a route as they pass. What is watched is never changed or held back.
type RouteMetric struct {
	// Name is that of the metric, such as "model_predictions_total". Several metrics may
	// have the same name if they have the same type, names of labels and buckets too.
	Name string `toml:"name"`
	// Type is "counter", "gauge" or "histogram".
	Type string `toml:"type"`
	// Help says what the metric counts.
	Help string `toml:"help"`
	// From is the message that is observed: "response" or "request".
	From string `toml:"from"`
	// Value is what one observation adds to a counter, makes a gauge, or puts into a
	// histogram: a number, or where a number stands: "json:PATH" in the body, "header:NAME",
	// "query:NAME", "capture:NAME" or "status". A list in the body gives an observation for each
	// of its elements. See docs/body-metrics.md.
	Value string `toml:"value"`
	// Labels are where the values of labels stand: name to a source like those of
	// Value, "method" too, or "text:WORDS" for WORDS itself.
	Labels map[string]string `toml:"labels"`
	// Each is the path in the body of a list whose elements are observations of their own;
	// the paths of Value and Labels then begin at the element. Empty means that the whole body
	// is one observation.
	Each string `toml:"each"`
	// Events says which documents of a stream of them (server-sent events, lines of JSON) are
	// observed: "last", the last one that has the value, or "all".
	Events string `toml:"events"`
	// ContentTypes are the media types whose bodies are looked into; "*" may stand for
	// what is before or after the slash. "application/*+json" stands for all that end so.
	ContentTypes []string `toml:"content_types"`
	// MaxBody bounds the bytes of one body, or of one document of a stream, that are kept to be looked
	// into, decoded too. Longer ones are counted as skipped.
	MaxBody Size `toml:"max_body"`
	// MaxLabelValues bounds the values of each label: the most used ones have series of
	// their own, all others are one, "other". 1 to 1000.
	MaxLabelValues int `toml:"max_label_values"`
	// Buckets are the upper ends of a histogram's buckets, in ascending order.
	Buckets []float64 `toml:"buckets"`
}

func (m *RouteMetric) setDefaults() {
	*m = RouteMetric{
		Type: "counter", From: "response", Value: "1", Events: "last",
		ContentTypes: []string{"application/json", "application/*+json", "application/x-ndjson", "text/event-stream"},
		MaxBody:      256 << 10, MaxLabelValues: 50,
		Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
	}
}

// DefaultRouteMetric returns a metric with the default of every key; it needs a name.
func DefaultRouteMetric() RouteMetric { return *fresh[RouteMetric]() }

// MetricSource is where a value or a label of a RouteMetric comes from.
type MetricSource struct {
	// Kind is one of "number" and "text" (Arg itself), "json", "header", "query", "capture",
	// "status" and "method".
	Kind string
	// Arg is a number, a text, a path, or a name.
	Arg string
}

// wantMetricSource says what a source may be.
const wantMetricSource = `"json:PATH", "header:NAME", "query:NAME", "capture:NAME", "status"`

// ParseValue parses what a value may be.
func (m *RouteMetric) ParseValue() (MetricSource, error) {
	if n, err := strconv.ParseFloat(m.Value, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		if notFinite(n) || n < 0 && m.Type == "counter" {
			return MetricSource{}, errors.New("a finite number, which is not negative for a counter")
		}
		return MetricSource{"number", m.Value}, nil
	}
	s, ok := parseMetricSource(m.Value)
	if !ok || s.Kind == "text" || s.Kind == "method" {
		return s, fmt.Errorf("a number, %s", wantMetricSource)
	}
	return s, nil
}

// ParseLabel parses what a label may be.
func (m *RouteMetric) ParseLabel(name string) (MetricSource, error) {
	s, ok := parseMetricSource(m.Labels[name])
	if !ok {
		return s, fmt.Errorf(`%s, "method" or "text:WORDS"`, wantMetricSource)
	}
	return s, nil
}

func parseMetricSource(text string) (s MetricSource, ok bool) {
	s.Kind, s.Arg, ok = strings.Cut(text, ":")
	switch s.Kind {
	case "status", "method":
		return s, !ok
	case "header":
		return s, field.IsToken(s.Arg)
	case "json", "query", "capture":
		return s, s.Arg != ""
	case "text":
		return s, ok
	}
	return s, false
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	mediaRange = regexp.MustCompile(`^(\*|[!#$%&'+.^_|~0-9A-Za-z-]+)/(\*|(\*\+)?[!#$%&'+.^_|~0-9A-Za-z-]+)$`)
)

// ownMetrics are how metrics begin that are not the operator's.
var ownMetrics = []string{"weir_", "go_", "process_"}

func (m *RouteMetric) validate(at keyPath) {
	at.needs("name", m.Name, `the name of a metric, such as "model_predictions_total"`)
	own := slices.ContainsFunc(ownMetrics, func(start string) bool { return strings.HasPrefix(m.Name, start) })
	if m.Name != "" && (!metricName.MatchString(m.Name) || own) {
		at.wrong("name", strconv.Quote(m.Name), `letters, digits and "_", without a digit in front, and not beginning with "`+strings.Join(ownMetrics, `", "`)+`"`)
	}
	at.oneOf("type", m.Type, "counter", "gauge", "histogram")
	at.oneOf("from", m.From, "response", "request")
	at.oneOf("events", m.Events, "last", "all")
	at.between("max_label_values", m.MaxLabelValues, 1, 1000)
	at.bytes("max_body", m.MaxBody, 1, 16<<20)
	if s, err := m.ParseValue(); err != nil {
		at.wrong("value", strconv.Quote(m.Value), err.Error())
	} else {
		m.validateSource(at, "value", s)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Labels)) {
		at := at.key("labels")
		if !labelName.MatchString(name) || strings.HasPrefix(name, "__") || name == "route" || name == "le" {
			at.wrong(name, strconv.Quote(name), `letters, digits and "_", without a digit or "__" in front, and neither "route" nor "le", which weir sets`)
		}
		if s, err := m.ParseLabel(name); err != nil {
			at.wrong(name, strconv.Quote(m.Labels[name]), err.Error())
		} else {
			m.validateSource(at, name, s)
		}
	}
	for i, text := range m.ContentTypes {
		if !mediaRange.MatchString(text) {
			at.key("content_types").index(i).wrong("", strconv.Quote(text), `a media type such as "application/json" or "text/*"`)
		}
	}
	if m.Type == "histogram" && (len(m.Buckets) == 0 || slices.ContainsFunc(m.Buckets, notFinite) || !slices.IsSorted(m.Buckets) || len(slices.Compact(slices.Clone(m.Buckets))) < len(m.Buckets)) {
		at.wrong("buckets", fmt.Sprint(m.Buckets), "at least one finite number, each larger than the one before")
	}
}

func notFinite(n float64) bool { return math.IsNaN(n) || math.IsInf(n, 0) }

// validateSource reports a source that the message which is observed does not have.
func (m *RouteMetric) validateSource(at keyPath, key string, s MetricSource) {
	if s.Kind == "status" && m.From == "request" {
		at.wrong(key, `"status"`, `another source, or from = "response"`)
	}
}

// validateMetrics reports captures that the route does not have, and metrics that differ from
// earlier ones of the same name.
func (r *Route) validateMetrics(at keyPath, pattern Pattern) {
	for i := range r.Metrics {
		m, at := &r.Metrics[i], at.key("metrics").index(i)
		sources := map[string]string{"value": m.Value}
		for name, text := range m.Labels {
			sources["labels."+name] = text
		}
		for _, key := range slices.Sorted(maps.Keys(sources)) {
			name, ok := strings.CutPrefix(sources[key], "capture:")
			if available := pattern.captures(); ok && name != "" && !slices.Contains(available, name) {
				at.unknown(key, strconv.Quote(name), "a capture that every path of the route has: "+OneOf(available), Nearest(name, available))
			}
		}
		shape := metricShape{at: at.path, what: fmt.Sprint(m.Type, slices.Sorted(maps.Keys(m.Labels)))}
		if m.Type == "histogram" {
			shape.what += fmt.Sprint(m.Buckets)
		}
		if first, again := at.check.metrics[m.Name]; again && first.what != shape.what {
			at.wrong("name", strconv.Quote(m.Name), "the type, names of labels and buckets of "+first.at+", or another name")
		} else if !again {
			at.check.metrics[m.Name] = shape
		}
	}
}

// metricShape is what all metrics of a name have in common, and the key of the first.
type metricShape struct{ at, what string }
