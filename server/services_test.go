package server_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/admin"
	"weir/discover"
	"weir/discover/sourcetest"
	"weir/internal/testkit"
	"weir/lb"
	"weir/server"
)

// byVersion is a configuration whose route sends to services by name and version; the upstream
// named settings has the settings of services.
const byVersion = plainListener + `
[[routes]]
name = "services"
path = "/{service}/{version}/"
upstream = "{service}/{version}"
strip_prefix = true
[admin]
address = "127.0.0.1:0"
[upstreams.settings]
targets = []
retry = { attempts = 1 }
[discovery]
upstream = "settings"
`

// answers says who answers what.
func answers(name string) func(c *testkit.Conn) {
	return func(c *testkit.Conn) {
		for {
			h := c.Head()
			if h == nil {
				return
			}
			body := name + " " + h.Target()
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}
	}
}

// says checks the status of an answer and how its body begins.
func (w *weir) says(c *testkit.Client, what, path, want string) {
	w.t.Helper()
	m := c.Get(path)
	if got := fmt.Sprint(m.Status(), " ", m.Body); !strings.HasPrefix(got, want) {
		w.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// Services that are registered are reached by name and version, from the time on when Add has
// returned.
func TestServices(t *testing.T) {
	t.Parallel()
	one, two := testkit.Listen(t, answers("one")), testkit.Listen(t, answers("two"))
	w := launch(t, byVersion)
	r, c := w.Registry(), w.dial()
	add := func(name, version string, e lb.Endpoint) {
		t.Helper()
		if err := r.Add(name, version, e); err != nil {
			t.Fatal(err)
		}
	}
	w.says(c, "unknown", "/shop/v1/a", "404")
	add("shop", "v1", lb.Endpoint{URL: one.URL})
	add("shop", "v2", lb.Endpoint{URL: two.URL})
	w.says(c, "added", "/shop/v1/a?b", "200 one /a?b")
	w.says(c, "added", "/shop/v2/a", "200 two /a")
	w.says(c, "another version", "/shop/v3/a", "404")
	w.says(c, "another name", "/cart/v1/a", "404")

	equal(t, "deleted", r.Delete("shop", "v1", one.URL), true)
	testkit.Eventually(t, "known, but empty", func() bool { return c.Get("/shop/v1/a").Status() == 503 })
	equal(t, "deleted twice", r.Delete("shop", "v1", one.URL), false)
	add("shop", "v1", lb.Endpoint{URL: two.URL})
	w.says(c, "added again", "/shop/v1/a", "200 two /a")
	for range 10 {
		r.Delete("shop", "v1", two.URL)
		add("shop", "v1", lb.Endpoint{URL: one.URL})
		w.says(c, "another in its place", "/shop/v1/a", "200 one /a")
		r.Delete("shop", "v1", one.URL)
		add("shop", "v1", lb.Endpoint{URL: two.URL})
		w.says(c, "the first again", "/shop/v1/a", "200 two /a")
	}
	equal(t, "removed", r.Remove("shop", "v1"), true)
	w.says(c, "removed", "/shop/v1/a", "404")
	w.says(c, "the other one", "/shop/v2/a", "200 two /a")
	testkit.Eventually(t, "nothing speaks of it", func() bool { return !strings.Contains(w.metrics(), `upstream="shop/v1"`) })

	// Settings are those of the upstream that the configuration names.
	add("shop", "v2", lb.Endpoint{URL: refused(t)})
	testkit.Eventually(t, "the second one is there", func() bool { return w.metric("weir_registry_endpoints") == "2" })
	attempts := func(attempts string) {
		t.Helper()
		if err := w.Reload(parse(t, strings.Replace(byVersion, "attempts = 1", attempts, 1))); err != nil {
			t.Fatal(err)
		}
	}
	attempts("attempts = 3")
	for range 4 {
		w.says(c, "with retries", "/shop/v2/a", "200 two /a")
	}
	if err := w.Reload(parse(t, plainListener+"[[routes]]\npath = \"/{service}/{version}/\"\nupstream = \"{service}/{version}\"\n")); err != nil {
		t.Fatal(err)
	}
	w.says(c, "with the defaults", "/shop/v2/a", "200 two /shop/v2/a")

	for _, bad := range []error{
		r.Add("a/b", "v1", lb.Endpoint{URL: one.URL}), r.Add("", "", lb.Endpoint{URL: one.URL}), r.Add("a", "v1", lb.Endpoint{URL: "ftp://a"}),
		r.Add("a", "v1", lb.Endpoint{URL: one.URL, Weight: -1}), r.AddFor("a", "v1", lb.Endpoint{URL: one.URL}, -1),
	} {
		if bad == nil {
			t.Error("something wrong was registered")
		}
	}
	add("whole", "", lb.Endpoint{URL: one.URL})
	if _, known := r.Lookup("whole", ""); !known {
		t.Error("a service without version is not known")
	}
}

// Operators and programs register by the API.
func TestRegistryAPI(t *testing.T) {
	t.Parallel()
	one := testkit.Listen(t, answers("one"))
	w := launch(t, byVersion+"persist = \""+filepath.Join(t.TempDir(), "kept")+"\"\nremove_after = 3\n")
	c := w.dial()
	authority := strings.TrimPrefix(one.URL, "http://")
	check := func(what, method, path, body, want string) {
		t.Helper()
		if got := w.api(method, path, body); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	entry := "/registry/shop/v1/" + authority
	check("put", "PUT", entry, `{"weight":3,"ttl":"1h"}`, `"url":"`+one.URL+`","weight":3,"priority":0,"drain":false,"ttl_seconds":3600,"seen":"2`)
	w.says(c, "put", "/shop/v1/a", "200 one /a")
	check("listed", "GET", "/registry", "", `{"services":[{"name":"shop","version":"v1","endpoints":[{"url":"`+one.URL)
	if e, err := w.Explain(server.Question{URL: "http://a/shop/v1/a"}); err != nil || len(e.Targets) != 1 || e.Targets[0].Source != "registry" || e.Targets[0].Seen == nil {
		t.Errorf("explained: %+v, %v", e, err)
	}
	check("the target's origin", "GET", "/upstreams", "", `"source":"registry","seen":"2`)
	check("put again, escaped", "PUT", "/registry/shop/v1/"+url.PathEscape(one.URL), "", `"weight":1,`)
	check("a failure", "POST", entry, "", `"failures":1`)
	check("a heartbeat", "PUT", entry, "", `"weight":1,"priority":0,"drain":false,"seen"`)
	check("a failure", "POST", entry, "", `"failures":2`)
	check("the last failure", "POST", entry, "", `{"url":"http://`+authority+`","weight":0`)
	testkit.Eventually(t, "removed", func() bool { return c.Get("/shop/v1/a").Status() == 503 })
	check("not there", "POST", entry, "", "does not have that")
	check("not there", "DELETE", entry, "", "does not have that")
	check("put", "PUT", entry, "{}", `"weight":1`)
	check("deleted", "DELETE", entry, "", "{}")
	check("removed", "DELETE", "/registry/shop/v1", "", "{}")
	check("removed twice", "DELETE", "/registry/shop/v1", "", "does not have that")
	w.says(c, "removed", "/shop/v1/a", "404")
	check("a unix socket", "PUT", "/registry/shop/-/unix:%2Ftmp%2Fa", "", `"url":"unix:/tmp/a"`)

	for path, want := range map[string]string{
		"/registry/shop":         "found path",
		"/registry/shop//a":      "found path",
		"/registry/a/b/c/d":      "found path",
		"/registry/a%2Fb/v1/c:1": `found name \"a/b\"`,
	} {
		check(path, "PUT", path, "", want)
	}
	for body, want := range map[string]string{
		`{"ttl":"1"}`: "ttl: found", `{"ttl":"-1s"}`: "ttl: found", `{"weight":0}`: "weight: found 0", `{"weight":-1}`: "found weight -1", `[]`: "no JSON object",
		`{"wieght":1}`: `did you mean \"weight\"?`, `{"priority":16}`: "priority 16",
	} {
		check(body, "PUT", entry, body, want)
	}
	check("method", "PATCH", entry, "", "found method")
}

// A catalog fills the registry. When it fails or finds nothing, what it found stays, over a restart
// too.
func TestCatalogs(t *testing.T) {
	t.Parallel()
	one, two := testkit.Listen(t, answers("one")), testkit.Listen(t, answers("two"))
	text := byVersion + "catalogs = [\"etcd://user:secret@host/services\"]\npersist = \"" + filepath.Join(t.TempDir(), "kept") + "\"\n"
	catalog := make(sourcetest.FakeCatalog)
	scheme := server.WithSchemes(discover.Scheme{Name: "etcd", Catalog: func(*url.URL, discover.SchemeOptions) (discover.Catalog, error) {
		return catalog, nil
	}})
	w := launch(t, text, scheme)
	c := w.dial()
	entry := func(name, version, url string) discover.Entry {
		return discover.Entry{Name: name, Version: version, Endpoint: lb.Endpoint{URL: url}}
	}
	w.says(c, "nothing yet", "/shop/v1/a", "404")
	catalog <- []discover.Entry{entry("shop", "v1", one.URL), entry("shop", "v1", "ftp://x"), entry("a/b", "", one.URL), entry("cart", "v1", two.URL)}
	testkit.Eventually(t, "both are there", func() bool { return w.metric("weir_registry_endpoints") == "2" })
	w.says(c, "found", "/shop/v1/a", "200 one /a")
	w.says(c, "found", "/cart/v1/a", "200 two /a")
	catalog <- nil
	const name = "etcd://user:xxxxx@host/services"
	labels := fmt.Sprintf("{upstream=%q,source=%q}", "", name)
	testkit.Eventually(t, "it fails", func() bool { return w.metric("weir_discovery_failures_total"+labels) == "1" })
	w.says(c, "it fails", "/shop/v1/a", "200 one /a")
	testkit.Eventually(t, "what is told of it", func() bool { return strings.Contains(w.api("GET", "/sources", ""), "the registry is gone") })

	// A service that has moved, and one that the catalog has no more.
	catalog <- []discover.Entry{entry("shop", "v1", two.URL)}
	testkit.Eventually(t, "it has moved", func() bool { return strings.HasPrefix(c.Get("/shop/v1/a").Body, "two") })
	w.says(c, "not believed yet", "/cart/v1/a", "200 two /a")
	if all := w.api("GET", "/registry", ""); strings.Contains(all, "secret") || strings.Count(all, `"missing":`) != 1 || strings.Count(all, name) != 2 {
		t.Errorf("the registry: %s", all)
	}
	catalog <- []discover.Entry{}
	if err := w.Reload(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	w.says(c, "nothing at all, and a reload", "/shop/v1/a", "200 two /a")
	w.Close()

	w = launch(t, text, scheme)
	c = w.dial()
	w.says(c, "after a restart", "/shop/v1/a", "200 two /a")
	w.says(c, "after a restart", "/cart/v1/a", "200 two /a")
	catalog <- []discover.Entry{entry("shop", "v1", one.URL)}
	testkit.Eventually(t, "it has reported", func() bool { return strings.HasPrefix(c.Get("/shop/v1/a").Body, "one") })

	// Without the catalog its endpoints go, and the service stays known.
	if err := w.Reload(parse(t, byVersion)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "its endpoints go", func() bool { return c.Get("/shop/v1/a").Status() == 503 })
}

// A start waits for what catalogs find, so that the first request finds its service, and a reload that puts one catalog
// in the place of another loses no request.
func TestCatalogsAreAwaited(t *testing.T) {
	t.Parallel()
	one := testkit.Listen(t, answers("one"))
	text := byVersion + "catalogs = [\"etcd://one/services\"]\n"
	first, second := make(sourcetest.FakeCatalog), make(sourcetest.FakeCatalog)
	list := []discover.Entry{{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: one.URL}}}
	time.AfterFunc(200*time.Millisecond, func() { first <- list }) // a registry that is not fast
	w := launch(t, text, server.WithSchemes(discover.Scheme{Name: "etcd", Catalog: func(u *url.URL, _ discover.SchemeOptions) (discover.Catalog, error) {
		if u.Host == "one" {
			return first, nil
		}
		return second, nil
	}}))
	c := w.dial()
	w.says(c, "the first request", "/shop/v1/a", "200 one /a")
	if err := w.Reload(parse(t, strings.Replace(text, "//one/", "//two/", 1))); err != nil {
		t.Fatal(err)
	}
	second <- nil // it runs, and so the settings that name it are in force
	w.says(c, "another catalog, which fails", "/shop/v1/a", "200 one /a")
	second <- []discover.Entry{{Name: "shop", Version: "v2", Endpoint: lb.Endpoint{URL: one.URL}}}
	testkit.Eventually(t, "it has reported", func() bool { return c.Get("/shop/v2/a").Status() == 200 })
	testkit.Eventually(t, "what the first one had goes", func() bool { return c.Get("/shop/v1/a").Status() == 503 })
}

// What is known of a target lasts over reloads, changes of its weight, and restarts of its source.
func TestDiscoveredTargetsKeepTheirState(t *testing.T) {
	t.Parallel()
	one, two := testkit.Listen(t, answers("one")), testkit.Listen(t, answers("two"))
	w := launch(t, byVersion+"[[routes]]\npath = \"/from/\"\nupstream = \"from\"\n[upstreams.from]\ntargets = [\"registry:shop/v1\"]\n")
	r := w.Registry()
	weight := 1
	add := func() {
		for _, o := range []*testkit.Origin{one, two} {
			if err := r.Add("shop", "v1", lb.Endpoint{URL: o.URL, Weight: weight}); err != nil {
				t.Fatal(err)
			}
		}
	}
	add()
	c := w.dial()
	target := func(upstream string, o *testkit.Origin) admin.Target {
		for _, u := range w.Upstreams() {
			for _, target := range u.Targets {
				if u.Name == upstream && target.Name == o.URL {
					return target
				}
			}
		}
		return admin.Target{}
	}
	for upstream, path := range map[string]string{"shop/v1": "/shop/v1/a", "from": "/from/a"} {
		testkit.Eventually(t, "both targets of "+upstream, func() bool { return target(upstream, one).Name != "" && target(upstream, two).Name != "" })
		for range 4 {
			w.says(c, "before", path, "200")
		}
		if err := w.Drain(upstream, one.URL, true); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the four are counted", func() bool { return target(upstream, one).Succeeded+target(upstream, two).Succeeded == 4 })
		counted := target(upstream, one).Succeeded
		same := func(what string) {
			t.Helper()
			testkit.Eventually(t, what+": the weights of "+upstream, func() bool {
				return target(upstream, one).Weight == weight && target(upstream, two).Weight == weight
			})
			first := target(upstream, one)
			equal(t, what+": "+upstream, fmt.Sprint(first.State, " ", first.Succeeded), fmt.Sprint("draining ", counted))
			w.says(c, what, path, "200 two")
		}
		same("drained")
		weight++
		add()
		same("another weight")
		if err := w.Reload(parse(t, byVersion+"[[routes]]\npath = \"/from/\"\nupstream = \"from\"\n[upstreams.from]\ntargets = [\"registry:shop/v1\"]\n")); err != nil {
			t.Fatal(err)
		}
		same("a reload")
		failed := target("shop/v1", two).Failed
		r.Failure("shop", "v1", two.URL)
		equal(t, "a failure that was reported", target("shop/v1", two).Failed, failed+1)
	}
}

// The registry's own file is enough to go on after the process was killed.
func TestRegistryIsKept(t *testing.T) {
	t.Parallel()
	one := testkit.Listen(t, answers("one"))
	text := byVersion + "persist = \"" + filepath.Join(t.TempDir(), "kept") + "\"\n"
	w := launch(t, text)
	w.api("PUT", "/registry/shop/v1/"+url.PathEscape(one.URL), `{"ttl":"1h","weight":4}`)
	// Not closed: another process finds what was answered for.
	again := launch(t, text)
	again.says(again.dial(), "after a restart", "/shop/v1/a", "200 one /a")
	if list := again.api("GET", "/registry", ""); !strings.Contains(list, `"weight":4,"priority":0,"drain":false,"ttl_seconds":3600`) {
		t.Errorf("the registry: %s", list)
	}
	w.api("DELETE", "/registry/shop/v1/"+url.PathEscape(one.URL), "")
	empty := launch(t, text)
	empty.says(empty.dial(), "deleted, but known", "/shop/v1/a", "503")

	// A file that cannot be written.
	broken := launch(t, byVersion+"persist = \""+filepath.Join(t.TempDir(), "no", "folder")+"\"\n")
	if got := broken.api("PUT", "/registry/shop/v1/"+url.PathEscape(one.URL), ""); !strings.Contains(got, "cannot be written") {
		t.Errorf("an answer: %s", got)
	}
	broken.says(broken.dial(), "it counts all the same", "/shop/v1/a", "200 one /a")
}

// Endpoints whose time to live has passed go, and heartbeats keep them.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	one, two := testkit.Listen(t, answers("one")), testkit.Listen(t, answers("two"))
	w := launch(t, byVersion)
	r := w.Registry()
	if err := r.AddFor("shop", "v1", lb.Endpoint{URL: one.URL}, 100*time.Millisecond); err != nil { // the least
		t.Fatal(err)
	}
	if err := r.AddFor("shop", "v1", lb.Endpoint{URL: two.URL}, time.Hour); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "one has gone", func() bool {
		list, _ := r.Lookup("shop", "v1")
		return len(list) == 1 && list[0].URL == two.URL
	})
}
