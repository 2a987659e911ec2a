package main_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestImportCommand: what is translated passes weir check, and the exit status says whether it is all.
func TestImportCommand(t *testing.T) {
	t.Parallel()
	check := func(code int, stderr string, program, text string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "other.conf")
		write(t, path, text)
		out, errs, got := weir(t, "import", program, path)
		if got != code || !strings.Contains(errs, stderr) {
			t.Errorf("weir import %s: exit code %d, want %d and %q\n%s%s", program, got, code, stderr, out, errs)
		}
		if code != 0 && code != 3 {
			return
		}
		if checked, errs, code := weir(t, "check", "--config", file(t, out)); code != 0 {
			t.Errorf("weir check: %s%s\n%s", checked, errs, out)
		}
	}
	check(0, "", "nginx", "server { listen 8080; location / { proxy_pass http://127.0.0.1:9001; } }")
	check(3, "other.conf:2: auth_request /x is not translated; THE ROUTE IS CLOSED", "nginx", "server { listen 8080;\nauth_request /x; location / { proxy_pass http://127.0.0.1:9001; } }")
	check(1, `other.conf:1: found the end of the file: want "}"`, "nginx", "server {")
	check(1, "nothing that serves HTTP", "nginx", "events {}")
	check(1, `found program "apache"`, "apache", "")
	check(0, "", "caddy", "http://a.example {\nreverse_proxy 127.0.0.1:9001\n}\n")
	check(0, "", "haproxy", "frontend f\nmode http\nbind :8080\ndefault_backend b\nbackend b\nserver s 127.0.0.1:9001\n")
	check(3, "there are no entry points", "traefik", "http: {routers: {r: {rule: 'Path(`/`)', service: s}}, services: {s: {loadBalancer: {servers: [{url: 'http://127.0.0.1:9001'}]}}}}")
	if _, errs, code := weir(t, "import", "nginx", filepath.Join(t.TempDir(), "none")); code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("a file that is not there: exit code %d, %s", code, errs)
	}
	if _, errs, code := weir(t, "import", "nginx"); code != 2 || !strings.Contains(errs, "takes PROGRAM FILE") {
		t.Errorf("without a file: exit code %d, %s", code, errs)
	}
}
