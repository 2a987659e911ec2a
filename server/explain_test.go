package server_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/config"
	"weir/server"
)

const explained = `
[[listeners]]
name = "main"
address = "127.0.0.1:8080"
[forwarding]
trusted_proxies = ["10.0.0.0/8"]
[[routes]]
name = "user"
host = "users.com"
path = "/api/{id}"
upstream = "u"
cache = true
request_headers.remove = ["Cookie"]
[[routes]]
name = "old"
path = "/old/"
redirect.to = "/new/"
[[routes]]
name = "write"
path = "/api/"
method = ["POST", "PUT"]
header = { X-Key = "1" }
upstream = "u"
[[routes]]
name = "slow"
path = "/slow/"
query = { v = "2" }
upstream = "u"
[upstreams.u]
targets = ["http://127.0.0.1:1", { url = "http://127.0.0.1:2", priority = 1 }]
`

func explain(t *testing.T, q server.Question) *server.Explanation {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(explained))
	if err != nil {
		t.Fatal(err)
	}
	e, err := server.Explain(cfg, q)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// verdicts are what routes say, in one text.
func verdicts(e *server.Explanation) string {
	var words []string
	for _, r := range e.Routes {
		switch {
		case r.Taken:
			words = append(words, r.Route+" takes")
		case r.Misfit != "":
			words = append(words, r.Route+" "+r.Misfit)
		default:
			words = append(words, r.Route+" fits")
		}
	}
	return strings.Join(words, ", ")
}

func TestExplain(t *testing.T) {
	t.Parallel()
	check := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	e := explain(t, server.Question{
		URL: "http://users.com:8080/api/7?x=1#part", Fields: []string{"Cookie: a=b", "X-Forwarded-For: 6.6.6.6", "Accept: */*"},
		Answer: []string{"Cache-Control: max-age=60"},
	})
	check("routes", verdicts(e), "user takes, old path, write method, slow path")
	check("captures", e.Captures["id"], "7")
	check("client", e.ClientAddress, "127.0.0.1")
	check("target", e.Target, "http://127.0.0.1:1")
	check("line", e.Request.Line, "GET /api/7?x=1 HTTP/1.1")
	check("removed", strings.Join(e.Request.Removed, "; "), "Cookie: a=b; X-Forwarded-For: 6.6.6.6")
	check("added", slices.Contains(e.Request.Added, "X-Forwarded-For: 127.0.0.1"), true)
	check("kept", slices.Contains(e.Request.Added, "Accept: */*"), false)
	check("stored", slices.ContainsFunc(e.Response.Fields, func(l string) bool { return strings.Contains(l, "stored; ttl=") }), true)
	check("cause", e.Cause, "ok")

	e = explain(t, server.Question{Method: "POST", URL: "http://a.test/api/7", Fields: []string{"X-Forwarded-For: 192.0.2.9"}, From: netip.MustParseAddr("10.1.2.3")})
	check("routes", verdicts(e), "user host, old path, write header, slow path")
	check("client of a trusted proxy", e.ClientAddress, "192.0.2.9")
	check("wants", e.Routes[2].Wants, "[X-Key:1]")
	check("cause", e.Cause, "no_route")
	check("status", e.Response.Status, 404)

	e = explain(t, server.Question{URL: "http://a.test/old/x?y=1"})
	check("cause", e.Cause, "redirect")
	check("location", slices.Contains(e.Response.Fields, "Location: /new/?y=1"), true)

	e = explain(t, server.Question{URL: "http://a.test/slow/x?v=3"})
	check("routes", verdicts(e), "user host, old path, write path, slow query")

	e = explain(t, server.Question{URL: "http://a.test/a/..%2fb"})
	check("cause", e.Cause, "bad_path")
}

// A file that would leave without a copy is explained like any other answer.
func TestExplainFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "large"), make([]byte, 100<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, "[[listeners]]\naddress = \":80\"\n[[routes]]\nfiles = %q\n", folder))
	if err != nil {
		t.Fatal(err)
	}
	e, err := server.Explain(cfg, server.Question{URL: "http://a.test/large"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Cause != "file" || e.Error != "" || e.Response.Status != 200 {
		t.Errorf("%s %q %+v", e.Cause, e.Error, e.Response)
	}
}

func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("test.toml", []byte(explained))
	if err != nil {
		t.Fatal(err)
	}
	for want, q := range map[string]server.Question{
		`"A: b\r\nHost: c", which has a line end`:         {URL: "http://a.test/", Fields: []string{"A: b\r\nHost: c"}},
		`"B: c\n", which has a line end`:                  {URL: "http://a.test/", Answer: []string{"B: c\n"}},
		`/ HTTP/1.1\r\nX: y", which has a line end`:       {URL: "http://a.test/", Method: "GET / HTTP/1.1\r\nX: y"},
		`want one such as "https://www.example.org/path"`: {URL: "/api"},
		`"main"`:                              {URL: "http://a.test/", Listener: "other"},
		"cannot send":                         {URL: "http://a.test/", Fields: []string{"no colon"}},
		"a client cannot send":                {URL: "http://a.test/", Method: "GE T"},
		"want one Content-Length, of at most": {URL: "http://a.test/", Answer: []string{"Content-Length: 1", "content-length: 1"}},
	} {
		if _, err := server.Explain(cfg, q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
}

// Explanations know what happens before there is a route: a head that is larger than the listener takes, and a
// connection that is passed on.
func TestExplainBeforeRoutes(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("test.toml", []byte(`
[[listeners]]
address = "127.0.0.1:8080"
limits = { header_bytes = "1KiB" }
[[listeners]]
name = "tls"
address = "127.0.0.1:8443"
deny = ["192.0.2.0/24"]
pass_through = { "*.one.test" = "u" }
[[routes]]
respond = { status = 204 }
[upstreams.u]
targets = ["https://127.0.0.1:1"]
`))
	if err != nil {
		t.Fatal(err)
	}
	check := func(q server.Question, want string) {
		t.Helper()
		e, err := server.Explain(cfg, q)
		if err != nil {
			t.Fatal(err)
		}
		status := 0
		if e.Response != nil {
			status = e.Response.Status
		}
		equal(t, q.URL[:min(len(q.URL), 40)], fmt.Sprint(status, " ", e.Cause, " ", e.Route, " ", e.Upstream, " ", e.Target), want)
	}
	check(server.Question{URL: "http://a.test/"}, "204 fixed_response route-1  ")
	check(server.Question{URL: "http://a.test/", Fields: []string{"X-Long: " + strings.Repeat("x", 1000)}}, "431 head_too_large   ")
	check(server.Question{URL: "http://a.test/" + strings.Repeat("x", 1024)}, "414 target_too_long   ")
	check(server.Question{URL: "https://A.one.test:8443/", Listener: "tls"}, "0 passed  u https://127.0.0.1:1")
	check(server.Question{URL: "https://A.one.test:8443/"}, "0 passed  u https://127.0.0.1:1")
	check(server.Question{URL: "https://A.one.test/", Listener: "tls", From: netip.MustParseAddr("192.0.2.1")}, "0 address_denied   ")
}

// The request at the target has the version of HTTP that is spoken with it.
func TestExplainVersions(t *testing.T) {
	t.Parallel()
	check := func(target, keys, field, want string) {
		t.Helper()
		cfg, err := config.Parse("test.toml", []byte("[[listeners]]\naddress = \"127.0.0.1:8080\"\n[[routes]]\nupstream = \"u\"\n[upstreams.u]\ntargets = [\""+target+"\"]\n"+keys))
		if err != nil {
			t.Fatal(err)
		}
		e, err := server.Explain(cfg, server.Question{URL: "http://a.test/", Method: "POST", Fields: []string{field, "Content-Length: 0"}})
		if err != nil {
			t.Fatal(err)
		}
		got := e.Cause
		if e.Request != nil && got == "ok" {
			got = e.Request.Line
		}
		equal(t, target+" "+keys+" "+field, got, want)
	}
	check("http://127.0.0.1:1", "", "A: b", "POST / HTTP/1.1")
	check("http://127.0.0.1:1", "", "Content-Type: application/grpc", "POST / HTTP/2.0")
	check("https://127.0.0.1:1", "connections.protocol = \"h2\"", "A: b", "POST / HTTP/2.0")
	check("http://127.0.0.1:1", "connections.protocol = \"h1\"", "Content-Type: application/grpc", "POST / HTTP/1.1")
	check("h2c://127.0.0.1:1", "", "A: b", "POST / HTTP/2.0")
	check("demo:one", "", "Content-Type: application/grpc", "POST / HTTP/1.1")
}
