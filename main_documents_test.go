package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"weir/internal/testkit"
)

// TestDocuments: routes and upstreams that a web server has are checked like a file, put into force as a
// whole, and stay when the server fails, over a restart too.
func TestDocuments(t *testing.T) {
	t.Parallel()
	var text atomic.Value
	set := func(s string) { text.Store(s) }
	answer := func(says string) string {
		return fmt.Sprintf("[[routes]]\npath = \"/page\"\nrespond = { body = %q }\n", says)
	}
	set(answer("first"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text.Load() == "" {
			w.WriteHeader(500)
		}
		io.WriteString(w, text.Load().(string))
	}))
	defer server.Close()
	metrics := filepath.Join(t.TempDir(), "metrics")
	path := file(t, fmt.Sprintf(`
include = "list+%s/routes.toml#every=100ms"
[[listeners]]
address = "127.0.0.1:0"
[metrics]
address = "unix:%s"
[discovery]
persist = %q
`, server.URL, metrics, filepath.Join(t.TempDir(), "kept")))
	c := start(t, "run", "--config", path)
	says := func(what, want string) {
		t.Helper()
		testkit.Eventually(t, what, func() bool {
			_, body := c.get("/page")
			return body == want
		})
	}
	says("loaded at the start", "first")
	version := func() (n int) {
		t.Helper()
		r, err := unixClient(metrics).Get("http://localhost/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), "\nweir_config_documents_version{")
		if _, value, ok := strings.Cut(rest, "} "); found && ok {
			fmt.Sscan(value, &n)
		}
		return n
	}
	first := version()
	set(answer("second"))
	says("changed", "second")
	testkit.Eventually(t, "the version in force is another one", func() bool { return version() > first && first > 0 })

	// Something wrong changes nothing, and is explained.
	set(answer("third") + "[[routes]]\npath = \"no slash\"\nrespond = { body = \"x\" }\n")
	if line := c.logged("reload failed"); !strings.Contains(line, "routes.toml") || !strings.Contains(line, "no slash") {
		t.Errorf("the log: %s", line)
	}
	says("something wrong", "second")
	if _, stderr, code := weir(t, "check", "--config", path); code != 1 || !strings.Contains(stderr, "routes.toml") || !strings.Contains(stderr, `routes[1].path`) {
		t.Errorf("weir check: %d %s", code, stderr)
	}
	set("[admin]\naddress = \"127.0.0.1:0\"\n" + answer("fourth"))
	if line := c.logged("reload failed"); !strings.Contains(line, "only files may have") {
		t.Errorf("the log: %s", line)
	}
	set(answer("fifth"))
	says("right again", "fifth")
	c.logged("msg=reloaded") // and kept
	if stdout, stderr, code := weir(t, "check", "--config", path); code != 0 || !strings.Contains(stdout, "1 route") {
		t.Errorf("weir check: %d %s%s", code, stdout, stderr)
	}

	// The server fails, and weir starts all the same.
	set("")
	c.logged("a source failed")
	says("it fails", "fifth")
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c = start(t, "run", "--config", path)
	says("after a restart", "fifth")
	set(answer("sixth"))
	says("the server is back", "sixth")
	c.logged("msg=reloaded") // and kept

	// What the server has cannot be used, and weir starts all the same.
	set("nonsense")
	c.logged("reload failed")
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c = start(t, "run", "--config", path)
	says("started with what it had", "sixth")
	set(answer("seventh"))
	says("right again", "seventh")
}
