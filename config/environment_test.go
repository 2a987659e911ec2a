package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/config"
)

const envFile = `
[[listeners]]
address = ":80"
[[routes]]
upstream = "web-shop"
cache = true
[[routes]]
path = "/api/"
upstream = "web-shop"
[upstreams.web-shop]
targets = ["http://10.0.0.1"]
[lifecycle]
drain = "5s"
`

// loadEnv loads a file with these variables; no text means that there is no file.
func loadEnv(t *testing.T, text string, environ ...string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if text != "" {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return (&config.Loader{Environ: environ, Optional: true}).Load(path)
}

// TestVariables: variables come before the file.
func TestVariables(t *testing.T) {
	t.Parallel()
	check := func(variable string, good func(c *config.Config) bool) {
		t.Helper()
		c, err := loadEnv(t, envFile, variable, "WEIR_TEST_TOKEN=x", "WEIR_PORT=tcp://10.0.0.9:80", "HOME=/")
		if err != nil || !good(c) {
			t.Errorf("%s: %v", variable, err)
		}
	}
	// Texts, numbers, booleans.
	check("WEIR_LIFECYCLE__DRAIN=9s", func(c *config.Config) bool { return c.Lifecycle.Drain.String() == "9s" })
	check("WEIR_LIFECYCLE__WATCH=true", func(c *config.Config) bool { return c.Lifecycle.Watch })
	check("WEIR_UPSTREAMS__WEB_SHOP__RETRY__ATTEMPTS=7", func(c *config.Config) bool { return c.Upstreams["web-shop"].Retry.Attempts == 7 })
	check("WEIR_UPSTREAMS__WEB_SHOP__RETRY__BUDGET=0.5", func(c *config.Config) bool { return c.Upstreams["web-shop"].Retry.Budget == 0.5 })
	// An empty one sets nothing.
	check("WEIR_LIFECYCLE__DRAIN=", func(c *config.Config) bool { return c.Lifecycle.Drain.String() == "5s" })
	// Elements of lists, also a new one.
	check("WEIR_LISTENERS__0__ADDRESS=:8080", func(c *config.Config) bool { return c.Listeners[0].Address == ":8080" })
	check("WEIR_LISTENERS__1__ADDRESS=:8081", func(c *config.Config) bool { return len(c.Listeners) == 2 && c.Listeners[1].Address == ":8081" })
	// Lists with commas, and as in TOML; tables.
	check("WEIR_UPSTREAMS__WEB_SHOP__TARGETS=http://a, http://b", func(c *config.Config) bool {
		list := c.Upstreams["web-shop"].Targets
		return len(list) == 2 && list[1].URL == "http://b"
	})
	check(`WEIR_UPSTREAMS__WEB_SHOP__TARGETS=["http://a", { url = "http://b", weight = 3 }]`, func(c *config.Config) bool {
		list := c.Upstreams["web-shop"].Targets
		return len(list) == 2 && list[1].Weight == 3
	})
	check(`WEIR_METRICS__ADDRESS=:9`, func(c *config.Config) bool { return c.Metrics.Address == ":9" })
	check(`WEIR_ADMIN={ address = "127.0.0.1:9" }`, func(c *config.Config) bool { return c.Admin.Address == "127.0.0.1:9" })
	// What stands for a table becomes one.
	check("WEIR_ROUTES__0__CACHE__DEFAULT_TTL=3s", func(c *config.Config) bool {
		return c.Routes[0].Cache.Enabled && c.Routes[0].Cache.DefaultTTL.String() == "3s"
	})
	// Short names.
	check("WEIR_LISTEN=:8080", func(c *config.Config) bool { return c.Listeners[0].Address == ":8080" })
	check("WEIR_TARGETS=http://b", func(c *config.Config) bool { return c.Upstreams["web-shop"].Targets[0].URL == "http://b" })
	check("WEIR_RETRIES=0", func(c *config.Config) bool { return c.Upstreams["web-shop"].Retry.Attempts == 1 })
	check("WEIR_CACHE_TTL=4s", func(c *config.Config) bool {
		return c.Routes[0].Cache.DefaultTTL.String() == "4s" && c.Routes[1].Cache == nil
	})
	check("WEIR_METRICS=:9", func(c *config.Config) bool { return c.Metrics.Address == ":9" })
}

// TestVariableErrors: an error names the variable.
func TestVariableErrors(t *testing.T) {
	t.Parallel()
	check := func(variable, want string) {
		t.Helper()
		name, _, _ := strings.Cut(variable, "=")
		_, err := loadEnv(t, envFile+"[upstreams.other]\ntargets = ['http://c']\n", variable)
		if want = "environment variable " + name + ": " + want; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", variable, err, want)
		}
	}
	check("WEIR_LIFECYCLE__DRAIN=soon", `lifecycle.drain: found "soon": want a time span`)
	check("WEIR_LIFECYCLE__WATCH=yes", `lifecycle.watch: found "yes": want true or false`)
	check("WEIR_LIFECYCLE__DRIAN=1s", `lifecycle.drian: found an unknown key: want one of`)
	check("WEIR_LIFECYCLE__DRAIN__MORE=1s", `lifecycle.drain: found "MORE" below it`)
	check("WEIR_LISTENERS__7__ADDRESS=:80", `listeners: found element "7": want a number from 0 to 1`)
	check("WEIR_UPSTREAMS__OTHER__TARGETS=[", `upstreams.other.targets: found "[": want it as in TOML`)
	check("WEIR_TARGETS=http://b", `upstreams: found 2 upstreams: WEIR_TARGETS is for one; say which by WEIR_UPSTREAMS__NAME__TARGETS`)
	check("WEIR_RETRIES=many", `found "many": want the number of further attempts`)
	check("WEIR_UPSTREAMS__OTHER__RETRY__ATTEMPTS=0", `upstreams.other.retry.attempts: `)
}

// TestVariablesWithoutFile: two variables are enough, and where the file is missing without
// them the error says so.
func TestVariablesWithoutFile(t *testing.T) {
	t.Parallel()
	c, err := loadEnv(t, "", "WEIR_LISTEN=:8080", "WEIR_TARGETS=http://a,http://b", "WEIR_METRICS=:9")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listeners[0].Address != ":8080" || len(c.Upstreams["to"].Targets) != 2 || c.Metrics.Address != ":9" {
		t.Errorf("%+v", c)
	}
	if _, err := loadEnv(t, "", "WEIR_LISTEN=:8080"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without targets: %v", err)
	}
}

// TestOrigins: each key that is set says by what.
func TestOrigins(t *testing.T) {
	t.Parallel()
	c, err := loadEnv(t, envFile, "WEIR_LISTEN=:8080", "WEIR_ADMIN__ADDRESS=127.0.0.1:9", "WEIR_UPSTREAMS__WEB_SHOP__TARGETS=http://b")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range c.Origins(false) {
		from := o.From
		if i := strings.LastIndex(from, "config.toml:"); i >= 0 {
			from = from[i:]
		}
		got = append(got, o.Key+" = "+o.Value+" # "+from)
	}
	want := []string{
		`admin.address = "127.0.0.1:9" # environment variable WEIR_ADMIN__ADDRESS`,
		`lifecycle.drain = "5s" # config.toml:13`,
		`listeners[0].address = ":8080" # environment variable WEIR_LISTEN`,
		`routes[0].cache = {} # config.toml:6`,
		`routes[0].upstream = "web-shop" # config.toml:5`,
		`routes[1].path[0] = "/api/" # config.toml:8`,
		`routes[1].upstream = "web-shop" # config.toml:9`,
		`upstreams.web-shop.targets[0] = "http://b" # environment variable WEIR_UPSTREAMS__WEB_SHOP__TARGETS`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	all := c.Origins(true)
	if i := slices.IndexFunc(all, func(o config.Origin) bool { return o.Key == "lifecycle.delay" }); i < 0 || all[i].From != "default" {
		t.Errorf("%+v", all)
	}
}
