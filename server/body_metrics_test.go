package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"weir/config"
	"weir/internal/testkit"
)

// measured is a weir whose route takes metrics from what passes. Its origin answers each request with
// what answer makes of it: a content type, and a body.
func measured(t *testing.T, metrics string, answer func(m *testkit.Message) (fields, body string)) *weir {
	t.Helper()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			fields, body := answer(m)
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s", fields, len(body), body))
		}
	})
	return run(t, "[[routes]]\nname = \"r\"\npath = \"/v1/models/{call}\"\nupstream = \"o\"\n%s\n[upstreams.o]\ntargets = [%q]\n", metrics, origin.URL)
}

func jsonAnswer(body string) func(*testkit.Message) (string, string) {
	return func(*testkit.Message) (string, string) { return "Content-Type: application/json; charset=utf-8", body }
}

// postJSON sends a body of JSON.
func postJSON(c *testkit.Client, path, body string) *testkit.Message {
	c.Send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body))
	return c.Response("POST")
}

// counts waits until a series has a value.
func (w *weir) counts(series, want string) {
	w.t.Helper()
	testkit.Eventually(w.t, series+" is "+want, func() bool { return w.metric(series) == want })
}

// A model server whose answers become metrics, without a change of it.
func TestMetricsOfAModelServer(t *testing.T) {
	t.Parallel()
	w := measured(t, `
[[routes.metrics]]
name = "model_predictions_total"
help = "predictions by class"
each = "predictions"
labels = { class = "json:classes.0", call = "capture:call" }
[[routes.metrics]]
name = "model_score"
type = "histogram"
buckets = [0.25, 0.5, 0.75, 1]
value = "json:predictions.#.scores.0"
[[routes.metrics]]
name = "model_instances_total"
from = "request"
value = "json:instances.#"
`, jsonAnswer(`{"predictions": [{"classes": ["cat", "dog"], "scores": [0.9, 0.1]}, {"classes": ["dog", "cat"], "scores": [0.6, 0.4]}, {"classes": ["cat", "dog"], "scores": [0.8, 0.2]}]}`))
	if got := postJSON(w.dial(), "/v1/models/pets:predict", `{"instances": [1, 2, 3]}`).Status(); got != 200 {
		t.Fatalf("status %d", got)
	}
	w.counts(`model_predictions_total{route="r",call="pets:predict",class="cat"}`, "2")
	w.counts(`model_predictions_total{route="r",call="pets:predict",class="dog"}`, "1")
	w.counts(`model_score_bucket{route="r",le="0.5"}`, "0")
	w.counts(`model_score_bucket{route="r",le="0.75"}`, "1")
	w.counts(`model_score_bucket{route="r",le="+Inf"}`, "3")
	w.counts(`model_score_sum{route="r"}`, "2.3")
	w.counts(`model_score_count{route="r"}`, "3")
	w.counts(`model_instances_total{route="r"}`, "3")
	for _, line := range []string{"# HELP model_predictions_total predictions by class\n# TYPE model_predictions_total counter\n", "# TYPE model_score histogram\n"} {
		if !strings.Contains(w.metrics(), line) {
			t.Errorf("the page lacks %q", line)
		}
	}
}

// The class with the largest score, where the model answers with scores alone.
func TestMetricsOfScores(t *testing.T) {
	t.Parallel()
	w := measured(t, `
[[routes.metrics]]
name = "predicted_total"
each = "predictions"
labels = { class = "json:@argmax" }
[[routes.metrics]]
name = "confidence"
type = "gauge"
value = "json:predictions|@max|0"
`, jsonAnswer(`{"predictions": [[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]}`))
	postJSON(w.dial(), "/v1/models/x", "{}")
	w.counts(`predicted_total{route="r",class="1"}`, "1")
	w.counts(`predicted_total{route="r",class="0"}`, "1")
	w.counts(`confidence{route="r"}`, "0.7")
}

const tokens = `
[[routes.metrics]]
name = "llm_tokens_total"
value = "json:usage.prompt_tokens"
labels = { kind = "text:prompt", model = "json:model" }
[[routes.metrics]]
name = "llm_tokens_total"
value = "json:usage.completion_tokens"
labels = { kind = "text:completion", model = "json:model" }
[[routes.metrics]]
name = "llm_chunks_total"
events = "all"
value = "1"
labels = { model = "json:model" }
`

// events is a stream of an LLM's API, which ends with an event that is no JSON.
const events = ": hello\r\n\r\ndata: {\"model\": \"m1\", \"choices\": [{\"delta\": \"a\"}], \"usage\": null}\n\n" +
	"event: chunk\ndata: {\"model\": \"m1\",\ndata: \"choices\": []}\r\n\r\n" +
	"data: {\"model\": \"m1\", \"usage\": {\"prompt_tokens\": 12, \"completion_tokens\": 34}}\n\ndata: [DONE]\n\n"

// Tokens out of the last event that has them, however the stream comes in pieces.
func TestMetricsOfAnEventStream(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 7, 64, len(events)} {
		origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked(events, n)))
		w := run(t, "[[routes]]\nname = \"r\"\nupstream = \"o\"\n%s\n[upstreams.o]\ntargets = [%q]\n", tokens, origin.URL)
		if got := postJSON(w.dial(), "/", "{}").Body; got != events {
			t.Errorf("pieces of %d bytes: the client got %q", n, got)
		}
		w.counts(`llm_tokens_total{route="r",kind="prompt",model="m1"}`, "12")
		w.counts(`llm_tokens_total{route="r",kind="completion",model="m1"}`, "34")
		w.counts(`llm_chunks_total{route="r",model="m1"}`, "3")
	}
}

// Lines of JSON, the last of which lacks its end.
func TestMetricsOfLines(t *testing.T) {
	t.Parallel()
	w := measured(t, "[[routes.metrics]]\nname = \"rows_total\"\nevents = \"all\"\nlabels = { kind = \"json:kind\" }\n", func(*testkit.Message) (string, string) {
		return "Content-Type: application/x-ndjson", "{\"kind\": \"a\"}\n\n{\"kind\": \"b\"}\n{\"kind\": \"a\"}"
	})
	w.dial().Get("/v1/models/x")
	w.counts(`rows_total{route="r",kind="a"}`, "2")
	w.counts(`rows_total{route="r",kind="b"}`, "1")
}

// Operations of GraphQL, from bodies and from queries.
func TestMetricsOfOperations(t *testing.T) {
	t.Parallel()
	w := measured(t, `
[[routes.metrics]]
name = "graphql_operations_total"
from = "request"
labels = { operation = "json:operationName" }
[[routes.metrics]]
name = "graphql_queries_total"
from = "request"
labels = { operation = "query:operationName", method = "method" }
[[routes.metrics]]
name = "answers_total"
labels = { status = "status", age = "header:X-Age" }
`, func(*testkit.Message) (string, string) { return "X-Age: old", "{}" })
	c := w.dial()
	postJSON(c, "/v1/models/q", `{"operationName": "Users", "query": "query Users { users { id } }"}`)
	c.Get("/v1/models/q?operationName=Two%20Words&x=1")
	w.counts(`graphql_operations_total{route="r",operation="Users"}`, "1")
	w.counts(`graphql_queries_total{route="r",method="GET",operation="Two Words"}`, "1")
	w.counts(`weir_body_metrics_skipped_total{route="r",metric="graphql_queries_total",reason="missing"}`, "1")
	w.counts(`answers_total{route="r",age="old",status="200"}`, "2")
}

// Compressed bodies are decoded to be looked into, and pass as they came.
func TestMetricsOfCompressedBodies(t *testing.T) {
	t.Parallel()
	const plain = `{"rows": [{"n": 1}, {"n": 2}]}`
	pack := map[string]func() string{
		"gzip": func() string {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write([]byte(plain))
			z.Close()
			return b.String()
		},
		"br": func() string {
			var b bytes.Buffer
			z := brotli.NewWriter(&b)
			z.Write([]byte(plain))
			z.Close()
			return b.String()
		},
		"zstd": func() string {
			z, err := zstd.NewWriter(nil)
			if err != nil {
				t.Error(err)
			}
			return string(z.EncodeAll([]byte(plain), nil))
		},
	}
	w := measured(t, "[[routes.metrics]]\nname = \"rows_total\"\nvalue = \"json:rows.#\"\nlabels = { coding = \"header:Content-Encoding\" }\n", func(m *testkit.Message) (string, string) {
		coding := m.Get("X-Coding")
		body := "no such thing"
		if f := pack[coding]; f != nil {
			body = f()
		}
		return "Content-Type: application/json\r\nContent-Encoding: " + coding, body
	})
	c := w.dial()
	for _, coding := range []string{"gzip", "br", "zstd", "compress"} {
		c.Send("GET /v1/models/x HTTP/1.1\r\nHost: a.test\r\nX-Coding: " + coding + "\r\n\r\n")
		got := c.Response("GET")
		if f := pack[coding]; f != nil {
			if got.Body != f() {
				t.Errorf("%s: the client got %q", coding, got.Body)
			}
			w.counts(`rows_total{route="r",coding="`+coding+`"}`, "2")
		}
	}
	w.counts(`weir_body_metrics_skipped_total{route="r",metric="rows_total",reason="coding"}`, "1")
}

// What cannot be looked into is counted, and the client gets it as ever.
func TestMetricsOfNothing(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/v1/models/text": "Content-Type: text/plain", "/v1/models/bad": "Content-Type: application/json", "/v1/models/long": "Content-Type: application/problem+json",
		"/v1/models/other": "Content-Type: application/json", "/v1/models/negative": "Content-Type: application/json",
	}
	bodies := map[string]string{
		"/v1/models/text": `{"n": 1}`, "/v1/models/bad": `{"n": `, "/v1/models/long": `{"n": 1, "text": "` + strings.Repeat("x", 2000) + `"}`,
		"/v1/models/other": `{"m": 1}`, "/v1/models/negative": `{"n": -1}`,
	}
	w := measured(t, "[[routes.metrics]]\nname = \"n_total\"\nvalue = \"json:n\"\nmax_body = \"1KiB\"\n", func(m *testkit.Message) (string, string) {
		return answers[m.Target()], bodies[m.Target()]
	})
	c := w.dial()
	for path, body := range bodies {
		if got := c.Get(path).Body; got != body {
			t.Errorf("%s: %q", path, got)
		}
	}
	for _, reason := range []string{"not_json", "too_large", "missing", "not_a_number"} {
		w.counts(`weir_body_metrics_skipped_total{route="r",metric="n_total",reason="`+reason+`"}`, "1")
	}
	if got := w.metric(`n_total{route="r"}`); got != "" {
		t.Errorf("n_total is %s", got)
	}
}

// However many values clients send, only the most used ones have series of their own.
func TestMetricsOfManyValues(t *testing.T) {
	t.Parallel()
	w := measured(t, "[[routes.metrics]]\nname = \"n_total\"\nfrom = \"request\"\nlabels = { who = \"header:X-Who\" }\nmax_label_values = 3\n", jsonAnswer("{}"))
	c := w.dial()
	ask := func(who string) {
		c.Send("GET /v1/models/x HTTP/1.1\r\nHost: a.test\r\nX-Who: " + who + "\r\n\r\n")
		c.Response("GET")
	}
	for i := range 100 {
		ask(fmt.Sprint("once-", i))
	}
	for range 50 {
		ask("often")
	}
	w.counts(`n_total{route="r",who="often"}`, "41")
	if n := strings.Count(w.metrics(), "\nn_total{"); n != 4 {
		t.Errorf("%d series, want 3 and other:\n%s", n, w.metrics())
	}
	w.counts(`n_total{route="r",who="other"}`, "107")
}

// reloadWith puts another configuration into force.
func reloadWith(w *weir, format string, args ...any) {
	w.t.Helper()
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, format, args...))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.Reload(cfg); err != nil {
		w.t.Fatal(err)
	}
}

// Counting goes on over a reload, and ends with the metric.
func TestMetricsOverReloads(t *testing.T) {
	t.Parallel()
	const text = "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n[[routes]]\nname = \"r\"\nrespond = { body = \"x\" }\n%s"
	const rule = "[[routes.metrics]]\nname = \"n_total\"\nlabels = { status = \"status\" }\n"
	w := run(t, text, rule)
	w.dial().Get("/")
	reloadWith(w, text, "max_body = \"1KiB\"\n"+rule)
	w.dial().Get("/")
	w.counts(`n_total{route="r",status="200"}`, "2")
	reloadWith(w, text, strings.Replace(rule, "status =", "code =", 1))
	w.dial().Get("/")
	w.counts(`n_total{route="r",code="200"}`, "1")
	reloadWith(w, text, "")
	w.dial().Get("/")
	if got := w.metrics(); strings.Contains(got, "n_total{route") {
		t.Errorf("the metric is still there")
	}
}
