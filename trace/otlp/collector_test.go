package otlp_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"weir/config"
	"weir/internal/testkit"
	"weir/trace"
	"weir/trace/otlp"
)

// A collector that never answers delays no request. What finds no room is dropped, counted, and logged once, and the end
// of weir waits for it no longer than it must.
func TestCollectorHangs(t *testing.T) {
	t.Parallel()
	hanging, app := newReceiver(t), target(t, nil)
	hanging.answer = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		<-r.Context().Done()
		return true
	}
	s := start(t, "[tracing]\nenabled = true\nendpoint = %q\nqueue = 4\n[[routes]]\nrespond = { status = 204 }\n[[routes]]\npath = '/app'\nupstream = 'app'\n[upstreams.app]\ntargets = [%q]\n",
		hanging.URL, app.URL)
	for range 2000 {
		s.get("/")
	}
	if got := s.metric(`weir_trace_spans_total{result="dropped"}`); got == "0" || got == "" {
		t.Errorf("found %q dropped spans: want some", got)
	}
	if n := strings.Count(s.log.String(), "spans are dropped"); n != 1 {
		t.Errorf("the log says %d times that spans are dropped: %s", n, s.log.String())
	}
	s.Close()
}

// A collector that is down, and comes back.
func TestCollectorDown(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	var down atomic.Bool
	down.Store(true)
	c.answer = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		if down.Load() {
			http.Error(w, "no", http.StatusForbidden) // which is not to be tried again
		}
		return down.Load()
	}
	s := start(t, "[tracing]\nenabled = true\nendpoint = %q\n[[routes]]\nrespond = { status = 204 }\n", c.URL)
	for _, n := range []string{"1", "2"} {
		s.get("/")
		testkit.Eventually(t, "the span is counted", func() bool { return s.metric(`weir_trace_spans_total{result="failed"}`) == n })
	}
	down.Store(false)
	s.get("/")
	c.wait(1)
	testkit.Eventually(t, "the log says so", func() bool { return strings.Contains(s.log.String(), "takes spans again") })
	if n := strings.Count(s.log.String(), "does not take spans"); n != 1 || !strings.Contains(s.log.String(), "403") {
		t.Errorf("the log says %d times that the collector takes nothing: %s", n, s.log.String())
	}
}

// What waits is sent before weir ends.
func TestFlush(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	s := start(t, "[tracing]\nenabled = true\nendpoint = %q\n[[routes]]\nrespond = { status = 204 }\n", c.URL)
	for range 700 { // more than one batch
		s.get("/")
	}
	s.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 700 {
		t.Errorf("found %d spans: want 700", len(c.spans))
	}
}

// batch is one of n spans.
func batch(n int) (list []*trace.Span) {
	for range n {
		s := &trace.Span{Context: trace.Context{TraceID: trace.NewTraceID(), SpanID: trace.NewSpanID(), Sampled: true}, Name: "a\xff", Kind: trace.Internal, Start: time.Now(), End: time.Now()}
		s.Text("text", strings.Repeat("x", 200))
		s.Number("number", -7)
		s.True("truth", true)
		list = append(list, s)
	}
	return list
}

// exporter returns one for this environment: name, value, name, value.
func exporter(t *testing.T, cfg *config.Tracing, environment ...string) (trace.Exporter, error) {
	t.Helper()
	if cfg == nil {
		cfg = &config.Default().Tracing
	}
	return otlp.New(cfg, "v1", func(name string) string {
		for i := 0; i < len(environment); i += 2 {
			if environment[i] == name {
				return environment[i+1]
			}
		}
		return ""
	})
}

// The variables of OpenTelemetry say what the configuration does not.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	e, err := exporter(t, nil, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL+"/base/", "OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%20b, Other=c",
		"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "OTEL_SERVICE_NAME", "front", "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=no",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Export(t.Context(), batch(2)); err != nil {
		t.Fatal(err)
	}
	got, r := c.wait(2)[0], c.requests[0]
	if r.URL.Path != "/base/v1/traces" || r.Header.Get("X-Key") != "a b" || r.Header.Get("Other") != "c" || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("User-Agent") != "weir/v1" {
		t.Errorf("found %s %v", r.URL, r.Header)
	}
	if got.resource["service.name"] != "front" || got.resource["deployment.environment.name"] != "test" || got.resource["service.version"] != "v1" {
		t.Errorf("found %v", got.resource)
	}
	if got.Name != "a\uFFFD" {
		t.Errorf("found %q", got.Name)
	}
	got.check(t, "text", strings.Repeat("x", 200), "number", "-7", "truth", "true")

	cfg := config.Default().Tracing
	cfg.Endpoint, cfg.ServiceName, cfg.Headers = c.URL, "own", map[string]string{"Authorization": "Bearer x"}
	if e, err = exporter(t, &cfg, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1", "OTEL_SERVICE_NAME", "front", "OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Export(t.Context(), batch(1)); err != nil {
		t.Fatal(err)
	}
	if r := c.requests[1]; r.URL.Path != "/v1/traces" || r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("X-Key") != "" {
		t.Errorf("found %s %v", r.URL, r.Header)
	}
	if e, err = exporter(t, nil, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.URL+"/exactly"); err != nil {
		t.Fatal(err)
	}
	if e.Export(t.Context(), batch(1)); c.requests[2].URL.Path != "/exactly" {
		t.Errorf("found %s", c.requests[2].URL)
	}

	for _, wrong := range [][2]string{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"}, {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}, {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "nothing"}, {"OTEL_RESOURCE_ATTRIBUTES", "a=%zz"}, {"OTEL_EXPORTER_OTLP_CERTIFICATE", filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := exporter(t, nil, wrong[0], wrong[1]); err == nil {
			t.Errorf("%s=%s: found no error", wrong[0], wrong[1])
		}
	}
}

// A collector that cannot at the moment is asked again, one that does not want to is not, and what it refuses to
// keep is counted.
func TestAnswers(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	e, err := exporter(t, nil, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	c.answer = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	if _, err := e.Export(t.Context(), batch(1)); err != nil || asked.Load() != 2 {
		t.Errorf("found %v after %d requests: want success at the second", err, asked.Load())
	}
	c.wait(1)
	asked.Store(0)
	c.answer = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.WriteHeader(http.StatusBadRequest)
		asked.Add(1)
		return true
	}
	if _, err := e.Export(t.Context(), batch(1)); err == nil || asked.Load() != 1 {
		t.Errorf("found %v after %d requests: want one", err, asked.Load())
	}
	c.answer = func(w http.ResponseWriter, _ *http.Request, spans int) bool {
		answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: int64(spans - 1), ErrorMessage: "too old"}})
		if err != nil {
			t.Error(err)
		}
		w.Write(answer)
		return true
	}
	if rejected, err := e.Export(t.Context(), batch(3)); err != nil || rejected != 2 {
		t.Errorf("found %d rejected spans, %v: want 2", rejected, err)
	}
}

// A collector behind TLS is believed by the authority that the configuration names.
func TestAuthority(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	c.Close()
	c.Server = httptest.NewTLSServer(c)
	t.Cleanup(c.Server.Close)
	cfg := config.Default().Tracing
	cfg.Endpoint, cfg.CA = c.URL, filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := exporter(t, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Export(t.Context(), batch(1)); err != nil {
		t.Error(err)
	}
	cfg.CA = "collector_test.go"
	if _, err := exporter(t, &cfg); err == nil {
		t.Error("a file without certificates is taken")
	}
}
