package main_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"weir/internal/testkit"
)

// TestDiscoveryCommands: what the commands say of services, sources and found targets.
func TestDiscoveryCommands(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	list := filepath.Join(folder, "targets.json")
	write(t, list, `{"targets": [{"url": "http://127.0.0.1:9", "weight": 3}]}`)
	path := file(t, registryConfig(folder)+fmt.Sprintf("[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [\"demo:one\", \"file:%s\", \"file:%s.missing\"]\n", list, list))
	c := start(t, "run", "--config", path)
	admin := "unix:" + filepath.Join(folder, "admin")
	says := func(want string, args ...string) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("weir %q says %s", args, want), func() bool {
			stdout, _, code := weir(t, append(args, "--admin", admin)...)
			return code == 0 && regexp.MustCompile("(?m)"+want).MatchString(stdout)
		})
	}
	says(`^UPSTREAM .* LATENCY +SOURCE +REASON\no +demo:one .* the configuration *\no +http://127.0.0.1:9 +healthy +3 .* file:`+regexp.QuoteMeta(list)+`$`, "upstreams")
	says(`^file:`+regexp.QuoteMeta(list)+` +o +\d+s ago +1 +0 +0$`, "sources")
	says(`^file:`+regexp.QuoteMeta(list)+`\.missing +o +never +0 +0 +\d+ +fails: .*no such file`, "sources")
	says(`^SERVICE +VERSION +ENDPOINT `, "services")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://localhost/registry/shop/v1/127.0.0.1:9", strings.NewReader(`{"weight":2,"ttl":"1h"}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := unixClient(filepath.Join(folder, "admin")).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	says(`^shop +v1 +http://127.0.0.1:9 +2 +0 +\d+s ago +1h0m0s +0 +registration$`, "services")
	says(`^\[`, "services", "--json")
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// unixClient is a client of a server on a unix socket.
func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// TestUpgradeKeepsChanges: what an operator or a client changes while a process replaces another one holds for
// both, from the answer on, whichever of the two gets the next request.
func TestUpgradeKeepsChanges(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	var version atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		if r.Method == http.MethodPost {
			version.Add(1)
		}
		fmt.Fprint(w, version.Load())
	}))
	defer origin.Close()
	u := startUpgrading(t, fmt.Sprintf(`
[[listeners]]
address = '127.0.0.1:0'
[[routes]]
path = '/stored'
upstream = 'fixed'
cache = true
[[routes]]
path = '/{service}/{version}/'
upstream = '{service}/{version}'
[upstreams.fixed]
targets = [%q, 'http://127.0.0.1:9']
health.passive.failures = 0
`, origin.URL))
	u.keepLog()
	operators := unixClient(filepath.Join(filepath.Dir(u.program), "admin"))
	clients := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	public := u.url
	ask := func(client *http.Client, method, url, body string) (status int, text string) {
		request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s: %v", method, url, err)
			return 0, ""
		}
		defer response.Body.Close()
		read, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(read)
	}
	want := func(what string, got, want any) {
		if got != want {
			t.Errorf("%s: %v; want %v", what, got, want)
		}
	}
	enough := make(chan struct{})
	var all sync.WaitGroup
	rounds := make([]atomic.Int64, 3)
	repeat := func(i int, f func(n int)) {
		all.Go(func() {
			for n := 1; !t.Failed(); n++ {
				select {
				case <-enough:
					return
				default:
					f(n)
					rounds[i].Add(1)
				}
			}
		})
	}
	repeat(0, func(n int) {
		service := fmt.Sprintf("shop/v%d", n%7)
		endpoint := "http://localhost/registry/" + service + "/" + origin.Listener.Addr().String()
		status, _ := ask(operators, http.MethodPut, endpoint, "")
		want("PUT "+service, status, 200)
		status, _ = ask(clients, http.MethodGet, public+"/"+service+"/", "")
		want("GET of what is registered", status, 200)
		status, _ = ask(operators, http.MethodDelete, endpoint, "")
		want("DELETE "+service, status, 200)
		status, _ = ask(operators, http.MethodDelete, endpoint, "")
		want("DELETE again", status, 404)
	})
	repeat(1, func(n int) {
		on := n%2 == 1
		status, _ := ask(operators, http.MethodPost, "http://localhost/drain", fmt.Sprintf(`{"upstream":"fixed","target":"http://127.0.0.1:9","on":%t}`, on))
		want("POST /drain", status, 200)
		status, text := ask(operators, http.MethodGet, "http://localhost/upstreams", "")
		want("GET /upstreams", status, 200)
		want(fmt.Sprintf("a target drains, asked for %t", on), strings.Contains(text, `"draining"`), on)
	})
	repeat(2, func(int) {
		before := fmt.Sprint(version.Load())
		status, text := ask(clients, http.MethodGet, public+"/stored", "")
		if status == 200 {
			want("GET /stored", text, before)
		}
		if status, _ = ask(clients, http.MethodPost, public+"/stored", ""); status == 200 {
			_, text = ask(clients, http.MethodGet, public+"/stored", "")
			want("GET /stored after a POST", text, fmt.Sprint(version.Load()))
		}
	})
	more := func() {
		t.Helper()
		for i := range rounds {
			n := rounds[i].Load()
			testkit.Eventually(t, "more is changed", func() bool { return t.Failed() || rounds[i].Load() > n+1 })
		}
	}
	for range 3 {
		more()
		u.upgrade()
	}
	more()
	close(enough)
	all.Wait()
	u.stop()
}
