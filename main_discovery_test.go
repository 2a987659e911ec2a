package main_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
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

// TestUpgradeKeepsRegistrations: what is registered while a process replaces another one is in the registry
// afterwards, whichever of the two was asked.
func TestUpgradeKeepsRegistrations(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	u := startUpgrading(t, "[[listeners]]\naddress = '127.0.0.1:0'\n[[routes]]\npath = '/{service}/{version}/'\nupstream = '{service}/{version}'\n")
	client := unixClient(filepath.Join(filepath.Dir(u.program), "admin"))
	// do returns the status of the answer; 0 if there was none, so that it is not known what happened.
	do := func(method, endpoint string) int {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/registry/shop/v1/"+endpoint, nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		response, err := client.Do(request)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	enough, ended := make(chan struct{}), make(chan map[string]bool)
	registered := make(chan struct{}, 1) // has a token when something was registered since it was taken
	go func() {
		there := make(map[string]bool)
		for port := 1; ; port++ {
			select {
			case <-enough:
				ended <- there
				return
			default:
			}
			endpoint := fmt.Sprintf("127.0.0.1:%d", port)
			status := do(http.MethodPut, endpoint)
			if port%5 == 0 {
				status = do(http.MethodDelete, endpoint) // 404 after a PUT without an answer
			}
			switch {
			case status == http.StatusOK, status == http.StatusNotFound && port%5 == 0:
				there["http://"+endpoint] = port%5 != 0
			case status != 0:
				t.Errorf("status %d about %s", status, endpoint)
			}
			select {
			case registered <- struct{}{}:
			default:
			}
		}
	}()
	<-registered
	u.upgrade()
	<-registered
	<-registered
	close(enough)
	there := <-ended
	var wrong []string
	defer func() {
		if t.Failed() {
			t.Logf("of %d endpoints these are lost, or not removed: %q", len(there), wrong)
		}
	}()
	testkit.Eventually(t, "the new process has what was registered", func() bool {
		stdout, _, _ := weir(t, "services", "--json", "--config", u.config)
		wrong = nil
		for endpoint, is := range there {
			if is != strings.Contains(stdout, `"`+endpoint+`"`) {
				wrong = append(wrong, endpoint)
			}
		}
		return len(wrong) == 0
	})
	u.stop()
}
