package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestTests: weir test compares what a configuration makes of requests with what files expect.
func TestTests(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "weir.toml"), strings.Replace(small, `upstream = "demo"`, "upstream = \"demo\"\ncache = true\nrequest_headers = { set = { X-A = \"1\" }, remove = [\"Cookie\"] }", 1))
	tests := filepath.Join(folder, "tests.toml")
	run := func(text string, args ...string) (out string, code int) {
		t.Helper()
		write(t, tests, text)
		stdout, stderr, code := weir(t, append(append([]string{"test"}, args...), tests)...)
		return stdout + stderr, code
	}
	const good = `
config = "weir.toml"

[[tests]]
name = "hello"
request = "http://a.example/hello"
[tests.want]
route = "route-1"
status = 200
cause = "fixed_response"
cache = ""

[[tests]]
request = "GET http://a.example/x?y=1"
headers = ["Cookie: a=b", "Accept: */*"]
from = "192.0.2.1"
answer = ["Cache-Control: max-age=60", "X-B: 2"]
[tests.want]
route = "route-2"
upstream = "demo"
target = ["demo:one", "demo:two"]
request = "GET /x?y=1"
request_headers = { X-A = 1, Cookie = false, X-Request-Id = true, X-Forwarded-For = "192.0.2.1" }
response_headers = { X-B = "2", Cache-Control = ["max-age=60"], Server = false }
cache = "stored"
`
	if out, code := run(good); code != 0 || out != tests+": 2 tests passed\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	fails := func(old, new string, want ...string) {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("there is no %q", old)
		}
		out, code := run(strings.Replace(good, old, new, 1))
		if code != 1 {
			t.Errorf("%s: exit code %d", new, code)
		}
		for _, want := range want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in %s", new, want, out)
			}
		}
	}
	fails(`route = "route-1"`, `route = "route-2"`, "FAIL "+tests+": hello\n     route is \"route-1\", want \"route-2\"\n", "1 test passed", "1 of 2 tests failed")
	fails("status = 200", "status = 404", "status is 200, want 404")
	fails(`upstream = "demo"`, `upstream = "d"`, ": test 2, GET http://a.example/x?y=1\n", `upstream is "demo", want "d"`)
	fails(`["demo:one", "demo:two"]`, `["demo:two"]`, `target is "demo:one", want ["demo:two"]`)
	fails("GET /x?y=1", "GET /y", `request is "GET /x?y=1", want "GET /y"`)
	fails("X-A = 1", "X-A = 2", `request_headers.X-A is "1", want 2`)
	fails("Cookie = false", "Accept = false", `request_headers.Accept is "*/*", want none`)
	fails("Server = false", "Server = true", `response_headers.Server is not there, want any value`)
	fails(`cache = "stored"`, `cache = "private"`, `cache is "stored", want "private"`)
	// A target may be spelled as in the configuration, or as weir names it.
	spelled := file(t, strings.Replace(small, `targets = ["demo:one", "demo:two"]`, `targets = ["HTTP://App.example:80/"]`, 1))
	for _, url := range []string{"http://app.example:80", "http://app.example", "HTTP://App.example:80/"} {
		text := "[[tests]]\nrequest = 'http://a.example/x'\nwant.target = '" + url + "'\n"
		if out, code := run(text, "--config", spelled); code != 0 {
			t.Errorf("%s: exit code %d, %s", url, code, out)
		}
	}
	// What is wrong with the files.
	fails("[tests.want]", "[tests.wants]", `tests.wants: found an unknown key`, `did you mean "want"?`)
	fails("route =", "rout =", `tests.want.rout: found an unknown key`, `did you mean "route"?`)
	fails("config =", "configs =", `configs: found an unknown key`, `did you mean "config"?`)
	fails(`from = "192.0.2.1"`, `from = "x"`, "test 2, GET http://a.example/x?y=1: from: found \"x\": want an IP address")
	fails("weir.toml", "none.toml", "no such file")
	fails("[[tests]]", "[[tests", "cannot read the tests")
	if out, code := run("config = 'weir.toml'"); code != 1 || !strings.Contains(out, "want at least one [[tests]]") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, code := run(good, "--json"); code != 0 || !strings.Contains(out, `"name": "hello"`) {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, code := run(good, "--config", file(t, small)); code != 1 || !strings.Contains(out, "request_headers.Cookie is \"a=b\", want none") {
		t.Errorf("with another configuration: exit code %d, %s", code, out)
	}
	missing := filepath.Join(t.TempDir(), "none.toml")
	if out, code := run(good, "--config", missing); code != 1 || !strings.Contains(out, "cannot run the tests of ") || !strings.Contains(out, missing) {
		t.Errorf("without a configuration: exit code %d, %s", code, out)
	}
	if _, stderr, code := weir(t, "test"); code != 2 || !strings.Contains(stderr, "weir test takes FILE...") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestExplainRunning: what a running weir says of a request, with its targets as they are.
func TestExplainRunning(t *testing.T) {
	address := "unix:" + filepath.Join(t.TempDir(), "admin")
	path := file(t, strings.Replace(small, `upstream = "demo"`, "upstream = \"demo\"\ncache = { default_ttl = \"1h\" }", 1)+"[admin]\naddress = '"+address+"'\n")
	c := start(t, "run", "--config", path)
	says := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, code := weir(t, args...)
		if code != 0 || stderr != "" || !regexp.MustCompile("(?m)"+want).MatchString(stdout) {
			t.Errorf("weir %q: exit code %d, %s%s; want %s", args, code, stdout, stderr, want)
		}
	}
	says(`^demo:one is draining`, "drain", "--config", path, "demo", "demo:one")
	says(`^demo:two has weight 7`, "weight", "--config", path, "demo", "demo:two", "7")
	says(`^target +demo:one +weight 1, draining, 0 running exchanges, by the operator\n +target +demo:two +weight 7, healthy, 0 running exchanges, is picked$|^target +demo:one +weight 1, draining, 0 running exchanges, by the operator\ntarget +demo:two +weight 7, healthy, 0 running exchanges, is picked$`,
		"explain", "--running", "--config", path, "http://a/x")
	says(`^  now miss: nothing is stored under this URL`, "explain", "--admin", address, "http://a/x")
	_, stderr, code := weir(t, "explain", "--admin", address, "--listener", "other", "http://a/x")
	if code != 1 || !strings.Contains(stderr, `found listener "other"`) {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// TestPlan: what a reload would do, which is then what it does.
func TestPlan(t *testing.T) {
	admin := "[admin]\naddress = 'unix:" + filepath.Join(t.TempDir(), "admin") + "'\n"
	path := file(t, small+admin)
	c := start(t, "run", "--config", path)
	plan := func(code int, want ...string) {
		t.Helper()
		stdout, stderr, got := weir(t, "plan", "--admin", strings.Trim(strings.TrimPrefix(strings.TrimSpace(admin), "[admin]\naddress = "), "'"))
		if got != code {
			t.Errorf("exit code %d, want %d: %s%s", got, code, stdout, stderr)
		}
		for _, want := range want {
			if !regexp.MustCompile("(?m)" + want).MatchString(stdout + stderr) {
				t.Errorf("no %s in\n%s%s", want, stdout, stderr)
			}
		}
	}
	plan(0, `^a reload changes nothing; `)
	changed := strings.NewReplacer(
		`respond = { body = "first" }`, `respond = { body = "second" }`, `"demo:two"]`, `"demo:three"]`, "127.0.0.1:0", "127.0.0.1:0", "[[routes]]\nupstream", "[[routes]]\nname = \"all\"\nupstream",
	).Replace(small)
	write(t, path, changed+admin+"[upstreams.new]\ntargets = [\"demo:x\"]\n[log]\nlevel = \"debug\"\n[cache]\nsize = \"16MiB\"\n")
	plan(0, `^change +route route-1 +respond\.body$`, `^add +route all$`, `^drop +route route-2$`, `^change +upstream demo +targets +its targets keep`,
		`^add +target demo:three +of upstream demo$`, `^drop +target demo:two +of upstream demo: no new exchanges; 0 running exchanges may end$`,
		`^add +upstream new +1 target$`, `^rebuild +cache +size +no route had a cache$`, `^change +settings log +level$`)
	write(t, path, changed+admin+"nonsense = 1\n")
	plan(1, `found an unknown key`)
	write(t, path, changed+admin)
	c.signal(syscall.SIGHUP)
	c.logged("msg=reloaded")
	plan(0, `^a reload changes nothing; `)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	plan(1, "no such file")
	c.signal(syscall.SIGTERM)
	c.ends(0)
}
