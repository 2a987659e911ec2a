package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/admin"
	"weir/config"
)

// fake is a weir that remembers what it was told.
type fake struct {
	told    string
	pending []string
	fail    error
}

func (f *fake) Purge(p admin.Purge) (admin.Purged, error) {
	f.told = fmt.Sprintf("%+v", p)
	return admin.Purged{Purged: 3, Pending: f.pending}, f.fail
}

func (f *fake) Drain(upstream, target string, on bool) (admin.Target, error) {
	f.told = fmt.Sprint(upstream, " ", target, " ", on)
	return admin.Target{Name: target, State: "draining"}, f.fail
}

func (f *fake) SetWeight(upstream, target string, weight int) (admin.Target, error) {
	f.told = fmt.Sprint(upstream, " ", target, " weighs ", weight)
	return admin.Target{Name: target, Weight: weight}, f.fail
}

func (f *fake) CacheTop(by string, limit int) ([]admin.CacheEntry, error) {
	return []admin.CacheEntry{{URL: fmt.Sprint("http://h/", by, limit)}}, nil
}

func (f *fake) CacheWhy(url string) (admin.CacheWhy, error) {
	return admin.CacheWhy{URL: url, Next: "miss"}, nil
}

func (f *fake) Services() []admin.Service {
	return []admin.Service{{Name: "shop", Version: "v1", Endpoints: []admin.Endpoint{{URL: "http://a"}}}}
}

func (f *fake) Sources() []admin.Source { return []admin.Source{{Upstream: "u", Name: "dns:a"}} }

func (f *fake) Certificates() []admin.Certificate {
	return []admin.Certificate{{Name: "a.test", Listener: "l", Source: "acme", Error: "no"}}
}

func (f *fake) Register(name, version, url string, r admin.Registration) (admin.Endpoint, error) {
	f.told = fmt.Sprintf("%s %q %s %+v", name, version, url, r)
	return admin.Endpoint{URL: url}, f.fail
}

func (f *fake) Deregister(name, version, url string) error {
	f.told = fmt.Sprintf("no %s %q %s", name, version, url)
	return f.fail
}

func (f *fake) RemoveService(name, version string) error {
	f.told = fmt.Sprintf("no %s %q", name, version)
	return f.fail
}

func (f *fake) ReportFailure(name, version, url string) (admin.Endpoint, error) {
	f.told = fmt.Sprintf("failed %s %q %s", name, version, url)
	return admin.Endpoint{URL: url, Failures: 1}, f.fail
}
func (f *fake) Explain(q admin.Question) (any, error) {
	return map[string]any{"route": fmt.Sprint(q)}, f.fail
}

func (f *fake) Plan() (any, error) { return map[string]any{"changes": []string{}}, f.fail }

func (f *fake) Statistics(route *string) (admin.Statistics, error) {
	if route != nil {
		return admin.Statistics{}, errors.New("no such route")
	}
	path := func(name string, count, errors, late uint64) admin.PathStatistics {
		return admin.PathStatistics{Path: name, Figures: admin.Figures{Count: count, Errors: errors}, Late: admin.Figures{Count: late}}
	}
	return admin.Statistics{Routes: []admin.RouteStatistics{{Route: "r", Paths: []admin.PathStatistics{path("/a", 3, 0, 1), path("/b", 2, 9, 2)}}}}, nil

}

func (f *fake) CacheStats() (admin.CacheStats, error) { return admin.CacheStats{Entries: 1}, nil }

func (f *fake) History(since time.Time) admin.History {
	return admin.History{Interval: 2, Time: []float64{float64(since.UnixMilli()) / 1000}}
}

func (f *fake) Problems() []string { return []string{"a problem"} }

func (f *fake) Status() admin.Status { return admin.Status{State: "serving"} }

func (f *fake) Routes() []admin.Route { return []admin.Route{{Name: "r", Does: `upstream "u"`}} }

func (f *fake) Inspector() admin.Inspector { return nil }

func (f *fake) Replay(context.Context, admin.Replay, *admin.ExchangeDetail) (admin.Replayed, error) {
	return admin.Replayed{}, nil
}

func (f *fake) Origins(all bool) []config.Origin {
	return []config.Origin{{Key: "a", Value: strconv.FormatBool(all), From: "f:1"}}
}

func (f *fake) Config(all bool) map[string]any {
	return map[string]any{"all": all, "listeners": []map[string]any{{"address": ":80"}}}
}

func (f *fake) Upstreams() []admin.Upstream {
	return []admin.Upstream{{Name: "u", Targets: []admin.Target{{Name: "http://a"}}}}
}

func TestAPI(t *testing.T) {
	f := new(fake)
	h := admin.Handler(f, admin.Options{})
	check := func(method, path, body string, status int, want string, fields ...string) {
		t.Helper()
		f.told = "nothing"
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		for _, field := range fields {
			name, value, _ := strings.Cut(field, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s %s %.100s: %d %s, want %d %s", method, path, body, w.Code, w.Body, status, want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" && !strings.Contains(path, "toml") {
			t.Errorf("%s %s: Content-Type is %q", method, path, got)
		}
		if status >= 400 && f.told != "nothing" {
			t.Errorf("%s %s %.100s: refused, but done: %s", method, path, body, f.told)
		}
	}
	// What works.
	check("POST", "/purge", `{"all":true}`, 200, `{"purged":3}`)
	check("POST", "/purge", `{"url":"http://h/a?b","soft":true}`, 200, `{"purged":3}`)
	if want := "{URL:http://h/a?b Host: Prefix: Group: All:false Soft:true}"; f.told != want {
		t.Errorf("told %s, want %s", f.told, want)
	}
	check("POST", "/drain", `{"upstream":"u","target":"http://a","on":false}`, 200, `"state":"draining"`)
	if want := "u http://a false"; f.told != want {
		t.Errorf("told %s, want %s", f.told, want)
	}
	check("GET", "/upstreams", ``, 200, `{"upstreams":[{"name":"u","targets":[{"name":"http://a"`)
	check("HEAD", "/upstreams", ``, 200, ``)
	check("POST", "/weight", `{"upstream":"u","target":"http://a","weight":7}`, 200, `"weight":7`)
	if want := "u http://a weighs 7"; f.told != want {
		t.Errorf("told %s, want %s", f.told, want)
	}
	check("GET", "/status", ``, 200, `"state":"serving"`)
	check("GET", "/explain?url=http://a/&header=A:%20b&header=C:%20d&method=PUT&answer=E:f&from=::1&listener=l&client_cert=p", "", 200, `{"route":"{PUT http://a/ [A: b C: d] ::1 l [E:f] p}"}`)
	check("GET", "/explain?uri=x", "", 400, `{"error":"found parameter \"uri\": want one of \"method\", \"url\", \"header\", \"from\", \"listener\", \"answer\", \"client_cert\""}`)
	check("GET", "/plan", "", 200, `{"changes":[]}`)
	check("GET", "/routes", ``, 200, `{"routes":[{"name":"r","match":null,"does":"upstream \"u\"","cache":false}]}`)
	check("GET", "/statistics", ``, 200, `"paths":[{"path":"/a","count":3,`)
	check("GET", "/statistics?by=errors&limit=1", ``, 200, `"paths":[{"path":"/b","count":2,`)
	check("GET", "/statistics?order=recent", ``, 200, `"paths":[{"path":"/b","count":2,`)
	check("GET", "/statistics?by=age", ``, 400, `by: found \"age\": want one of \"count\", \"errors\"`)
	check("GET", "/statistics?order=last", ``, 400, `order: found \"last\": want \"total\" or \"recent\"`)
	check("GET", "/statistics?limit=-1", ``, 400, `limit: found \"-1\": want 1 to 10000, or 0 for all`)
	check("GET", "/statistics?route=", ``, 404, `no such route`)
	check("GET", "/config", ``, 200, `{"all":false,"listeners":[{"address":":80"}]}`)
	check("GET", "/config?format=origins&all=true", ``, 200, `{"keys":[{"key":"a","value":"true","from":"f:1"}]}`)
	check("GET", "/config?format=toml&all=true", ``, 200, "all = true\n\n[[listeners]]\naddress = \":80\"\n")
	check("GET", "/config?format=yaml", ``, 400, `format: found \"yaml\": want \"json\", \"toml\" or \"origins\"`)
	check("GET", "/config?all=1", ``, 400, `all: found \"1\": want true or false`)
	check("GET", "/config/problems", ``, 200, `{"problems":["a problem"]}`)
	check("GET", "/cache", ``, 200, `{"entries":1,`)
	check("GET", "/history?since=17.5", ``, 200, `{"interval_seconds":2,"time":[17.5],`)
	check("GET", "/history?since=yesterday", ``, 400, `since: found \"yesterday\": want a Unix time in seconds`)
	f.pending = []string{"redis"}
	check("POST", "/purge", `{"all":true}`, 202, `{"purged":3,"pending":["redis"]}`)
	f.pending = nil
	// Paths and methods.
	check("GET", "/", ``, 404, `found path \"/\": want one of \"/session\", \"/login\", \"/logout\", \"/status\"`)
	check("GET", "/cache/top?by=size", "", 400, `by: found \"size\": want \"hits\" or \"bytes\"`)
	check("GET", "/cache/top?limit=0", "", 400, `limit: found \"0\": want 1 to 1000`)
	check("GET", "/cache/why", "", 400, `url: found \"\": want http:// or https://`)
	check("POST", "/cache/why?url=http://h/", "", 405, `found method`)
	check("POST", "/purge/", `{"all":true}`, 404, `found path`)
	check("GET", "/purge", ``, 405, `found method \"GET\" for /purge: want \"POST\"`)
	check("POST", "/upstreams", ``, 405, `want \"GET\"`)
	// Bodies that are not JSON objects.
	check("POST", "/purge", ``, 400, `found a body that is no JSON object`)
	check("POST", "/purge", `null`, 400, `found a body that is no JSON object`)
	check("POST", "/purge", `{"all":true} {}`, 400, `found a body that is no JSON object`)
	check("POST", "/purge", strings.Repeat(" ", 1<<17)+`{"all":true}`, 400, `more than 65536 bytes`)
	// What would be ignored.
	check("POST", "/purge?soft=true", `{"all":true}`, 400, `found the query \"soft=true\": want none, what a POST says is in its body`)
	check("PUT", "/registry/shop/v1/a:80?ttl=1s", ``, 400, `found the query \"ttl=1s\"`)
	check("DELETE", "/registry/shop/v1/a:80?drain=true", ``, 400, `found the query`)
	check("DELETE", "/inspect/exchanges?status=500", ``, 400, `found the query`)
	// Fields.
	check("POST", "/purge", `{"All":true}`, 400, `found the field \"All\": want one of \"all\", \"group\"`)
	check("POST", "/purge", `{"prefx":"http://h/"}`, 400, `did you mean \"prefix\"?`)
	check("POST", "/purge", `{"all":"yes"}`, 400, `all: found \"yes\": want true or false`)
	check("POST", "/purge", `{"url":["http://h/"]}`, 400, `url: found [\"http://h/\"]: want a string`)
	// What is to be purged is named once, and so that it can be found.
	check("POST", "/purge", `{}`, 400, `found nothing to purge: want exactly one of`)
	check("POST", "/purge", `{"soft":true,"all":false}`, 400, `found nothing to purge`)
	check("POST", "/purge", `{"url":"http://h/","host":"h"}`, 400, `found url and host: want exactly one of`)
	check("POST", "/purge", `{"url":"/a"}`, 400, `url: found \"/a\": want http:// or https://`)
	check("POST", "/purge", `{"url":"http:///a"}`, 400, `url: found`)
	check("POST", "/purge", `{"url":"http://h/a#b"}`, 400, `url: found`)
	check("POST", "/purge", `{"prefix":"h/a"}`, 400, `prefix: found \"h/a\"`)
	check("POST", "/purge", `{"host":"http://h"}`, 400, `host: found \"http://h\": want \"host\" or \"host:port\"`)
	// Draining says what is missing.
	check("POST", "/drain", `{"target":"a","on":true}`, 400, `upstream: found nothing`)
	check("POST", "/drain", `{"upstream":"u","on":true}`, 400, `target: found nothing`)
	check("POST", "/drain", `{"upstream":"u","target":"a"}`, 400, `on: found nothing: want true or false`)
	check("POST", "/drain", `{"upstream":"u","target":"a","on":1}`, 400, `on: found 1: want true or false`)
	// So does a weight.
	check("POST", "/weight", `{"upstream":"u","weight":1}`, 400, `target: found nothing`)
	check("POST", "/weight", `{"upstream":"u","target":"a"}`, 400, `weight: found nothing: want 1 to 1000000, or 0`)
	check("POST", "/weight", `{"upstream":"u","target":"a","weight":-1}`, 400, `weight: found -1`)
	check("POST", "/weight", `{"upstream":"u","target":"a","weight":1.5}`, 400, `weight: found 1.5: want a whole number`)
	// A foreign page, in the browser of a user who can reach the API.
	check("POST", "/purge", `{"all":true}`, 403, `may not use this API`, "Origin: https://elsewhere.example")
	check("POST", "/purge", `{"all":true}`, 403, `may not use this API`, "Origin: https://example.com")
	check("POST", "/purge", `{"all":true}`, 403, `may not use this API`, "Origin: null")
	check("POST", "/purge", `{"all":true}`, 200, `{"purged":3}`, "Origin: http://example.com", "Content-Type: application/json") // the Host of httptest
}

// A browser that goes to the address gets to the page, which has its own path so that the API has all others.
func TestPage(t *testing.T) {
	h := admin.Handler(new(fake), admin.Options{})
	for path, want := range map[string]string{"/": "302 ", "/ui/": "200 text/html; charset=utf-8", "/ui/app.js": "200 text/javascript; charset=utf-8"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", "text/html,*/*;q=0.8")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := fmt.Sprint(w.Code, " ", w.Header().Get("Content-Type")); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"} {
			if !strings.Contains(policy, part) || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: policy %q", path, policy)
			}
		}
	}
}

// TestNotThere: what a request names, and is not there, is a 404 that says so.
func TestNotThere(t *testing.T) {
	h := admin.Handler(&fake{fail: errors.New("not there")}, admin.Options{})
	for path, body := range map[string]string{"/purge": `{"all":true}`, "/drain": `{"upstream":"u","target":"a","on":true}`, "/weight": `{"upstream":"u","target":"a","weight":1}`} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
		if w.Code != 404 || w.Body.String() != "{\"error\":\"not there\"}\n" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestProfiles(t *testing.T) {
	h := admin.Handler(new(fake), admin.Options{})
	check := func(method, path string, status int, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s %s: %d %.80q; want %d, %q", method, path, w.Code, w.Body, status, want)
		}
	}
	check("GET", "/debug/pprof/", 200, "goroutine")
	check("GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile: total ")
	check("GET", "/debug/pprof/profile?seconds=1", 200, "\x1f\x8b") // compressed
	check("GET", "/debug/pprof/nothing", 404, "Unknown profile")
	check("POST", "/debug/pprof/", 405, "found method")
}

func TestClient(t *testing.T) {
	check := func(h http.Handler, network, address string, n int, want string) {
		t.Helper()
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: h}
		defer s.Close()
		go s.Serve(l)
		c := admin.Client{Address: config.Address(l.Addr().String())}
		if network == "unix" {
			c.Address = "unix:" + c.Address
		}
		got, err := c.Purge(context.Background(), admin.Purge{All: true})
		if got.Purged != n || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d, %v; want %d, %q", got.Purged, err, n, want)
		}
	}
	check(admin.Handler(new(fake), admin.Options{}), "tcp", "127.0.0.1:0", 3, "")
	check(admin.Handler(&fake{pending: []string{"redis"}}, admin.Options{}), "tcp", "127.0.0.1:0", 3, "")
	check(admin.Handler(new(fake), admin.Options{}), "unix", filepath.Join(t.TempDir(), "a"), 3, "")
	check(admin.Handler(&fake{fail: errors.New("not there")}, admin.Options{}), "tcp", "127.0.0.1:0", 0, "refuses: not there")
	// Something else that listens there.
	check(http.NotFoundHandler(), "tcp", "127.0.0.1:0", 0, "which is 404 Not Found: is that the admin API?")
	check(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }), "tcp", "127.0.0.1:0", 0, "is that the admin API?")

	gone := admin.Client{Address: config.Address("unix:" + filepath.Join(t.TempDir(), "gone"))}
	if _, err := gone.Purge(context.Background(), admin.Purge{All: true}); err == nil || !strings.Contains(err.Error(), "cannot reach the admin API at \"unix:") {
		t.Errorf("%v", err)
	}
}
