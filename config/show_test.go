package config

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// TestShow: what differs from the defaults is shown, as a file that means the same, and
// no secret is.
func TestShow(t *testing.T) {
	t.Setenv("APP_TOKEN", "s3cret-of-the-environment")
	t.Setenv("APP_ORIGIN", "http://origin.example:8080")
	const text = `
[[listeners]]
address = "127.0.0.1:8080"

[[routes]]
host = "${APP_TOKEN}.example"
upstream = "origin"
request_headers.set.Authorization = "Bearer s3cret-header"
request_headers.set.X-Plain = "$${literal}"
request_headers.set.X-Other = "Basic ${APP_TOKEN}"
query = { api_key = "s3cret-query", user = "$2y$10$s3cret-hash" }
cache = true

[[routes]]
path = "/gone"
respond = { status = 410 }

[upstreams.origin]
targets = ["${APP_ORIGIN}", { url = "http://second.example", weight = 3 }]
sticky = { cookie = "route", secret = "s3cret-of-the-cookie" }
balance = "p2c"
balance_options = { choices = 3 }

[cache.far]
url = "redis://user:s3cret-redis@redis.example:6379/0"

[lifecycle]
drain = "10s"
`
	c, err := Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(all bool) string {
		t.Helper()
		var b bytes.Buffer
		if err := toml.NewEncoder(&b).Encode(c.Show(all)); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(c.Show(all)); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "s3cret") {
			t.Errorf("a secret is shown:\n%s", b.String())
		}
		return b.String()
	}
	changed := encode(false)
	for _, want := range []string{
		"drain = \"10s\"", `"${APP_ORIGIN}"`, `host = ["${APP_TOKEN}.example"]`, `X-Other = "Basic ${APP_TOKEN}"`, `X-Plain = "$${literal}"`,
		`Authorization = "(hidden)"`, `api_key = "(hidden)"`, `secret = "(hidden)"`, `redis://user:(hidden)@redis.example`, "weight = 3", "choices = 3",
		"[routes.cache]", "status = 410",
	} {
		if !strings.Contains(changed, want) {
			t.Errorf("no %s in\n%s", want, changed)
		}
	}
	if strings.Contains(changed, "watch") {
		t.Errorf("defaults are shown:\n%s", changed)
	}
	// What is shown can be read again and is the same.
	for _, all := range []bool{false, true} {
		first := encode(all)
		if c, err = Parse("shown.toml", []byte(first)); err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if second := encode(all); second != first {
			t.Errorf("shown again:\n%s\nis not\n%s", second, first)
		}
	}
	if whole := encode(true); !strings.Contains(whole, "watch = false") || !strings.Contains(whole, "idle = \"1m15s\"") {
		t.Errorf("not all keys are shown:\n%s", whole)
	}
}
