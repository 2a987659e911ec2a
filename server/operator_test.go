package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"weir/admin"
	"weir/config"
	"weir/internal/testkit"
)

// api calls the admin API and returns status and body, without its line end.
func (w *weir) api(method, path, body string) string {
	w.t.Helper()
	r, err := http.NewRequest(method, "http://"+w.AdminAddr().String()+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", strings.TrimSuffix(string(b), "\n"))
}

// TestAdminPurge: what each kind of purge ends, over the API.
func TestAdminPurge(t *testing.T) {
	t.Parallel()
	w := run(t, `
[admin]
address = "127.0.0.1:0"
[[routes]]
upstream = "origin"
cache = true
[[routes]]
path = "/narrow/"
upstream = "origin"
cache = { key = { headers = ["X-Tenant"], ignore_case = true } }
[upstreams.origin]
targets = [%q]
`, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=600")
		rw.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		rw.Header().Set("Vary", "Foo")
		rw.Header().Set("Surrogate-Key", "all some"+strings.ReplaceAll(r.URL.Path, "/", "-"))
		io.WriteString(rw, "body")
	}))
	fill := func() {
		w.get("GET", "/a", "Foo: 1")
		w.get("GET", "/a", "Foo: 2")
		w.get("GET", "/b/1")
		w.get("GET", "/b/2?x")
		w.get("GET", "/narrow/1", "X-Tenant: one")
		w.get("GET", "/narrow/1", "X-Tenant: two")
	}
	check := func(body string, n int) {
		t.Helper()
		fill()
		equal(t, body, w.api("POST", "/purge", body), fmt.Sprintf(`200 {"purged":%d}`, n))
	}
	// All variants of a URL, and nothing else.
	check(`{"url": "http://cached.example/a"}`, 2)
	check(`{"url": "HTTP://Cached.Example/b/2?x"}`, 1)
	check(`{"url": "http://cached.example/b/2"}`, 0)
	// A URL whose key was made narrower by its route.
	check(`{"url": "http://cached.example/narrow/1"}`, 2)
	check(`{"url": "http://cached.example/narrow/"}`, 0)
	check(`{"prefix": "http://cached.example/b/"}`, 2)
	check(`{"prefix": "http://cached.example"}`, 6)
	check(`{"prefix": "http://cached.ex"}`, 0)
	check(`{"host": "cached.example"}`, 6)
	check(`{"host": "other.example"}`, 0)
	check(`{"group": "some-a"}`, 2)
	check(`{"group": "all"}`, 6)
	check(`{"all": true}`, 6)
	equal(t, "again", w.api("POST", "/purge", `{"all": true}`), `200 {"purged":0}`)

	// Soft: the entry is validated and is whole again.
	status := func(want string) {
		t.Helper()
		if _, h, _ := w.get("GET", "/b/1"); !strings.Contains(h.Get("Cache-Status"), want) {
			t.Errorf("Cache-Status is %q, want %q", h.Get("Cache-Status"), want)
		}
	}
	check(`{"url": "http://cached.example/b/1", "soft": true}`, 1)
	status("fwd-status=304")
	status("hit")
	check(`{"url": "http://cached.example/b/1", "soft": false}`, 1)
	status("fwd-status=200")
}

// TestAdminTargets: what is seen and drained.
func TestAdminTargets(t *testing.T) {
	t.Parallel()
	w := run(t, `
[admin]
address = "127.0.0.1:0"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [{ url = "demo:one", weight = 3 }, "demo:two"]
[upstreams.other]
targets = ["demo:three"]
`)
	w.get("GET", "/")
	w.logged(1)
	text, found := strings.CutPrefix(w.api("GET", "/upstreams", ""), "200 ")
	var list struct {
		Upstreams []struct {
			Name    string
			Targets []struct {
				Name, State       string
				Weight, Succeeded int
				InFlight          *int `json:"in_flight"`
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || !found {
		t.Fatalf("%v: %s", err, text)
	}
	equal(t, "number of upstreams", len(list.Upstreams), 2)
	origin := list.Upstreams[0]
	equal(t, "names", origin.Name+" "+list.Upstreams[1].Name+" "+origin.Targets[0].Name, "origin other demo:one")
	equal(t, "weight", origin.Targets[0].Weight, 3)
	equal(t, "state", origin.Targets[0].State, "healthy")
	equal(t, "exchanges", origin.Targets[0].Succeeded+origin.Targets[1].Succeeded, 1)
	if n := origin.Targets[0].InFlight; n == nil || *n != 0 {
		t.Errorf("in flight: %s", text)
	}
	check := func(body, want string) {
		t.Helper()
		if got := w.api("POST", "/drain", body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	check(`{"upstream": "origin", "target": "demo:one", "on": true}`, `200 {"name":"demo:one","state":"draining"`)
	for range 4 {
		if _, h, _ := w.get("GET", "/"); h.Get("X-Demo-Target") != "two" {
			t.Error("a draining target answers")
		}
	}
	check(`{"upstream": "origin", "target": "demo:one", "on": false}`, `200 {"name":"demo:one","state":"healthy"`)
	check(`{"upstream": "none", "target": "demo:one", "on": true}`, `404 {"error":"cannot drain: found upstream \"none\": there is one of \"origin\", \"other\""}`)
	check(`{"upstream": "other", "target": "demo:one", "on": true}`, `404 {"error":"cannot drain: found target \"demo:one\": there is \"demo:three\""}`)
	// There is nothing to purge where no route has a cache.
	equal(t, "purge", w.api("POST", "/purge", `{"all":true}`), `404 {"error":"no route has a cache, so there is no entry"}`)
}

// TestAdminWeight: a weight that the operator sets counts, also after a reload, until it is
// taken back.
func TestAdminWeight(t *testing.T) {
	t.Parallel()
	const text = plainListener + `
[admin]
address = "127.0.0.1:0"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = ["demo:one", { url = "demo:two", weight = 2 }]
`
	w := launch(t, text)
	shares := func(want string) {
		t.Helper()
		got := map[string]int{}
		for range 12 {
			_, h, _ := w.get("GET", "/")
			got[h.Get("X-Demo-Target")]++
		}
		equal(t, "shares", fmt.Sprint(got["one"], " ", got["two"]), want)
	}
	check := func(weight int, want string) {
		t.Helper()
		body := fmt.Sprintf(`{"upstream": "origin", "target": "demo:one", "weight": %d}`, weight)
		if got := w.api("POST", "/weight", body); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	shares("4 8")
	check(4, `"weight":4,"sharers":1,"configured_weight":1,`)
	shares("8 4")
	if err := w.Reload(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	shares("8 4")
	check(0, `"weight":1,"sharers":1,"priority"`)
	shares("4 8")
	equal(t, "unknown", w.api("POST", "/weight", `{"upstream": "origin", "target": "demo:on", "weight": 1}`),
		`404 {"error":"cannot change a weight: found target \"demo:on\": there is one of \"demo:one\", \"demo:two\"; did you mean \"demo:one\"?"}`)
	if err := w.SetWeight("origin", "demo:one", -1); err == nil {
		t.Error("a negative weight was taken")
	}
}

// TestAdminStatus: what is told of a running weir.
func TestAdminStatus(t *testing.T) {
	t.Parallel()
	const text = plainListener + `
[admin]
address = "127.0.0.1:0"
[[routes]]
name = "old"
host = "old.example"
query = { token = "s3cret" }
redirect.to = "https://new.example{path}"
[[routes]]
path = "/fixed"
respond = { status = 410 }
[[routes]]
upstream = "origin"
cache = true
[[routes]]
path = "/files/"
files = "testdata"
[upstreams.origin]
targets = ["demo:one", { url = "demo:two", drain = true }]
`
	w := launch(t, text)
	if _, err := config.Parse("bad", []byte("nonsense")); err != nil {
		w.ReloadFailed(errors.New("config.toml: no such file"))
	}
	var status admin.Status
	body := strings.TrimPrefix(w.api("GET", "/status", ""), "200 ")
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	equal(t, "state", status.State, "serving")
	equal(t, "reloads", fmt.Sprint(status.Reloads, status.FailedReloads, status.ReloadFailed), "1 1 true")
	equal(t, "last reload", fmt.Sprint(len(status.LastReloads), status.LastReloads[0].OK, status.LastReloads[0].Error), "1 falseconfig.toml: no such file")
	equal(t, "problems", w.api("GET", "/config/problems", ""), `200 {"problems":[]}`)
	equal(t, "listener", fmt.Sprint(status.Listeners[0].Name, " ", status.Listeners[0].Address), "main "+w.addr.String())
	equal(t, "upstream", fmt.Sprintf("%+v", status.Upstreams), "[{Name:origin Targets:2 Usable:1 Running:0}]")
	equal(t, "routes", w.api("GET", "/routes", ""), `200 {"routes":[`+
		`{"name":"old","match":{"host":["old.example"],"query":{"token":"(hidden)"}},"does":"redirect 308 to \"https://new.example{path}\"","cache":false},`+
		`{"name":"route-2","match":{"path":["/fixed"]},"does":"respond 410","cache":false},`+
		`{"name":"route-3","match":{},"does":"upstream \"origin\"","cache":true},`+
		`{"name":"route-4","match":{"path":["/files/"]},"does":"files of \"testdata\"","cache":false}]}`)
	got := w.api("GET", "/config?format=toml", "")
	if !strings.Contains(got, `path = ["/fixed"]`) || strings.Contains(got, "s3cret") {
		t.Errorf("the configuration: %s", got)
	}
}

// TestAdminMoves: a reload opens, moves and closes the page.
func TestAdminMoves(t *testing.T) {
	t.Parallel()
	const text = plainListener + "[[routes]]\nrespond = { body = \"hello\" }\n"
	w := launch(t, text)
	if a := w.AdminAddr(); a != nil {
		t.Fatalf("listens at %v without being asked", a)
	}
	reload := func(address string) error {
		return w.Reload(parse(t, text+fmt.Sprintf("[admin]\naddress = %q\n", address)))
	}
	if err := reload("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	first := w.AdminAddr().String()
	equal(t, "answer", w.api("GET", "/upstreams", ""), `200 {"upstreams":[]}`)
	// An address that is taken: nothing has changed.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := reload(taken.Addr().String()); err == nil || !strings.Contains(err.Error(), "cannot listen for admin on") {
		t.Errorf("error is %v", err)
	}
	equal(t, "address", w.AdminAddr().String(), first)
	equal(t, "answer", w.api("GET", "/upstreams", ""), `200 {"upstreams":[]}`)
	// To a socket whose file a process left behind when it was killed.
	socket := filepath.Join(t.TempDir(), "admin")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	half := testkit.Dial(t, w.AdminAddr())
	half.Send("POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n")
	equal(t, "the request that runs during the reload", half.Take(25), "HTTP/1.1 100 Continue\r\n\r\n")
	if err := reload("unix:" + socket); err != nil {
		t.Fatal(err)
	}
	equal(t, "address", w.AdminAddr().String(), socket)
	half.Send(`{"all":true}`)
	if m := half.Response("POST"); m.Status() != 404 || !strings.Contains(m.Body, "no route has a cache") {
		t.Errorf("the request that ran during the reload: %d %s", m.Status(), m.Body)
	}
	testkit.Eventually(t, "the old address is closed", func() bool {
		c, err := net.Dial("tcp", first)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if err := reload(""); err != nil {
		t.Fatal(err)
	}
	if a := w.AdminAddr(); a != nil {
		t.Errorf("still listens at %v", a)
	}
}
