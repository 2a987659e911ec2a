package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir/config"
)

// minimal is the smallest useful file.
const minimal = `
[[listeners]]
address = "127.0.0.1:8080"

[[routes]]
upstream = "origin"

[upstreams.origin]
targets = ["http://127.0.0.1:9001", "http://127.0.0.1:9002"]
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParse(t *testing.T) {
	c := parse(t, minimal)
	if got := c.Upstreams["origin"].Targets[1]; got != config.DefaultTarget("http://127.0.0.1:9002") {
		t.Errorf("the second target is %+v", got)
	}
	// elements of lists and maps have their defaults
	if got := c.Listeners[0].Timeouts.Idle.D(); got != 75*time.Second {
		t.Errorf("the listener's idle time is %v", got)
	}
	if got := c.Routes[0].HostHeader; got != "pass" {
		t.Errorf("the route's host_header is %q", got)
	}
	if got := c.Upstreams["origin"].Connections.HeaderBytes; got != 64<<10 {
		t.Errorf("the upstream's header_bytes is %v", got)
	}

	c = parse(t, `
listeners = [{ address = ":80", name = "a", limits.header_bytes = "1KiB" }, { address = "unix:/run/weir.sock", proxy_protocol = ["10.0.0.0/8", "::1"] }]
[[routes]]
host = "a.example"
path = ["/{service}/{version}/", "/v2/{version}/{service}/"]
upstream = "{service}/{version}"
strip_prefix = true
[routes.request_headers.set]
X-Service = "{{{service}}}"
[[routes]]
path = "/old"
redirect.to = "/new"
[upstreams."serviceone/v1"]
targets = [{ url = "https://[::1]:8443", weight = 3 }, "unix:/run/app.sock"]
timeouts = { first_byte = "1h30m" }
`)
	if got := c.Listeners[0].Limits; got.HeaderBytes != 1024 || got.Connections != 0 {
		t.Errorf("limits are %+v", got)
	}
	if got := c.Listeners[1].ProxyProtocol[1].String(); got != "::1/128" {
		t.Errorf("the second prefix is %s", got)
	}
	if got := c.Routes[0].Host; !reflect.DeepEqual(got, config.Strings{"a.example"}) {
		t.Errorf("hosts are %q", got)
	}
	if got := c.Routes[0].Captures(); !reflect.DeepEqual(got, []string{"service", "version"}) {
		t.Errorf("captures are %q", got)
	}
	if got := c.Routes[1].Redirect.Status; got != 308 {
		t.Errorf("a redirect's status is %d", got)
	}
	if got := c.Routes[1].Label(1); got != "route-2" {
		t.Errorf("the label of the second route is %q", got)
	}
	u := c.Upstreams["serviceone/v1"]
	if u.Targets[0].Weight != 3 || u.Targets[1].URL != "unix:/run/app.sock" {
		t.Errorf("targets are %+v", u.Targets)
	}
	if u.Timeouts.FirstByte.D() != 90*time.Minute || u.Timeouts.Connect.D() != 2*time.Second {
		t.Errorf("timeouts are %+v", u.Timeouts)
	}
}

// TestRouteCache covers a key that is a boolean or a table.
func TestRouteCache(t *testing.T) {
	check := func(key string, want *config.RouteCache) {
		t.Helper()
		c := parse(t, strings.Replace(minimal, `"origin"`, "\"origin\"\n"+key, 1))
		if got := c.Routes[0].Cache; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", key, got, want)
		}
	}
	off, forced := config.DefaultRouteCache(), config.DefaultRouteCache()
	off.Enabled = false
	forced.ForcedTTL = config.Duration(time.Minute)
	// nothing said: no cache
	check("", nil)
	check("cache = true", config.DefaultRouteCache())
	check("cache = false", off)
	// a table is true
	check("cache = { forced_ttl = '1m' }", forced)
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.toml")
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if file, line := c.Position("routes[0].upstream"); file != path || line != 6 {
		t.Errorf("the route's upstream stands at %s:%d", file, line)
	}
	_, err = config.Load(path + "x")
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot read the configuration: ") {
		t.Errorf("got error %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("WEIR_TEST_HOST", "127.0.0.1")
	t.Setenv("WEIR_TEST_IDLE", "5s")
	t.Setenv("WEIR_TEST_EMPTY", "")
	c := parse(t, `
[[listeners]]
address = "${WEIR_TEST_HOST}:80${WEIR_TEST_EMPTY}80"
timeouts.idle = "${WEIR_TEST_IDLE}"
[[routes]]
host = "${WEIR_TEST_HOST}"
respond.body = "$${WEIR_TEST_HOST} costs $5 ${WEIR_TEST_HOST}$"
`)
	if got := c.Listeners[0].Address; got != "127.0.0.1:8080" {
		t.Errorf("the address is %q", got)
	}
	if got := c.Listeners[0].Timeouts.Idle.D(); got != 5*time.Second {
		t.Errorf("the idle time is %v", got)
	}
	if got := c.Routes[0].Host[0]; got != "127.0.0.1" {
		t.Errorf("the host is %q", got)
	}
	if got := c.Routes[0].Respond.Body; got != "${WEIR_TEST_HOST} costs $5 127.0.0.1$" {
		t.Errorf("the body is %q", got)
	}
}

// TestErrors checks the whole text of what Parse says about a file.
func TestErrors(t *testing.T) {
	t.Setenv("WEIR_TEST_PORT", "http")
	check := func(text, want string) {
		t.Helper()
		c, err := config.Parse("config.toml", []byte(strings.TrimPrefix(text, "\n")))
		if err == nil {
			t.Fatalf("no error in\n%s", text)
		}
		if c != nil {
			t.Errorf("a Config was returned along with an error")
		}
		if got := err.Error(); got != strings.Trim(want, "\n") {
			t.Errorf("in\n%s\ngot\n%s\nwant\n%s", text, got, strings.Trim(want, "\n"))
		}
	}

	// everything is reported at once, in the order of the file
	check(`
[[listeners]]
adress = ":80"
min_tls = "1.4"
timeouts.idle = "1 minute"
[[routes]]
upstream = "orgin"
max_body = 1000
[upstreams.origin]
targets = [
  "http://127.0.0.1:9001",
  "ftp://127.0.0.1",
]
[upstreams.origin.timeouts]
conect = "1s"
[log]
levle = "info"
format = "txt"
`, `
config.toml:2: listeners[0].adress: found an unknown key: want one of name, address, certificates, tls, domains, https_redirect, min_tls, max_tls, ciphers, curves, hsts, ech, tickets, protocols, client_ca, client_crl, client_auth, client_allow, strict_sni, ocsp_stapling, pass_through, allow, deny, proxy_protocol, limits, timeouts; did you mean "address"?
config.toml:3: listeners[0].min_tls: found "1.4": want one of "1.0", "1.1", "1.2", "1.3"; did you mean "1.0"?
config.toml:4: listeners[0].timeouts.idle: found "1 minute": want a time span such as "250ms", "5s" or "1h30m"
config.toml:6: routes[0].upstream: found "orgin": want the name of an upstream: "origin"; did you mean "origin"?
config.toml:7: routes[0].max_body: found integer 1000: want a size such as "512", "64KiB" or "10MB"
config.toml:11: upstreams.origin.targets[1].url: found "ftp://127.0.0.1": want "http://host:port", "https://host:port", "h2c://host:port", "unix:/path", "demo:NAME" or "handler:NAME"
config.toml:14: upstreams.origin.timeouts.conect: found an unknown key: want one of connect, tls, first_byte, idle, write, total, deadline_header; did you mean "connect"?
config.toml:16: log.levle: found an unknown key: want one of output, facility, level, format; did you mean "level"?
config.toml:17: log.format: found "txt": want one of "text", "json"; did you mean "text"?
`)

	// an empty file
	check(``, `
config.toml: listeners: found nothing: want at least one [[listeners]]
config.toml: routes: found nothing: want at least one [[routes]]
`)

	// a syntax error stands alone
	check("[[listeners]]\naddress = 127.0.0.1:8080\nnonsense = 1\n", `
config.toml:2: cannot parse TOML: Invalid float value: "127.0.0.1"
`)
	check("[log]\nlevel = 'info'\nlevel = 'warn'\n", `
config.toml:3: cannot parse TOML: Key 'log.level' has already been defined.
`)

	// wrong types
	check(`
listeners = "127.0.0.1:80"
routes = [1, { upstream = ["a"] , host = 5, strip_prefix = "yes", respond = "hello" }]
upstreams = []
lifecycle.drain = 30
lifecycle.watch = 1
metrics = 2024-01-01
`, `
config.toml:1: listeners: found "127.0.0.1:80": want a list of tables
config.toml:2: routes[0]: found integer 1: want a table
config.toml:2: routes[1].host: found integer 5: want a string or a list
config.toml:2: routes[1].upstream: found a list: want a string
config.toml:2: routes[1].respond: found "hello": want a table
config.toml:2: routes[1].strip_prefix: found "yes": want true or false
config.toml:3: upstreams: found a list: want a table
config.toml:4: lifecycle.drain: found integer 30: want a time span such as "250ms", "5s" or "1h30m"
config.toml:5: lifecycle.watch: found integer 1: want true or false
config.toml:6: metrics: found a date or time: want a table
`)
	check("[upstreams.a]\ntargets = \"http://127.0.0.1:80\"\n", `
config.toml: listeners: found nothing: want at least one [[listeners]]
config.toml: routes: found nothing: want at least one [[routes]]
config.toml:2: upstreams.a.targets: found "http://127.0.0.1:80": want a list, as in ["..."]
`)

	// the environment
	check(`
[[listeners]]
address = ":${WEIR_TEST_PORT}"
[[routes]]
respond.body = "${WEIR_TEST_UNSET} and ${WEIR_TEST_UNSET2}"
[[routes]]
name = "${not-a-name}"
respond = {}
`, `
config.toml:2: listeners[0].address: found ":${WEIR_TEST_PORT}" with the values of the environment: want a port of 0 to 65535
config.toml:4: routes[0].respond.body: found "${WEIR_TEST_UNSET}": want the name of an environment variable that is set
config.toml:4: routes[0].respond.body: found "${WEIR_TEST_UNSET2}": want the name of an environment variable that is set
config.toml:6: routes[1].name: found "${not-a-name}": want "${NAME}" with letters, digits and underscores, "${NAME:-default}", "${file:PATH}", or "$${" for a literal "${"
`)
}

// Values of the environment are values, never templates, and no error shows them.
func TestEnvironmentIsSecret(t *testing.T) {
	const secret = `pa{ss}"word\`
	t.Setenv("WEIR_TEST_SECRET", secret)
	t.Setenv("WEIR_TEST_VARIABLE", "{host}")
	c, err := config.Parse("config.toml", []byte(`
[[listeners]]
address = ":80"
[[routes]]
path = "/a/"
upstream = "a"
request_headers.set.Authorization = "Basic ${WEIR_TEST_SECRET}{path}"
response_headers.add.X = "${WEIR_TEST_VARIABLE}"
[[routes]]
redirect.to = "/${WEIR_TEST_VARIABLE}{path}"
[upstreams.a]
targets = ["demo:a"]
`))
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(string) []byte { return []byte("/p") }
	for _, check := range []struct {
		got  config.Template
		want string
	}{
		{c.Routes[0].RequestHeaders.Set["Authorization"], "Basic " + secret + "/p"},
		{c.Routes[0].ResponseHeaders.Add["X"], "{host}"},
		{c.Routes[1].Redirect.To, "/{host}/p"},
	} {
		if got := string(check.got.Append(nil, lookup)); got != check.want {
			t.Errorf("got %s, want %s", got, check.want)
		}
	}

	for _, keys := range []string{
		"[lifecycle]\ndrain = '${WEIR_TEST_SECRET}'",                               // refused where the text is decoded
		"[log]\nlevel = 'x${WEIR_TEST_SECRET}'",                                    // by a validator
		"[upstreams.a]\ntargets = ['http://u:${WEIR_TEST_SECRET}@host']",           // in a part of a value
		"[upstreams.a]\ntargets = ['demo:a']\nsticky.path = '${WEIR_TEST_SECRET}'", // of another file
		"[admin]\naddress = 'unix:${WEIR_TEST_SECRET}'",                            // by a text type
		"[[listeners]]\naddress = ':81'\ncertificates = [{ cert = '${WEIR_TEST_SECRET}', key = '/k' }]",
		"[[routes]]\nname = '${WEIR_TEST_SECRET}'\nrespond = {}\n[[routes]]\nname = '${WEIR_TEST_SECRET}'\nrespond = {}",
	} {
		_, err := config.Parse("config.toml", []byte("[access_log]\noutput = ''\n"+keys), func(c *config.Config) config.Errors {
			return c.Locate(config.Errors{{Key: "log.level", Message: "is " + c.Log.Level}})
		})
		if err == nil || strings.Contains(err.Error(), "word") {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

// What the TOML library would need an unbounded stack for is refused before it sees it.
func TestDepth(t *testing.T) {
	check := func(text, want string) {
		t.Helper()
		_, err := config.Parse("f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %s", text, err, want)
		}
	}
	const many, deep = 3_000_000, "lists and tables within each other"
	check("a = "+strings.Repeat("[", many)+strings.Repeat("]", many), "f:1: cannot parse TOML: more than 64 "+deep)
	check("\na = "+strings.Repeat("[", many), "f:2: cannot parse TOML: more than 64 "+deep)
	check("# [[[\na = '''\n[\n'''\nb = "+strings.Repeat("{a=", many), "f:5: cannot parse TOML: more than 64 "+deep)
	check(strings.Repeat("a.", many)+"a = 1", "f:1: cannot parse TOML: more than 64 "+deep)
	check("["+strings.Repeat("a . ", many)+"a]", "f:1: cannot parse TOML: more than 64 "+deep)
	check("a = '"+strings.Repeat("[", many)+"\nb = "+strings.Repeat("[\n", many), deep)
	// Brackets in strings and comments do not count.
	check(strings.Repeat("# [[[\n", 100)+"a = [\"\\\""+strings.Repeat("[", 100)+"\", '"+strings.Repeat("{", 100)+"']", "f:101: a: found an unknown key")
	check("a = \"\"\"\n"+strings.Repeat("[\"\n", 100)+"\"\"\"\nb = [[1], [2]]", "f:1: a: found an unknown key")
}

func TestErrorsCanBeRead(t *testing.T) {
	_, err := config.Parse("config.toml", []byte(strings.Replace(minimal, `"origin"`, `"orgin"`, 1)))
	list, ok := errors.AsType[config.Errors](err)
	if !ok || len(list) != 1 {
		t.Fatalf("got %#v", err)
	}
	want := config.Problem{
		File: "config.toml", Line: 6, Key: "routes[0].upstream",
		Found: `"orgin"`, Want: `the name of an upstream: "origin"`, Hint: "origin",
	}
	if list[0] != want {
		t.Errorf("got %#v", list[0])
	}
	if one, ok := errors.AsType[config.Problem](err); !ok || one != want {
		t.Errorf("the problem is not found as an error of its own: %#v", one)
	}
}

func TestKey(t *testing.T) {
	check := func(want string, parts ...any) {
		t.Helper()
		if got := config.Key(parts...); got != want {
			t.Errorf("%q: got %s, want %s", parts, got, want)
		}
	}
	check("routes[0].upstream", "routes", 0, "upstream")
	check(`upstreams."a/b".targets[2].url`, "upstreams", "a/b", "targets", 2, "url")
	check(`upstreams."a.b"`, "upstreams", "a.b")
	check(`upstreams.""`, "upstreams", "")
	check(`upstreams."a\"b"`, "upstreams", `a"b`)
	check("")
}

func TestNearest(t *testing.T) {
	check := func(found, want string, known ...string) {
		t.Helper()
		if got := config.Nearest(found, known); got != want {
			t.Errorf("%q in %q: got %q, want %q", found, known, got, want)
		}
	}
	check("adress", "address", "name", "address")
	// neighbours swapped count once
	check("nmae", "name", "name", "address")
	// case does not count
	check("Idle-Timeout", "idle_timeout", "idle_timeout")
	check("round-robin", "round_robin", "random", "round_robin")
	// nothing near
	check("colour", "", "name", "address")
	check("", "", "name", "a")
	check("x", "", "y")
	// the nearest of several
	check("cert1", "cert", "certs2", "cert")
}

// FuzzParse makes sure that no file makes Parse panic, that what it accepts is
// valid, and that all problems of what it does not accept have a text.
func FuzzParse(f *testing.F) {
	reference, err := os.ReadFile(filepath.Join("..", "config.toml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(reference))
	f.Add(minimal)
	f.Add("listeners = [{ address = ':80', timeouts.idle = '${HOME}' }]\nroutes = [{respond = {}}, 1]")
	f.Add("'a b'.\"c\\u0041\".d = [[1, {x = '''y\n'''}], 1979-05-27]")
	f.Add("[[routes]]\npath = ['/{a}/', '/{b}/']\nupstream = '{{{a}}}'\n[routes.query]\n'' = ''\n[upstreams.'']")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse("f", []byte(text))
		if (c == nil) != (err != nil) {
			t.Fatalf("got %v and error %v", c, err)
		}
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Fatalf("Parse accepted what Validate refuses: %v", err)
			}
			return
		}
		list, ok := errors.AsType[config.Errors](err)
		if !ok || len(list) == 0 {
			t.Fatalf("the error is a %T: %v", err, err)
		}
		for i, p := range list {
			if p.File != "f" || p.Found == "" && p.Message == "" {
				t.Errorf("an empty problem: %#v", p)
			}
			if i > 0 && p.Line < list[i-1].Line {
				t.Errorf("problems are not in the order of the file: %v", err)
			}
		}
	})
}
