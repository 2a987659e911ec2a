package server_test

import (
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/server"
)

// TestUnusedKeys: a key that another one would have to switch on is warned of, with its line.
func TestUnusedKeys(t *testing.T) {
	t.Parallel()
	check := func(lines string, want ...string) {
		t.Helper()
		cfg, err := config.Parse("f", []byte(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "u"
[upstreams.u]
targets = ["http://127.0.0.1:1"]
`+lines), server.CheckParts, server.CheckFiles)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if found := server.Warnings(cfg, time.Now()); len(found) > 0 {
			got = found.Error()
		}
		equal(t, lines, got, strings.Join(want, "\n"))
	}
	check("")
	check(`health = { path = "/health", interval = "1s" }`,
		`f:8: upstreams.u.health.path: changes nothing, because health.probe is "off": want "http", "tcp" or "grpc" there`,
		`f:8: upstreams.u.health.interval: changes nothing, because health.probe is "off": want "http", "tcp" or "grpc" there`)
	check(`health = { probe = "http", path = "/health", interval = "1s" }`)
	check(`health = { path = "/" }`) // which it is anyway
	check(`health.passive.outlier_requests = 5`, `f:8: upstreams.u.health.passive.outlier_requests: changes nothing, because health.passive.outlier is 0: want more there`)
	check(`health.passive = { outlier = 1.1, outlier_requests = 5 }`)
	check(`hash.by = "path"`, `f:8: upstreams.u.hash.by: changes nothing, because balance is "round_robin": want "hash" there`)
	check("balance = \"hash\"\nhash.by = \"path\"")
	check(`sticky = { secure = "always" }`, `f:8: upstreams.u.sticky.secure: changes nothing, because sticky.cookie is empty: want the name of a cookie there`)
	check(`sticky = { cookie = "c", secure = "always" }`)
	check(`retry.hedge_min = "1s"`, `f:8: upstreams.u.retry.hedge_min: changes nothing, because retry.hedge is 0: want a share such as 0.95 there`)
	check(`retry = { hedge = 0.9, hedge_min = "1s" }`)
	check("[upstreams.u.breaker]\nopen = \"1s\"", `f:9: upstreams.u.breaker.open: changes nothing, because breaker.failures is 0: want a share such as 0.5 there`)
	check("[upstreams.u.breaker]\nopen = \"1s\"\nfailures = 0.5")
}
