package observe

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/head"
	"weir/proxy"
)

// observeBody shows a body to rules in pieces and returns the page of what they have counted.
func observeBody(t testing.TB, contentType, body string, piece int, tables ...config.RouteMetric) string {
	t.Helper()
	cfg := config.Default()
	cfg.Routes = []config.Route{config.DefaultRoute()}
	cfg.Routes[0].Name, cfg.Routes[0].Metrics = "r", tables
	var registry Registry
	plan := registry.Plan(cfg)
	registry.Show(plan)
	x := proxy.NewExchange()
	x.Response.StartResponse(200)
	x.Response.Set(head.ContentType, []byte(contentType))
	if c := newRecorder(x, x.Response, &plan.routes["r"].response); c != nil {
		limit := c.tapLimit()
		for p := []byte(body); len(p) > 0 && limit > 0; {
			n := min(piece, len(p), int(min(limit, 1<<30)))
			c.see(bytes.Clone(p[:n]), false)
			p, limit = p[n:], limit-int64(n)
		}
		c.done()
	}
	var page strings.Builder
	registry.WriteMetrics(&page)
	return page.String()
}

func table(change func(m *config.RouteMetric)) config.RouteMetric {
	m := config.DefaultRouteMetric()
	m.Name = "n_total"
	change(&m)
	return m
}

// What is counted does not depend on the pieces in which a body comes.
func FuzzPieces(f *testing.F) {
	tables := []config.RouteMetric{
		table(func(m *config.RouteMetric) { m.Value, m.MaxBody = "json:n", 40 }),
		table(func(m *config.RouteMetric) { m.Name, m.Value, m.Events, m.MaxBody = "all_total", "json:n", "all", 20 }),
		table(func(m *config.RouteMetric) {
			m.Name, m.Each, m.Labels = "each_total", "list", map[string]string{"v": "json:@this"}
		}),
	}
	f.Add("data: {\"n\": 1}\n\ndata: {\"n\": 2,\r\ndata: \"m\": 3}\r\n\r\n: x\n\ndata: [DONE]\n\n", uint8(0), uint8(3))
	f.Add("{\"n\": 1}\n{\"n\": 2}\n{\"n\"", uint8(1), uint8(2))
	f.Add("{\"n\": 1, \"list\": [1, \"a\", null, {}]}", uint8(2), uint8(5))
	f.Add("data: {\"n\": 1111111111111111111111111111111111111111111111111111}\n\ndata: {\"n\": 4}\n", uint8(0), uint8(1))
	f.Fuzz(func(t *testing.T, body string, kind, piece uint8) {
		types := []string{"text/event-stream", "application/x-ndjson", "application/json"}
		contentType := types[int(kind)%len(types)]
		whole := observeBody(t, contentType, body, max(len(body), 1), tables...)
		if pieces := observeBody(t, contentType, body, int(piece%16)+1, tables...); pieces != whole {
			t.Errorf("in pieces:\n%s\nwhole:\n%s", pieces, whole)
		}
	})
}

func TestSources(t *testing.T) {
	t.Parallel()
	check := func(body, value string, labels map[string]string, want string) {
		t.Helper()
		got := observeBody(t, "application/json", body, len(body), table(func(m *config.RouteMetric) { m.Value, m.Labels = value, labels }))
		if got != want {
			t.Errorf("%s of %s:\n%swant:\n%s", value, body, got, want)
		}
	}
	check(`{"a": [1, 2, 3]}`, "json:a", nil, "n_total{route=\"r\"} 6\n")
	check(`{"a": [1, 2], "b": ["x", "y"]}`, "json:a", map[string]string{"b": "json:b"}, "n_total{route=\"r\",b=\"x\"} 1\nn_total{route=\"r\",b=\"y\"} 2\n")
	check(`{"a": [1, 2, 3], "b": ["x", "y"]}`, "json:a", map[string]string{"b": "json:b"}, "weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"uneven\"} 1\n")
	check(`{"a": true, "b": "2.5"}`, "json:b", map[string]string{"a": "json:a"}, "n_total{route=\"r\",a=\"true\"} 2.5\n")
	check(`{"a": "x"}`, "json:a", nil, "weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"not_a_number\"} 1\n")
	check(`{"a": {}}`, "json:a", nil, "weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"missing\"} 1\n")
	check(`{"a": null}`, "json:a", nil, "weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"missing\"} 1\n")
	check(`{"a": []}`, "json:a", nil, "weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"missing\"} 1\n")
	// Members of all elements, found with and without a document of gjson's.
	for _, path := range []string{"json:a.b.#.n", "json:a.b.#.n|@this"} {
		check(`{"a": {"b": [{"n": 1}, {"m": 9}, {"n": 4}, 7, [{"n": 9}]]}}`, path, nil, "n_total{route=\"r\"} 5\n")
		check(`{"a": {"b": [{"n": 1}, {"n": "x"}, {"n": null}, {"n": true}]}}`, path, nil, "n_total{route=\"r\"} 2\n"+
			"weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"not_a_number\"} 2\n")
		for _, nothing := range []string{`[]`, `[1]`, `{"n": 1}`, `null`} {
			check(`{"a": {"b": `+nothing+`}}`, path, nil, "weir_body_metrics_skipped_total{route=\"r\",metric=\"n_total\",reason=\"missing\"} 1\n")
		}
	}
	check(`[[1, 5, 2], [9, 1]]`, "json:@argmax", nil, "n_total{route=\"r\"} 1\n")
	check(`[[1, 5, 2], [9, 1]]`, "json:@max", nil, "n_total{route=\"r\"} 14\n")
	check(`{"a": "q\"\\\n"}`, "1", map[string]string{"a": "json:a"}, "n_total{route=\"r\",a=\"q\\\"\\\\\\n\"} 1\n")
	check(`{"a": "`+strings.Repeat("é", 100)+`"}`, "1", map[string]string{"a": "json:a"}, "n_total{route=\"r\",a=\""+strings.Repeat("é", 64)+"\"} 1\n")
}

// Labels stay what they were when the memory of their bodies is used again.
func TestLabelsAreCopies(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Routes = []config.Route{config.DefaultRoute()}
	cfg.Routes[0].Name = "r"
	cfg.Routes[0].Metrics = []config.RouteMetric{table(func(m *config.RouteMetric) {
		m.Each, m.Labels, m.MaxLabelValues = "list", map[string]string{"class": "json:c", "kind": "json:k"}, 3
	})}
	var registry Registry
	plan := registry.Plan(cfg)
	registry.Show(plan)
	x := proxy.NewExchange()
	x.Response.StartResponse(200)
	x.Response.Set(head.ContentType, []byte("application/json"))
	body := []byte(`{"list": [{"c": "class-0", "k": "kind-0"}, {"c": "class-0", "k": "kind-9"}]}`)
	for i := range 100 {
		// Six classes want three places: some are evicted.
		for at, c := range body {
			if c >= '0' && c <= '9' {
				body[at] = byte('0' + min(i%7, 5-i/50*3))
			}
		}
		c := newRecorder(x, x.Response, &plan.routes["r"].response)
		c.see(body, true)
		c.done()
	}
	clear(body)
	var page strings.Builder
	registry.WriteMetrics(&page)
	total := 0
	for line := range strings.Lines(page.String()) {
		// n_total{route="r",class="class-0",kind="kind-0"} 12
		parts := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("\"{}, \n", r) })
		class, kind := strings.TrimPrefix(parts[4], "class-"), strings.TrimPrefix(parts[6], "kind-")
		n, err := strconv.Atoi(parts[7])
		if err != nil || class != kind || class != other && len(class) != 1 {
			t.Errorf("found %q: %v", line, err)
		}
		total += n
	}
	if total != 200 {
		t.Errorf("%d observations, want 200:\n%s", total, page.String())
	}
}

func BenchmarkObserve(b *testing.B) {
	cfg := config.Default()
	cfg.Routes = []config.Route{config.DefaultRoute()}
	cfg.Routes[0].Name = "r"
	cfg.Routes[0].Metrics = []config.RouteMetric{table(func(m *config.RouteMetric) {
		m.Value, m.Labels = "json:score", map[string]string{"class": "json:class"}
	})}
	plan := new(Registry).Plan(cfg)
	body := []byte(`{"text": "` + strings.Repeat("x", 980) + `", "class": "cat", "score": 0.5}`)
	x := proxy.NewExchange()
	x.Response.StartResponse(200)
	x.Response.Set(head.ContentType, []byte("application/json"))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		c := newRecorder(x, x.Response, &plan.routes["r"].response)
		c.see(body, true)
		c.done()
	}
}
