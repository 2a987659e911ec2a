package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/config"
)

// folder writes files into a folder of their own and makes it the working folder.
func folder(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

const including = "include = ['conf.d/*.toml', 'more.toml']\n[[listeners]]\naddress = ':80'\n[[routes]]\nname = 'main'\nupstream = 'a'\n"

// TestInclude: lists of several files are one list, and tables one table.
func TestInclude(t *testing.T) {
	t.Setenv("CONF", "deeper")
	folder(t, map[string]string{
		"weir.toml":            including + "[lifecycle]\ndrain = '1s'\n",
		"conf.d/20.toml":       "[[routes]]\nname = 'twenty'\nhost = 'b'\nupstream = 'b'\n[upstreams.b]\ntargets = ['demo:b']\n",
		"conf.d/10.toml":       "include = '${CONF}/*.toml'\nroutes = [{ name = 'ten', host = 'a', upstream = 'a' }]\n[upstreams.a]\ntargets = ['demo:a']\n",
		"conf.d/10.toml~":      "nonsense",
		"conf.d/deeper/x.toml": "[admin]\naddress = '127.0.0.1:9'\n",
		"more.toml":            "[[listeners]]\naddress = ':81'\n[lifecycle]\nwatch = true\n",
	})
	c, err := config.Load("weir.toml")
	if err != nil {
		t.Fatal(err)
	}
	var routes, listeners []string
	for _, r := range c.Routes {
		routes = append(routes, r.Name)
	}
	for _, l := range c.Listeners {
		listeners = append(listeners, string(l.Address))
	}
	if got := strings.Join(append(routes, listeners...), " "); got != "main ten twenty :80 :81" {
		t.Errorf("routes and listeners are %s", got)
	}
	if len(c.Upstreams) != 2 || !c.Lifecycle.Watch || c.Lifecycle.Drain.String() != "1s" || c.Admin.Address != "127.0.0.1:9" {
		t.Errorf("got %+v", c)
	}
	if got := strings.Join(c.Included(), " "); got != "conf.d/*.toml conf.d/deeper/*.toml more.toml" {
		t.Errorf("included are %s", got)
	}
	check := func(key, want string, line int) {
		t.Helper()
		if file, got := c.Position(key); file != want || got != line {
			t.Errorf("%s: at %s:%d, want %s:%d", key, file, got, want, line)
		}
	}
	check("routes[0].name", "weir.toml", 5)
	check("routes[1].name", "conf.d/10.toml", 2)
	check("routes[2].host", "conf.d/20.toml", 3)
	check("listeners[1].address", "more.toml", 2)
	check("upstreams.b.targets[0]", "conf.d/20.toml", 6)
	check("lifecycle.watch", "more.toml", 4)
	if a, err := config.LoadAdmin("weir.toml"); err != nil || a.Address != "127.0.0.1:9" {
		t.Errorf("the admin API is at %q, %v", a, err)
	}
}

// TestIncludeErrors: what is wrong is reported with the file in which it stands.
func TestIncludeErrors(t *testing.T) {
	check := func(what string, files map[string]string, want ...string) {
		t.Helper()
		files["weir.toml"] = including + files["weir.toml"]
		folder(t, files)
		_, err := config.Load("weir.toml")
		if err == nil || err.Error() != strings.Join(want, "\n") {
			t.Errorf("%s: got\n%v\nwant\n%s", what, err, strings.Join(want, "\n"))
		}
	}
	const good = "[upstreams.a]\ntargets = ['demo:a']\n"
	check("mistakes in several files", map[string]string{
		"weir.toml": "[log]\nlevel = 'loud'\n", "conf.d/a.toml": good + "[[routes]]\nupstream = 'b'\n", "more.toml": "\n[[routes]]\nupstreem = 'a'\n",
	},
		`conf.d/a.toml:4: routes[1].upstream: found "b": want the name of an upstream: "a"`,
		`more.toml:3: routes[2].upstreem: found an unknown key: want one of `+strings.Join(routeKeys(t), ", ")+`; did you mean "upstream"?`,
		`weir.toml:8: log.level: found "loud": want one of "debug", "info", "warn", "error"`)
	check("no TOML", map[string]string{"conf.d/a.toml": "[[", "more.toml": "x"},
		"conf.d/a.toml:1: cannot parse TOML: unexpected end of table name (table names cannot be empty)",
		"more.toml:1: cannot parse TOML: unexpected EOF; expected key separator '='")
	check("a file that is not there", map[string]string{"conf.d/a.toml": good},
		`weir.toml:1: include: cannot read "more.toml": no such file or directory`)
	check("a folder", map[string]string{"conf.d/a.toml": good, "more.toml/x": ""},
		`weir.toml:1: include: cannot read "more.toml": is a directory`)
	check("a key twice", map[string]string{"weir.toml": "[log]\nlevel = 'info'\n", "more.toml": good + "[log]\nlevel = 'warn'\n"},
		"more.toml:4: log.level: found a second value: the first is at weir.toml:8")
	check("an upstream twice", map[string]string{"conf.d/a.toml": good, "more.toml": good},
		"more.toml:2: upstreams.a.targets: found a second value: the first is at conf.d/a.toml:2")
	check("a loop", map[string]string{"conf.d/a.toml": good, "more.toml": "include = 'weir.toml'\n"},
		"more.toml:1: include: a file must not include itself: weir.toml -> more.toml -> weir.toml")
	check("a file twice", map[string]string{"conf.d/a.toml": good, "more.toml": "include = 'conf.d/a.toml'\n"},
		`more.toml:1: include: "conf.d/a.toml" is included already, at weir.toml:1`)
	check("no text", map[string]string{"conf.d/a.toml": good + "[x]", "more.toml": "include = 1\n"},
		`conf.d/a.toml:3: x: found an unknown key: want one of `+strings.Join(topKeys, ", "),
		`more.toml:1: include: found integer 1: want a string or a list`)
	check("the environment", map[string]string{"conf.d/a.toml": good, "more.toml": "include = '${WEIR_UNSET}'\n"},
		`more.toml:1: include: found "${WEIR_UNSET}": want the name of an environment variable that is set`)
}

var topKeys = []string{
	"include", "listeners", "routes", "upstreams", "certificates", "error_pages", "forwarding", "log", "access_log", "metrics", "statistics", "objectives", "admin", "inspect", "tracing", "cache", "compress", "discovery",
	"lifecycle",
}

// routeKeys are those that an error about an unknown key of a route lists.
func routeKeys(t *testing.T) []string {
	t.Helper()
	_, err := config.Parse("f", []byte("[[listeners]]\naddress = ':80'\n[[routes]]\nnonsense = 1\nrespond = {}\n"))
	_, list, _ := strings.Cut(err.Error(), "want one of ")
	list, _, _ = strings.Cut(list, ";")
	return strings.Split(list, ", ")
}

// TestEnvironmentOfAllTypes: texts of the environment become numbers and booleans; defaults;
// files.
func TestEnvironmentOfAllTypes(t *testing.T) {
	folder(t, map[string]string{"secret": "pass word\n"})
	t.Setenv("W", "7")
	t.Setenv("B", "true")
	t.Setenv("F", "0.5")
	t.Setenv("EMPTY", "")
	const text = `
[[listeners]]
address = "127.0.0.1:${PORT:-8080}"
[[routes]]
upstream = "a"
cache = "${B}"
request_headers.set.Authorization = "${file:secret}"
request_headers.set.X = "${EMPTY:-filled}${EMPTY}"
[upstreams.a]
targets = [{ url = "demo:a", weight = "${W}" }]
retry.budget = "${F}"
[lifecycle]
watch = "${B}"
`
	c, err := config.Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r, u := c.Routes[0], c.Upstreams["a"]
	if c.Listeners[0].Address != "127.0.0.1:8080" || !r.Cache.Enabled || u.Targets[0].Weight != 7 || u.Retry.Budget != 0.5 || !c.Lifecycle.Watch ||
		r.RequestHeaders.Set["Authorization"].Literal() != "pass word" || r.RequestHeaders.Set["X"].Literal() != "filled" {
		t.Errorf("got %+v, %+v, %+v", c, r, u)
	}
	for name, value := range map[string]string{"W": "many s3cret", "B": "1 s3cret", "F": "s3cret"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			_, err := config.Parse("f", []byte(text))
			if err == nil || !strings.Contains(err.Error(), `found "${`+name+`}" with the values of the environment: want `) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	_, err = config.Parse("f", []byte(strings.Replace(text, "file:secret", "file:none", 1)))
	if err == nil || !strings.Contains(err.Error(), `found "${file:none}": want a file that can be read: no such file or directory`) {
		t.Error(err)
	}
}
