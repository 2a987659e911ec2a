package otlp_test

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"weir/internal/testkit"
)

// receiver is a collector: it decodes what it gets with the official messages.
type receiver struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	spans    []*span
	requests []*http.Request
	// answer, if not nil, answers in place of the receiver, which takes nothing then.
	answer func(w http.ResponseWriter, r *http.Request, spans int) (answered bool)
}

// span is one that was received, with what it was about.
type span struct {
	*tracepb.Span
	resource map[string]string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.UnmarshalOptions{DiscardUnknown: false}.Unmarshal(raw, &request)
	}
	if err == nil && len(request.ProtoReflect().GetUnknown()) > 0 {
		err = fmt.Errorf("fields that OTLP does not have")
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("%s %s with %s: %v", r.Method, r.URL, r.Header.Get("Content-Type"), err)
	}
	var got []*span
	for _, about := range request.ResourceSpans {
		resource := map[string]string{}
		for _, a := range about.Resource.Attributes {
			resource[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range about.ScopeSpans {
			for _, s := range scope.Spans {
				got = append(got, &span{s, resource})
			}
		}
	}
	c.mu.Lock()
	c.requests = append(c.requests, r)
	answer := c.answer
	c.mu.Unlock()
	if answer != nil && answer(w, r, len(got)) {
		return
	}
	c.mu.Lock()
	c.spans = append(c.spans, got...)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// wait waits until there are n spans and returns them, by their starts.
func (c *receiver) wait(n int) []*span {
	c.t.Helper()
	var got []*span
	testkit.Eventually(c.t, fmt.Sprintf("the collector has %d spans", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		got = slices.Clone(c.spans)
		return len(got) >= n
	})
	if len(got) > n {
		c.t.Fatalf("found %d spans: want %d: %v", len(got), n, got)
	}
	slices.SortStableFunc(got, func(a, b *span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	return got
}

// one returns the only span that is like this.
func one(t testing.TB, spans []*span, like func(s *span) bool) *span {
	t.Helper()
	var found []*span
	for _, s := range spans {
		if like(s) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("found %d such spans: want 1 of %v", len(found), spans)
	}
	return found[0]
}

func named(name string) func(s *span) bool { return func(s *span) bool { return s.Name == name } }

func kind(k tracepb.Span_SpanKind) func(s *span) bool {
	return func(s *span) bool { return s.Kind == k }
}

const (
	server = tracepb.Span_SPAN_KIND_SERVER
	client = tracepb.Span_SPAN_KIND_CLIENT
)

func (s *span) traceID() string { return hex.EncodeToString(s.TraceId) }
func (s *span) id() string      { return hex.EncodeToString(s.SpanId) }
func (s *span) parent() string  { return hex.EncodeToString(s.ParentSpanId) }

// attribute is the value of an attribute as a text; empty without it.
func (s *span) attribute(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			switch v := a.Value; {
			case v.GetStringValue() != "":
				return v.GetStringValue()
			case v.GetBoolValue():
				return "true"
			default:
				return fmt.Sprint(v.GetIntValue())
			}
		}
	}
	return ""
}

// check compares attributes: name, value, name, value.
func (s *span) check(t testing.TB, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := s.attribute(pairs[i]); got != pairs[i+1] {
			t.Errorf("span %q: attribute %s: found %q: want %q", s.Name, pairs[i], got, pairs[i+1])
		}
	}
}
