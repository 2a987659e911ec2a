package inspect_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir/admin"
	"weir/config"
	"weir/internal/testkit"
)

// What is recorded comes to those who watch, as far as it fits their filter.
func TestWatch(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well "+r.URL.Path) }, "sample = 1", "")
	client := admin.Client{Address: config.Address(s.AdminAddr().String())}
	got := make(chan []*admin.ExchangeDetail)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- client.Watch(ctx, "path~/seen", func(list []*admin.ExchangeDetail, _ int) bool {
			got <- list
			return true
		})
	}()
	testkit.Eventually(t, "a client watches", func() bool {
		var state admin.InspectState
		s.ask("/inspect", &state)
		return state.Streams == 1
	})
	s.send("GET", s.url+"/other", "")
	s.send("GET", s.url+"/seen", "")
	list := <-got
	if len(list) != 1 || list[0].Target != "/seen" || list[0].Response.Body.Text != "well /seen" {
		t.Errorf("what was seen is %+v", list)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the end is %v", err)
	}
	testkit.Eventually(t, "no client watches any more", func() bool {
		var state admin.InspectState
		s.ask("/inspect", &state)
		return state.Streams == 0
	})
	if err := client.Watch(t.Context(), "colour=red", nil); err == nil || !strings.Contains(err.Error(), `found key "colour"`) {
		t.Errorf("a wrong filter is %v", err)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Kind", "blue")
		if r.URL.Path == "/missing" {
			w.WriteHeader(404)
		}
		io.WriteString(w, strings.Repeat("x", 100))
	}, "sample = 1", "")
	// The host is not weir's address, whose port may have the digits that a filter looks for.
	s.send("GET", s.url+"/a?q=1", "", "Host: shop.test", "X-Team: green tea")
	s.send("POST", s.url+"/missing", "needle", "Host: shop.test")
	s.only("path=/missing")
	check := func(filter string, want int) {
		t.Helper()
		if got := len(s.list(filter)); got != want {
			t.Errorf("%d exchanges fit %q, want %d", got, filter, want)
		}
	}
	for filter, want := range map[string]int{
		"": 2, "status=404": 1, "status=4xx": 1, "status=2xx|4xx": 2, "status!=404": 1, "status>=400": 1, "status<404": 1,
		"method=get": 1, "method=GET|POST": 2, "path=/a": 1, "path=/*": 2, "path=/m*g": 1, "path=/m*x": 0, "target~Q=1": 1, "target!~q": 1,
		"missing": 1, "404": 1, "route=r cause=ok": 2, "ok=true": 2, "kind=failed": 0, "out>=100": 2, "out>1KiB": 0, "in>0": 1,
		"duration<1m": 2, "duration>1m": 0, `request.x-team="green tea"`: 1, "response.X-Kind=blue": 2, "response.x-none=": 2,
		"body~NEEDLE": 1, "version=HTTP/1.1": 2, "attempts>1": 0, "upstream=o host~Shop": 2,
	} {
		check(filter, want)
	}
	for filter, want := range map[string]string{
		"statu=1": `did you mean \"status\"?`, "status=abc": "found status", "duration>1": "found duration", "duration=1s": "want one of",
		"out>x": "found size", "method>1": "want it for", `path="a`: "a quote without an end", "body=x": "the whole of a body is not kept",
	} {
		status, text := s.send("GET", s.api+"/inspect/exchanges?filter="+strings.NewReplacer(" ", "%20", ">", "%3E", `"`, "%22", "=", "%3D").Replace(filter), "")
		if status != 400 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %s", filter, status, text, want)
		}
	}
	if status, text := s.send("GET", s.api+"/inspect/exchanges?colour=red", ""); status != 400 || !strings.Contains(text, "found the parameter") {
		t.Errorf("an unknown parameter: %d %s", status, text)
	}
}

// Captured content cannot run in a browser: bodies are files, but for images that hold no programs.
func TestBodiesDoNotRun(t *testing.T) {
	t.Parallel()
	bodies := map[string][2]string{
		"/html": {"text/html", "<script>alert(1)</script>"},
		"/svg":  {"image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`},
		"/json": {"application/json", `{"a":"</script><script>alert(1)</script>"}`},
		"/fake": {"image/png", "<script>alert(1)</script>"},
		"/js":   {"text/javascript", "alert(1)"},
		"/png":  {"image/png", "\x89PNG\r\n\x1a\n\x00"},
	}
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		b := bodies[r.URL.Path]
		w.Header().Set("Content-Type", b[0])
		io.WriteString(w, b[1])
	}, "sample = 1", "")
	for path, b := range bodies {
		s.send("GET", s.url+path, "")
		d := s.only("path=" + path)
		response, err := http.Get(s.api + d.Response.Body.URL)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		h := response.Header
		if string(text) != b[1] || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
			t.Errorf("%s: %q, %v", path, text, h)
		}
		want := "application/octet-stream attachment; filename=body"
		if path == "/png" {
			want = "image/png "
		}
		if got := fmt.Sprint(h.Get("Content-Type"), " ", h.Get("Content-Disposition")); got != want {
			t.Errorf("%s is shown as %s, want %s", path, got, want)
		}
		equal(t, path+" is an image", d.Response.Body.Image, path == "/png")
	}
}
