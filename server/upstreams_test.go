package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir/config"
	"weir/internal/testkit"
	"weir/lb"
)

// byService is a configuration whose route sends each service to an upstream of its name.
func byService(origin string) string {
	return plainListener + fmt.Sprintf(`
[[routes]]
name = "services"
path = "/{service}/"
upstream = "{service}"
[upstreams.origin]
targets = [%q]
`, origin)
}

// defaults are the settings of an upstream that is added at run time.
func defaults() *config.Upstream {
	cfg := config.DefaultUpstream()
	return &cfg
}

// set adds an upstream whose targets are urls.
func (w *weir) set(name string, cfg *config.Upstream, urls ...string) {
	w.t.Helper()
	var list []lb.Endpoint
	for _, url := range urls {
		list = append(list, lb.Endpoint{URL: url})
	}
	if err := w.SetUpstream(name, cfg, list); err != nil {
		w.t.Fatal(err)
	}
}

// Upstreams that are added while weir runs serve the routes whose template names them.
func TestAddedUpstreams(t *testing.T) {
	t.Parallel()
	origin, late := testkit.Listen(t, named("origin")), testkit.Listen(t, named("late"))
	text := byService(origin.URL) + "[admin]\naddress = \"127.0.0.1:0\"\n"
	w := launch(t, text)
	c := w.dial()
	requests := 0
	check := func(what, path string, status int, body string) {
		t.Helper()
		requests++
		m := c.Get(path)
		if m.Status() != status || status == 200 && m.Body != body {
			t.Errorf("%s: got %d %q, want %d %q", what, m.Status(), m.Body, status, body)
		}
	}
	check("of the configuration", "/origin/", 200, "origin")
	check("not there yet", "/late/", 404, "")
	w.set("late", defaults(), late.URL)
	check("added", "/late/", 200, "late")
	equal(t, "the operator sees both", strings.Count(w.api("GET", "/upstreams", ""), `"name":"http`), 2)

	// What the operator wants of its targets lasts over reloads, and other endpoints.
	if err := w.Drain("late", late.URL, true); err != nil {
		t.Fatal(err)
	}
	if err := w.Reload(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	check("drained", "/late/", 503, "")
	w.set("late", defaults(), late.URL, origin.URL)
	check("another target", "/late/", 200, "origin")
	if err := w.Drain("late", late.URL, false); err != nil {
		t.Fatal(err)
	}
	// Other settings make another generation, which knows what the one before knew.
	once := defaults()
	once.Retry.Attempts = 1
	w.set("late", once, late.URL)
	check("other settings", "/late/", 200, "late")

	// One of the configuration comes first.
	w.set("origin", defaults(), late.URL)
	check("of the configuration", "/origin/", 200, "origin")
	all := w.series()
	for i := range all[1:] {
		if all[i] == all[i+1] {
			t.Errorf("the series %s is there twice", all[i])
		}
	}
	attempts := fmt.Sprintf("weir_upstream_attempts_total{upstream=%q,target=%q,cause=%q}", "late", late.URL, "ok")
	testkit.Eventually(t, attempts+" is "+"2", func() bool { return w.metric(attempts) == "2" })

	equal(t, "removed", w.RemoveUpstream("late"), true)
	check("removed", "/late/", 404, "")
	testkit.Eventually(t, "nothing speaks of it", func() bool { return !strings.Contains(w.metrics(), `upstream="late"`) })
	equal(t, "removed twice", w.RemoveUpstream("late"), false)
	w.set("late", defaults(), late.URL)
	check("back", "/late/", 200, "late")
	testkit.Eventually(t, attempts+" is "+"1", func() bool { return w.metric(attempts) == "1" })

	// A bad one changes nothing.
	if err := w.SetUpstream("late", once, []lb.Endpoint{{URL: "ftp://x"}}); err == nil {
		t.Error("a target of an unknown scheme was accepted")
	}
	check("after an error", "/late/", 200, "late")
	equal(t, "cause", w.logged(requests)[1].String(), "404 no_upstream")

	w.Close()
	if err := w.SetUpstream("later", defaults(), nil); err == nil {
		t.Error("an upstream was added to a closed server")
	}
}

// Exchanges that run on an upstream when it is removed end normally: their bodies, their
// retries and their tunnels.
func TestRemovedUpstreamServesWhatRuns(t *testing.T) {
	t.Parallel()
	removed := make(chan struct{})
	slow := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
		c.Wait(removed)
		c.Send("later")
	})
	breaks := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Wait(removed)
	})
	answers, tunnel := testkit.Listen(t, named("second")), testkit.Listen(t, tunnelEcho)
	origin := testkit.Listen(t, named("origin"))
	w := launch(t, byService(origin.URL))
	w.set("slow", defaults(), slow.URL)
	w.set("retried", defaults(), breaks.URL, answers.URL)
	w.set("tunnel", defaults(), tunnel.URL)

	body, retry, upgrade := w.dial(), w.dial(), w.dial()
	body.Send("GET /slow/ HTTP/1.1\r\nHost: a\r\n\r\n")
	body.Head("GET")
	equal(t, "begins", body.Take(5), "first")
	retry.Send("GET /retried/ HTTP/1.1\r\nHost: a\r\n\r\n")
	upgrade.Send("GET /tunnel/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	equal(t, "upgrade", upgrade.Head("GET").Status(), 101)
	testkit.Eventually(t, "all run", func() bool { return breaks.Requests() == 1 })
	for _, name := range []string{"slow", "retried", "tunnel"} {
		w.RemoveUpstream(name)
		equal(t, name, w.dial().Get("/"+name+"/").Status(), 404)
	}
	if err := w.Reload(parse(t, byService(origin.URL))); err != nil {
		t.Fatal(err)
	}
	close(removed)
	equal(t, "goes on", body.Take(5), "later")
	equal(t, "retried", retry.Response("GET").Body, "second")
	upgrade.Send("ping")
	equal(t, "tunnel", upgrade.Take(4), "ping")
	upgrade.Reset()
	for _, o := range []*testkit.Origin{slow, breaks, answers, tunnel} {
		testkit.Eventually(t, "nothing speaks of "+o.URL, func() bool { return !strings.Contains(w.metrics(), o.URL) })
	}
}

// Upstreams come and go under load, and so do generations and targets: a request gets
// its answer or, while its upstream is not there, a 404.
func TestUpstreamsComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	serve := func(name string) string {
		return cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, name) })
	}
	origin, one, two := serve("origin"), serve("one"), serve("two")
	w := launch(t, byService(origin))
	var stop atomic.Bool
	var clients sync.WaitGroup
	var served [3]atomic.Int64
	get := func(path string) (int, string) {
		r, err := http.Get("http://" + w.addr.String() + path)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return r.StatusCode, string(b)
	}
	for i := range 4 {
		clients.Go(func() {
			for !stop.Load() {
				if i == 0 {
					if status, body := get("/origin/"); status != 200 || body != "origin" {
						t.Errorf("of the configuration: %d %q", status, body)
					}
					continue
				}
				status, body := get("/late/")
				switch {
				case status == 200 && body == "one":
					served[1].Add(1)
				case status == 200 && body == "two":
					served[2].Add(1)
				case status == 404:
					served[0].Add(1)
				default:
					t.Errorf("added: %d %q", status, body)
				}
			}
		})
	}
	other := defaults()
	other.Timeouts.Connect++
	for i := range testkit.Soak(t, "WEIR_UPSTREAM_ROUNDS", 60) {
		// Each round waits for one kind of answer, so that the other changes follow at once.
		seen := func(kind int, what string) {
			if i%3 == kind {
				before := served[kind].Load()
				testkit.Eventually(t, "a request gets "+what, func() bool { return served[kind].Load() > before })
			}
		}
		w.set("late", defaults(), one)
		seen(1, "one")
		w.set("late", defaults(), two)
		seen(2, "two")
		if i%5 == 0 {
			if err := w.Reload(parse(t, byService(origin))); err != nil {
				t.Error(err)
			}
		}
		w.set("late", other, one, two)
		w.RemoveUpstream("late")
		seen(0, "404")
	}
	stop.Store(true)
	clients.Wait()
	testkit.Eventually(t, "nothing speaks of what was added", func() bool { return !strings.Contains(w.metrics(), `upstream="late"`) })
}
