package otlp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	weir "weir/server"
	"weir/trace"
	"weir/trace/otlp"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	context = "00-" + traceID + "-" + spanID + "-01"
)

// lines keeps what a log writes.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// stand is a weir that sends spans.
type stand struct {
	*weir.Server
	t           testing.TB
	url         string
	access, log lines
	client      *http.Client
}

// parse parses a configuration with a listener.
func parse(t testing.TB, format string, args ...any) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n"+format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func start(t testing.TB, format string, args ...any) *stand {
	t.Helper()
	s := &stand{t: t, client: &http.Client{Transport: &http.Transport{}}}
	var err error
	s.Server, err = weir.New(parse(t, format, args...), weir.WithAccessLogWriter(&s.access), weir.WithLog(slog.New(slog.NewTextHandler(&s.log, nil))),
		weir.WithTraceExporter(func(c *config.Tracing) (trace.Exporter, error) { return otlp.New(c, "v1", os.Getenv) }))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.url = "http://" + s.Addr("main").String()
	return s
}

// get sends a request with fields: name, value, name, value.
func (s *stand) get(path string, fields ...string) (status int, header http.Header) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	response, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Header
}

// metric is the value of a series; "" without it.
func (s *stand) metric(series string) string {
	var page bytes.Buffer
	s.WriteMetrics(&page)
	for line := range strings.Lines(page.String()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// heads are the fields of the requests that a target got.
type heads struct {
	*httptest.Server
	got chan http.Header
}

// target is one that answers by f, or with 200.
func target(t testing.TB, f http.HandlerFunc) *heads {
	h := &heads{got: make(chan http.Header, 1000)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.got <- r.Header
		if f != nil {
			f(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

const one1 = `
[tracing]
enabled = true
endpoint = %q
[[routes]]
path = "/users/{id}"
upstream = "app"
[[routes]]
name = "rest"
upstream = "app"
[upstreams.app]
targets = [%q]
`

// An exchange goes on with the trace of its request, in both versions of HTTP, and tells the target of it.
func TestExchange(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.1", "2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			collector, app := newReceiver(t), target(t, nil)
			s := start(t, one1, collector.URL, app.URL)
			if version == "2" {
				protocols := new(http.Protocols)
				protocols.SetUnencryptedHTTP2(true)
				s.client.Transport = &http.Transport{Protocols: protocols}
			}
			s.get("/users/7?token=secret", "traceparent", context, "tracestate", "a=1", "tracestate", "b=2", "User-Agent", "tester")
			spans := collector.wait(2)
			own, attempt := one(t, spans, kind(server)), one(t, spans, kind(client))
			if own.traceID() != traceID || own.parent() != spanID || attempt.traceID() != traceID || attempt.parent() != own.id() || own.TraceState != "a=1,b=2" && own.TraceState != "a=1, b=2" {
				t.Errorf("found %v and %v: want them in trace %s below %s", own, attempt, traceID, spanID)
			}
			if own.resource["service.name"] != "weir" || own.resource["service.version"] != "v1" || own.Flags&0x301 != 0x301 {
				t.Errorf("found %v, flags %x", own.resource, own.Flags)
			}
			if own.Name != "GET /users/{id}" || attempt.Name != "GET" || own.StartTimeUnixNano > attempt.StartTimeUnixNano || own.EndTimeUnixNano < attempt.EndTimeUnixNano {
				t.Errorf("found %v and %v", own, attempt)
			}
			own.check(t, "http.request.method", "GET", "http.route", "/users/{id}", "url.path", "/users/7", "url.scheme", "http", "url.query", "",
				"server.address", "127.0.0.1", "client.address", "127.0.0.1", "network.protocol.version", version, "user_agent.original", "tester",
				"http.response.status_code", "200", "weir.route", "route-1", "weir.cause", "ok", "error.type", "")
			attempt.check(t, "http.request.method", "GET", "url.full", app.URL+"/users/7", "server.address", "127.0.0.1", "weir.target", app.URL, "http.response.status_code", "200")
			if fields := <-app.got; fields.Get("traceparent") != "00-"+traceID+"-"+attempt.id()+"-01" || strings.ReplaceAll(strings.Join(fields["Tracestate"], ","), " ", "") != "a=1,b=2" {
				t.Errorf("the target got %v: want the context of the attempt", fields)
			}
			var line struct{ Trace, Span string }
			testkit.Eventually(t, "the access log has a line", func() bool {
				s.Reopen()
				var fields map[string]any
				if json.Unmarshal([]byte(s.access.String()), &fields) != nil {
					return false
				}
				line.Trace, line.Span = fmt.Sprint(fields["trace_id"]), fmt.Sprint(fields["span_id"])
				return true
			})
			if line.Trace != traceID || line.Span != own.id() {
				t.Errorf("access log: found %v", line)
			}
		})
	}
}

// Contexts that are malformed are not sent on: a new trace begins, without the tracestate.
func TestMalformed(t *testing.T) {
	t.Parallel()
	collector, app := newReceiver(t), target(t, nil)
	s := start(t, one1, collector.URL, app.URL)
	for _, fields := range [][]string{
		{},
		{"traceparent", "00-" + strings.ToUpper(traceID) + "-" + spanID + "-01"},
		{"traceparent", "ff-" + traceID + "-" + spanID + "-01"},
		{"traceparent", "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"},
		{"traceparent", "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"},
		{"traceparent", context + "-more"},
		{"traceparent", context, "traceparent", context},
		{"traceparent", "nonsense"},
	} {
		s.get("/x", append(fields, "tracestate", "a=1")...)
		got := <-app.got
		c, ok := trace.Parse([]byte(got.Get("traceparent")))
		if !ok || got.Get("traceparent")[3:35] == traceID || !c.Sampled || len(got["Traceparent"]) != 1 || got.Get("tracestate") != "" {
			t.Errorf("%v: the target got %v, %v: want a new trace without tracestate", fields, got["Traceparent"], got["Tracestate"])
		}
	}
	for state, want := range map[string]string{"a=1": "a=1", "A=1": "", "a=1,a=2": ""} {
		s.get("/x", "traceparent", "01-"+traceID+"-"+spanID+"-01-future", "tracestate", state)
		if got := <-app.got; got.Get("traceparent")[:36] != "00-"+traceID+"-" || got.Get("tracestate") != want {
			t.Errorf("%s: the target got %v, %v: want the same trace", state, got["Traceparent"], got["Tracestate"])
		}
	}
}

// Whose traces go on, and who decides which are kept.
func TestAccept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		settings      string
		flags         string
		same, sampled bool
	}{
		{`sample = 1`, "01", true, true},
		{`sample = 1`, "00", true, false},
		{`sample = 0`, "01", true, false}, // clients cannot fill the collector
		{`sample = 0` + "\n[forwarding]\ntrusted_proxies = ['127.0.0.0/8']", "01", true, true},
		{`sample = 1` + "\n[forwarding]\ntrusted_proxies = ['127.0.0.0/8']", "00", true, false},
		{`accept = "trusted"`, "00", false, true},
		{`accept = "trusted"` + "\n[forwarding]\ntrusted_proxies = ['127.0.0.0/8']", "01", true, true},
		{`accept = "none"` + "\n[forwarding]\ntrusted_proxies = ['127.0.0.0/8']", "01", false, true},
	} {
		collector, app := newReceiver(t), target(t, nil)
		s := start(t, "[[routes]]\nupstream = 'app'\n[upstreams.app]\ntargets = [%q]\n[tracing]\nenabled = true\nendpoint = %q\n%s\n", app.URL, collector.URL, test.settings)
		s.get("/", "traceparent", "00-"+traceID+"-"+spanID+"-"+test.flags, "tracestate", "a=1")
		got := <-app.got
		c, ok := trace.Parse([]byte(got.Get("traceparent")))
		if same := got.Get("traceparent")[3:35] == traceID; !ok || same != test.same || c.Sampled != test.sampled || (got.Get("tracestate") != "") != test.same {
			t.Errorf("%s, flags %s: the target got %q, %q", test.settings, test.flags, got.Get("traceparent"), got.Get("tracestate"))
		}
		s.Close() // which sends what there is
		n := 0
		if test.sampled {
			n = 2
		}
		for _, span := range collector.wait(n) {
			if linked := len(span.Links) == 1; span.Kind == server && linked == test.same {
				t.Errorf("%s: found links %v", test.settings, span.Links)
			}
		}
	}
}

// Each attempt is a span, those that failed and those of hedges too.
func TestAttempts(t *testing.T) {
	t.Parallel()
	collector := newReceiver(t)
	down := "http://" + testkit.Reserve(t)
	app := target(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(500)
		}
	})
	s := start(t, `
[tracing]
enabled = true
endpoint = %q
[[routes]]
upstream = "app"
[upstreams.app]
targets = [%q, %q]
`, collector.URL, down, app.URL)
	s.get("/")
	s.get("/") // one of the two goes to the target that is down first
	spans := collector.wait(5)
	first := one(t, spans, func(s *span) bool { return s.attribute("weir.target") == down })
	own := one(t, spans, func(s *span) bool { return s.id() == first.parent() })
	second := one(t, spans, func(s *span) bool { return s.parent() == own.id() && s != first })
	first.check(t, "weir.cause", "connect_failed", "error.type", "connect_failed", "http.request.resend_count", "")
	second.check(t, "weir.target", app.URL, "http.request.resend_count", "1", "http.response.status_code", "200")
	if first.Status.GetCode() != 2 || !strings.Contains(first.Status.GetMessage(), "refused") || own.Status.GetCode() != 0 {
		t.Errorf("found %v, %v, %v", own, first, second)
	}
	s.get("/broken")
	testkit.Eventually(t, "the failure is there", func() bool {
		collector.mu.Lock()
		defer collector.mu.Unlock()
		return slices.ContainsFunc(collector.spans, func(s *span) bool {
			return s.Kind == server && s.attribute("error.type") == "500" && s.Status.GetCode() == 2
		})
	})
}

// A hedge is a span, and so is the attempt that it was faster than.
func TestHedge(t *testing.T) {
	t.Parallel()
	collector := newReceiver(t)
	var hangs atomic.Bool
	slow := target(t, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			select {
			case <-time.After(300 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	fast := target(t, nil)
	s := start(t, `
[tracing]
enabled = true
endpoint = %q
[[routes]]
upstream = "app"
[upstreams.app]
targets = [%q, %q]
retry = { hedge = 0.5, hedge_min = "1ms", budget = 1.0 }
`, collector.URL, slow.URL, fast.URL)
	for range 200 { // there must be figures
		s.get("/")
	}
	hangs.Store(true)
	var hedge *span
	told := make(map[string]bool) // the contexts that the fast target was told of
	drain := func(h *heads) {
		for len(h.got) > 0 {
			told[(<-h.got).Get("traceparent")] = h == fast
		}
	}
	testkit.Eventually(t, "hedge and beaten attempt are there", func() bool {
		s.get("/")
		drain(slow)
		drain(fast)
		collector.mu.Lock()
		defer collector.mu.Unlock()
		beaten := slices.IndexFunc(collector.spans, func(s *span) bool {
			return s.attribute("weir.target") == slow.URL && s.attribute("weir.cause") == "hedged" && s.attribute("weir.hedge") == "" && s.attribute("error.type") == ""
		})
		i := slices.IndexFunc(collector.spans, func(s *span) bool {
			return s.attribute("weir.hedge") == "true" && s.attribute("weir.target") == fast.URL && beaten >= 0 && s.parent() == collector.spans[beaten].parent()
		})
		if i < 0 {
			return false
		}
		hedge = collector.spans[i]
		return true
	})
	hedge.check(t, "http.response.status_code", "200")
	if !told["00-"+hedge.traceID()+"-"+hedge.id()+"-01"] {
		t.Error("the fast target was not told of the hedge's context")
	}
}

// The look-up in the cache is a span; the validation in the background is in the trace of the exchange that began it.
func TestCache(t *testing.T) {
	t.Parallel()
	collector := newReceiver(t)
	app := target(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=100")
		w.Header().Set("ETag", `"a"`)
	})
	s := start(t, `
[tracing]
enabled = true
endpoint = %q
[[routes]]
upstream = "app"
cache = true
[upstreams.app]
targets = [%q]
`, collector.URL, app.URL)
	s.get("/")
	one(t, collector.wait(3), named("cache")).check(t, "weir.cache.outcome", "miss")
	s.get("/", "traceparent", context)
	spans := collector.wait(7)[3:]
	own, look := one(t, spans, kind(server)), one(t, spans, named("cache"))
	refresh, attempt := one(t, spans, named("cache refresh")), one(t, spans, kind(client))
	look.check(t, "weir.cache.outcome", "stale")
	if look.parent() != own.id() || refresh.parent() != own.id() || attempt.parent() != refresh.id() || refresh.traceID() != traceID {
		t.Errorf("found %v", spans)
	}
	if <-app.got; (<-app.got).Get("traceparent") != "00-"+traceID+"-"+attempt.id()+"-01" {
		t.Error("the target was not told of the attempt's context")
	}
}

// The wait in an upstream's queue is a span.
func TestQueue(t *testing.T) {
	t.Parallel()
	collector := newReceiver(t)
	entered, release := make(chan struct{}, 2), make(chan struct{})
	app := target(t, func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	})
	s := start(t, `
[tracing]
enabled = true
endpoint = %q
[[routes]]
upstream = "app"
[upstreams.app]
targets = [%q]
limits = { target_in_flight = 1, queue = 10 }
`, collector.URL, app.URL)
	var done sync.WaitGroup
	done.Go(func() { s.get("/first") })
	<-entered
	done.Go(func() { s.get("/second") })
	testkit.Eventually(t, "the second waits", func() bool { return s.metric(`weir_upstream_queued{upstream="app"}`) == "1" })
	close(release)
	done.Wait()
	spans := collector.wait(5)
	queue := one(t, spans, named("queue"))
	second := one(t, spans, func(s *span) bool { return s.Kind == server && s.attribute("url.path") == "/second" })
	queue.check(t, "weir.upstream", "app")
	if queue.parent() != second.id() {
		t.Errorf("found %v: want it below %v", queue, second)
	}
}

// Requests that no route takes, and those that are refused, are spans, too.
func TestRefused(t *testing.T) {
	t.Parallel()
	collector := newReceiver(t)
	s := start(t, "[tracing]\nenabled = true\nendpoint = %q\n[[routes]]\npath = '/here'\nrespond = { status = 204 }\n", collector.URL)
	s.get("/there", "traceparent", context)
	s.get("/a%00b", "traceparent", context)
	c := testkit.Dial(t, s.Addr("main"))
	c.Send("BREW / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n")
	c.Response("GET")
	spans := collector.wait(3)
	one(t, spans, func(s *span) bool { return s.attribute("weir.cause") == "no_route" }).check(t, "http.response.status_code", "404", "http.route", "")
	for _, s := range spans[:2] {
		if s.traceID() != traceID || s.Status.GetCode() != 0 {
			t.Errorf("found %v: want the client's trace and no error of the server", s)
		}
	}
}

// A reload switches tracing off and on, and to another collector.
func TestReload(t *testing.T) {
	t.Parallel()
	first, second, app := newReceiver(t), newReceiver(t), target(t, nil)
	s := start(t, one1, first.URL, app.URL)
	s.get("/")
	first.wait(2)
	if err := s.Reload(parse(t, strings.Replace(one1, "enabled = true", "enabled = false", 1), first.URL, app.URL)); err != nil {
		t.Fatal(err)
	}
	s.get("/", "traceparent", "as it came")
	<-app.got
	if got := <-app.got; got.Get("traceparent") != "as it came" {
		t.Errorf("without tracing: the target got %v: want what the client sent", got)
	}
	if err := s.Reload(parse(t, one1, second.URL, app.URL)); err != nil {
		t.Fatal(err)
	}
	s.get("/")
	second.wait(2)
	first.wait(2)
}
