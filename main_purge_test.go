package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var adminAPI = regexp.MustCompile(`msg="admin API" address=(\S+)`)

// TestPurge: weir purge finds the weir that runs and ends what it was told to.
func TestPurge(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Surrogate-Key", "news")
		io.WriteString(w, "body")
	}))
	defer origin.Close()
	text := func(admin string) string {
		return fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
[admin]
address = %q
`, origin.URL, admin)
	}
	path := file(t, text("unix:"+filepath.Join(t.TempDir(), "admin")))
	c := start(t, "run", "--config", path)
	check := func(want string, args ...string) {
		t.Helper()
		c.stored("/a", "/b/1", "/b/2")
		stdout, stderr, code := weir(t, append([]string{"purge"}, args...)...)
		if code != 0 || stdout != want || stderr != "" {
			t.Errorf("weir purge %q: exit code %d, %q, %q; want %q", args, code, stdout, stderr, want)
		}
	}
	// By the file.
	check("purged 1 entry\n", "--config", path, "--url", c.url+"/a")
	check("purged 0 entries\n", "--config", path, "--url", c.url+"/none")
	check("purged 2 entries\n", "--config", path, "--prefix", c.url+"/b/")
	check("purged 3 entries\n", "--config", path, "--host", strings.TrimPrefix(c.url, "http://"))
	check("purged 3 entries\n", "--config", path, "--group", "news")
	check("purged 3 entries\n", "--config", path, "--all")
	// Softly: the origin gives no validator, so the entry is there and stale.
	check("purged 1 entry\n", "--config", path, "--url", c.url+"/a", "--soft")
	// By the address, after a reload moved the API.
	write(t, path, text("127.0.0.1:0"))
	c.signal(syscall.SIGHUP)
	c.logged("msg=reloaded")
	fails := func(code int, want string, args ...string) {
		t.Helper()
		stdout, stderr, got := weir(t, append([]string{"purge"}, args...)...)
		if got != code || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("weir purge %q: exit code %d, %q, %q; want %d, %q", args, got, stdout, stderr, code, want)
		}
	}
	fails(1, "admin.address has port 0; name the address", "--config", path, "--all")
	second := start(t, "run", "--config", path)
	address := adminAPI.FindStringSubmatch(second.logged(`msg="admin API"`))[1]
	second.stored("/a", "/b/1")
	check("purged 2 entries\n", "--admin", address, "--all")

	// What could not be told is named.
	away := start(t, "run", "--config", file(t, text("127.0.0.1:0")+"[cache.far]\nurl = \"redis://127.0.0.1:1\"\n"))
	api := adminAPI.FindStringSubmatch(away.logged(`msg="admin API"`))[1]
	away.stored("/a")
	stdout, stderr, code := weir(t, "purge", "--admin", api, "--url", away.url+"/a")
	if code != 3 || stdout != "purged 1 entry\n" || !strings.Contains(stderr, "could not tell redis yet") {
		t.Errorf("pending: exit code %d, %q, %q", code, stdout, stderr)
	}

	// What does not work says why.
	fails(1, "has no admin.address; set it", "--config", file(t, small), "--all")
	fails(1, "no such file", "--config", filepath.Join(t.TempDir(), "none"), "--all")
	fails(1, "cannot reach the admin API at \"127.0.0.1:1\"", "--admin", "127.0.0.1:1", "--all")
	fails(1, "is that the admin API?", "--admin", strings.TrimPrefix(origin.URL, "http://"), "--all")
	none := start(t, "run", "--config", file(t, small+"[admin]\naddress = '127.0.0.1:0'\n"))
	fails(1, "no route has a cache", "--admin", adminAPI.FindStringSubmatch(none.logged(`msg="admin API"`))[1], "--all")
	// And what is not clear.
	fails(2, "found nothing to purge: want exactly one of --url, --host, --prefix, --group, --all", "--config", path)
	fails(2, "found --url and --all", "--url", "http://h/", "--all")
	fails(2, `url: found "/a": want http:// or https://`, "--url", "/a")
	fails(2, "leave out --config", "--config", path, "--admin", address, "--all")
	fails(2, `--admin: found "systemd:a": want "host:port"`, "--admin", "systemd:a", "--all")
	fails(2, "weir purge takes flags only", "/a")
}
