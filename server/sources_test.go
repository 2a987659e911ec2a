package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"weir/discover"
	"weir/internal/testkit"
	"weir/lb"
	"weir/server"
)

// listSource is a source that reports what the test sends.
type listSource struct {
	lists   chan []lb.Endpoint
	starts  atomic.Int32
	running atomic.Int32
}

func (s *listSource) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	s.starts.Add(1)
	s.running.Add(1)
	defer s.running.Add(-1)
	for {
		select {
		case list := <-s.lists:
			report(list)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Sources find targets of the configuration's upstreams: a source is started once, goes on
// over reloads, and ends with its upstream.
func TestSources(t *testing.T) {
	t.Parallel()
	one, two := testkit.Listen(t, named("one")), testkit.Listen(t, named("two"))
	found := &listSource{lists: make(chan []lb.Endpoint)}
	spare := testkit.Listen(t, named("spare"))
	text := byService(one.URL) + fmt.Sprintf("[upstreams.found]\ntargets = [\"file:/list\", { url = %q, priority = 1 }]\n", spare.URL)
	w := launch(t, text, server.WithSchemes(discover.Scheme{Name: "file", Source: func(u *url.URL, _ discover.SchemeOptions) (discover.Source, error) {
		if u.Path != "/list" {
			return nil, errors.New("no such source")
		}
		return found, nil
	}}))
	c := w.dial()
	check := func(what, path, want string) {
		t.Helper()
		m := c.Get(path)
		if got := fmt.Sprint(m.Status(), " ", m.Body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	check("nothing was found yet", "/found/", "200 spare")
	report := func(urls ...string) {
		var list []lb.Endpoint
		for _, url := range urls {
			list = append(list, lb.Endpoint{URL: url})
		}
		found.lists <- list
		testkit.Eventually(t, "the targets are there", func() bool {
			for _, o := range []*testkit.Origin{one, two} {
				reported := strings.Contains(strings.Join(urls, " "), o.URL)
				state := strings.Contains(w.metrics(), fmt.Sprintf("weir_upstream_target_state{upstream=%q,target=%q", "found", o.URL))
				if reported != state {
					return false
				}
			}
			return true
		})
	}
	report(one.URL)
	check("found", "/found/", "200 one")
	report(one.URL, two.URL)
	if err := w.Drain("found", one.URL, true); err != nil {
		t.Fatal(err)
	}
	check("the operator drains one", "/found/", "200 two")
	for range 2 {
		if err := w.Reload(parse(t, text)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			check("drained after a reload", "/found/", "200 two")
		}
	}
	report(two.URL, one.URL)
	for range 2 {
		check("drained after a report", "/found/", "200 two")
	}
	equal(t, "starts", found.starts.Load(), 1)
	attempts := fmt.Sprintf("weir_upstream_attempts_total{upstream=%q,target=%q,cause=%q}", "found", two.URL, "ok")
	testkit.Eventually(t, attempts+" is "+"7", func() bool { return w.metric(attempts) == "7" })

	// Figures go with the target, without a reload, and begin at 0 when it comes back.
	report(one.URL)
	testkit.Eventually(t, "nothing was counted of two", func() bool { return w.metric(attempts) == "" })
	report(two.URL)
	check("back", "/found/", "200 two")
	testkit.Eventually(t, "two begins at 1", func() bool { return w.metric(attempts) == "1" })

	// A source that cannot be made refuses the reload, and all goes on.
	if err := w.Reload(parse(t, strings.Replace(text, "file:/list", "file:/other", 1))); err == nil || !strings.Contains(err.Error(), "no such source") {
		t.Errorf("reload: %v", err)
	}
	check("after a failed reload", "/found/", "200 two")

	if err := w.Reload(parse(t, byService(one.URL))); err != nil {
		t.Fatal(err)
	}
	check("the upstream is gone", "/found/", "404")
	testkit.Eventually(t, "the source has ended", func() bool { return found.running.Load() == 0 })
	if err := w.Reload(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the source runs", func() bool { return found.running.Load() == 1 })
	check("nothing was found yet", "/found/", "200 spare")
	report(two.URL)
	check("found again", "/found/", "200 two")
	w.Close()
	equal(t, "running sources of a closed server", found.running.Load(), 0)
}

// No request is lost while a reload waits for what new sources find, nor after it: neither those to an upstream that has
// lost its source, nor those to one that has got a source in place of its targets.
func TestReloadAwaitsSources(t *testing.T) {
	t.Parallel()
	one := testkit.Listen(t, named("one"))
	found, silent := &listSource{lists: make(chan []lb.Endpoint)}, &listSource{lists: make(chan []lb.Endpoint)}
	text := func(a, b string) string {
		return byService(one.URL) + fmt.Sprintf("[upstreams.a]\ntargets = [%q]\n[upstreams.b]\ntargets = [%q]\n", a, b)
	}
	w := launch(t, text("file:/found", one.URL), server.WithSchemes(discover.Scheme{Name: "file", Source: func(u *url.URL, _ discover.SchemeOptions) (discover.Source, error) {
		if u.Path == "/found" {
			return found, nil
		}
		return silent, nil
	}}))
	found.lists <- []lb.Endpoint{{URL: one.URL}}
	c := w.dial()
	testkit.Eventually(t, "the target is found", func() bool { return c.Get("/a/").Status() == 200 })

	reloaded := make(chan error)
	go func() { reloaded <- w.Reload(parse(t, text(one.URL, "file:/silent"))) }()
	check := func(what string) {
		t.Helper()
		for _, path := range []string{"/a/", "/b/"} {
			if m := c.Get(path); m.Status() != 200 || m.Body != "one" {
				t.Errorf("%s %s: %s %q", what, path, m.Line, m.Body)
			}
		}
	}
	testkit.Eventually(t, "the new source runs", func() bool { return silent.running.Load() == 1 })
	for done := false; !done; {
		check("while the reload waits")
		select {
		case err := <-reloaded:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		if t.Failed() {
			<-reloaded
			return
		}
	}
	check("after the reload")
}
