package inspect_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/admin"
	"weir/internal/testkit"
	"weir/server"
)

// An exchange is kept as client and target saw it.
func TestExchange(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Inside", "1")
		w.WriteHeader(201)
		io.WriteString(w, `{"made":"yes"}`)
	}, "sample = 1", `
response_headers.remove = ["X-Inside"]
request_headers.set.X-Added = "by weir"
`)
	if status, _ := s.send("POST", s.url+"/things?n=1", `{"name":"chair"}`, "Content-Type: application/json", "X-Own: 7"); status != 201 {
		t.Fatalf("status %d", status)
	}
	d := s.only("path=/things")
	equal(t, "method", d.Method, "POST")
	equal(t, "target", d.Target, "/things?n=1")
	equal(t, "status", d.Status, 201)
	equal(t, "cause", d.Cause, "ok")
	equal(t, "kind", d.Kind, admin.KindRecent)
	equal(t, "route", d.Route, "r")
	equal(t, "upstream", d.Upstream, "o")
	equal(t, "attempts", d.Attempts, 1)
	equal(t, "complete", d.Complete, true)
	equal(t, "request line", d.Request.Line, "POST /things?n=1 HTTP/1.1")
	equal(t, "response line", d.Response.Line, "HTTP/1.1 201 Created")
	equal(t, "the client's field", field(d.Request, "X-Own"), "7")
	equal(t, "weir's field at the client's side", field(d.Request, "X-Added"), "")
	equal(t, "weir's field at the target's side", field(d.Forwarded, "X-Added"), "by weir")
	equal(t, "the target's field", field(d.Received, "X-Inside"), "1")
	equal(t, "the target's field at the client's side", field(d.Response, "X-Inside"), "")
	equal(t, "request body", d.Request.Body.Text, `{"name":"chair"}`)
	equal(t, "response body", d.Response.Body.Text, `{"made":"yes"}`)
	equal(t, "response size", d.Response.Body.Size, 14)
	equal(t, "route's reason", d.Why.Route, "the route takes everything that no more specific route takes")
	if len(d.Tries) != 1 || d.Tries[0].Cause != "ok" || d.Tries[0].Target != d.TargetURL || d.Timing.Total <= 0 || d.Timing.Total < d.Timing.FirstByte {
		t.Errorf("attempts are %+v, timing is %+v", d.Tries, d.Timing)
	}
	status, text := s.send("GET", s.api+d.Response.Body.URL, "")
	if status != 200 || text != `{"made":"yes"}` {
		t.Errorf("the body's URL answers %d %q", status, text)
	}
}

// Off by default; a route switches it on, or off.
func TestSampling(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/fail") {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(origin.Close)
	routes := `
[[routes]]
name = "on"
path = "/on/"
upstream = "o"
inspect = true
[[routes]]
name = "failures"
path = "/failures/"
upstream = "o"
inspect = { sample = 0.0 }
[[routes]]
name = "off"
path = "/"
upstream = "o"
[upstreams.o]
targets = ["` + origin.URL + `"]
`
	s := startFile(t, routes)
	for _, path := range []string{"/on/a", "/on/fail", "/failures/a", "/failures/fail", "/off/a", "/off/fail"} {
		s.send("GET", s.url+path, "")
	}
	check := func(path, kind string, complete bool) {
		t.Helper()
		d := s.only("path=" + path)
		equal(t, path+": kind", d.Kind, kind)
		equal(t, path+": complete", d.Complete, complete)
	}
	check("/on/a", admin.KindRecent, true)
	check("/on/fail", admin.KindFailed, true)
	check("/failures/fail", admin.KindFailed, false)
	if list := s.list(""); len(list) != 3 {
		t.Errorf("%d exchanges are kept, want 3: %+v", len(list), list)
	}
	if got := s.only("path=/failures/fail").Response; got == nil || got.Line != "HTTP/1.1 500 Internal Server Error" {
		t.Errorf("the response of a failure that was not sampled is %+v", got)
	}
	// A reload without it forgets everything, and says so.
	if err := s.Reload(parse(t, strings.Replace(strings.Replace(routes, "inspect = true", "", 1), "inspect = { sample = 0.0 }", "", 1))); err != nil {
		t.Fatal(err)
	}
	api := "http://" + s.AdminAddr().String()
	if status, text := s.send("GET", api+"/inspect/exchanges", ""); status != 404 || !strings.Contains(text, "nothing is recorded") {
		t.Errorf("off, the list answers %d %s", status, text)
	}
	if status, text := s.send("GET", api+"/inspect", ""); status != 200 || !strings.Contains(text, `"enabled":false`) || !strings.Contains(text, `"used":0,`) {
		t.Errorf("off, the state is %d %s", status, text)
	}
}

// Attempts are kept with their targets and the reasons of their ends.
func TestAttempts(t *testing.T) {
	t.Parallel()
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") }))
	t.Cleanup(good.Close)
	dead := testkit.Reserve(t)
	s := startFile(t, fmt.Sprintf(`
[inspect]
sample = 1
[[routes]]
upstream = "o"
[upstreams.o]
targets = [{ url = "http://%s" }, { url = %q, priority = 1 }]
`, dead, good.URL))
	s.send("GET", s.url+"/x", "")
	d := s.only("path=/x")
	equal(t, "attempts", d.Attempts, 2)
	if len(d.Tries) != 2 || d.Tries[0].Cause != "connect_failed" || !strings.Contains(d.Tries[0].Error, "refused") || d.Tries[1].Status != 200 || d.Tries[1].Start < d.Tries[0].Start {
		t.Errorf("attempts are %+v", d.Tries)
	}
	if !strings.Contains(d.Why.Target, "after http://"+dead+" (connect_failed)") {
		t.Errorf("the target's reason is %q", d.Why.Target)
	}
}

// The memory is bounded whatever passes, and the newest stay.
func TestMemory(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(503)
		}
		io.WriteString(w, strings.Repeat("x", 40<<10))
	}, "sample = 1\nmemory = \"1MiB\"\nbody = \"32KiB\"", "")
	s.send("GET", s.url+"/fail", "")
	for i := range 60 {
		s.send("GET", fmt.Sprint(s.url, "/", i), "")
	}
	d := s.only("path=/59")
	equal(t, "kept of the last body", d.Response.Body.Kept, 32<<10)
	equal(t, "truncated", d.Response.Body.Truncated, true)
	equal(t, "its size", d.Response.Body.Size, 40<<10)
	var state admin.InspectState
	s.ask("/inspect", &state)
	if state.Budget != 1<<20 || state.Used > state.Budget || state.Recorded != 61 || state.Exchanges < 5 || state.Exchanges > 32 || state.Failed != 1 {
		t.Errorf("the state is %+v", state)
	}
	if len(s.list("path=/0")) != 0 {
		t.Error("the oldest is still kept")
	}
	if s.only("path=/fail").Status != 503 {
		t.Error("later exchanges have pushed out the failed one")
	}
	if status, text := s.send("DELETE", s.api+"/inspect/exchanges", ""); status != 200 || !strings.Contains(text, `"removed":`) {
		t.Errorf("removing answers %d %s", status, text)
	}
	if n := len(s.list("")); n != 0 {
		t.Errorf("%d exchanges are left", n)
	}
}

// Requests that no route takes are sampled as inspect.sample says, those that are refused too.
func TestWithoutRoute(t *testing.T) {
	t.Parallel()
	s := startFile(t, "[inspect]\nsample = 1\n[[routes]]\npath = \"/there\"\nrespond = { status = 204 }\n")
	s.send("GET", s.url+"/none", "")
	d := s.only("path=/none")
	equal(t, "complete", d.Complete, true)
	equal(t, "notes", len(d.Notes), 0)
	if d.Response == nil || d.Response.Body == nil || d.Response.Body.Text != "404 Not Found: no_route\n" {
		t.Errorf("the response is %+v", d.Response)
	}
	c := testkit.Dial(t, s.Addr("main"))
	c.Send("GET /bad HTTP/1.1\r\nHost: weir.test\r\nA : b\r\n\r\n")
	c.Response("GET")
	equal(t, "complete", s.only("path=/bad").Complete, true)
}

// Heads have the version of HTTP that was spoken on each side.
func TestVersions(t *testing.T) {
	t.Parallel()
	old := testkit.Listen(t, testkit.Answer("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"))
	var framed http.Protocols
	framed.SetUnencryptedHTTP2(true)
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	o.Config.Protocols = &framed
	o.Start()
	t.Cleanup(o.Close)
	s, err := server.New(parse(t, fmt.Sprintf(`
[[listeners]]
name = "framed"
address = "127.0.0.2:0"
protocols = "h2c"
[inspect]
sample = 1
[[routes]]
path = "/old"
upstream = "old"
[[routes]]
path = "/new"
upstream = "new"
[upstreams.old]
targets = [%q]
[upstreams.new]
targets = ["h2c://%s"]
`, old.URL, o.Listener.Addr())))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	check := func(client *http.Client, listener, path, want string) {
		t.Helper()
		st := &stand{Server: s, t: t, api: "http://" + s.AdminAddr().String()}
		r, err := client.Get("http://" + s.Addr(listener).String() + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		d := st.only("path=" + path + " listener=" + listener)
		lines := []string{d.Request.Line, d.Forwarded.Line, d.Received.Line, d.Response.Line}
		equal(t, path+" by "+listener, strings.Join(lines, ", "), want)
	}
	plain := new(http.Client)
	client := &http.Client{Transport: &http.Transport{Protocols: &framed}}
	t.Cleanup(client.CloseIdleConnections)
	check(plain, "main", "/old", "GET /old HTTP/1.1, GET /old HTTP/1.1, HTTP/1.0 200 OK, HTTP/1.1 200 OK")
	check(plain, "main", "/new", "GET /new HTTP/1.1, GET /new HTTP/2.0, HTTP/2.0 200, HTTP/1.1 200")
	check(client, "framed", "/old", "GET /old HTTP/2.0, GET /old HTTP/1.1, HTTP/1.0 200 OK, HTTP/2.0 200 OK")
	check(client, "framed", "/new", "GET /new HTTP/2.0, GET /new HTTP/2.0, HTTP/2.0 200, HTTP/2.0 200")
}
