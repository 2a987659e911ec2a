package config_test

import (
	"strings"
	"testing"

	"weir/config"
)

func TestBalanceRanges(t *testing.T) {
	check := func(settings string, want ...string) {
		t.Helper()
		text := "[[listeners]]\naddress = \":80\"\n[[routes]]\nupstream = \"u\"\n[upstreams.u]\ntargets = [\"http://a\"]\n" + settings
		_, err := config.Parse("test.toml", []byte(text))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if len(want) == 0 && err != nil {
			t.Errorf("%s: %v", settings, err)
		}
		for _, w := range want {
			if !strings.Contains(got, ": upstreams.u."+w) {
				t.Errorf("%s:\ngot  %s\nwant %s", settings, got, w)
			}
		}
		if n := strings.Count(got, "\n") + 1; len(want) > 0 && n != len(want) {
			t.Errorf("%s: got %d problems, want %d:\n%s", settings, n, len(want), got)
		}
	}
	check("")
	check("[upstreams.u.hash]\nbounded_load = 0.5", "hash.bounded_load: found 0.5: want 0 for no bound, or more than 1 and up to 100")
	check("[upstreams.u.sticky]\ncookie = \"a b\"\npath = \"x\"\nsecure = \"maybe\"\nsame_site = \"lux\"",
		`sticky.cookie: found "a b"`, `sticky.path: found "x"`,
		`sticky.secure: found "maybe": want one of "auto", "always", "never"`,
		`sticky.same_site: found "lux": want one of "lax", "strict", "none", ""; did you mean "lax"?`)
	check("[upstreams.u.sticky]\nsame_site = \"none\"\nsecure = \"never\"", `sticky.secure: found "never": want "auto" or "always"`)
	check("[upstreams.u.retry]\nattempts = 9\nbackoff = \"2s\"\nbudget = 1.5\nhedge = 0.4",
		"retry.attempts: found 9: want 1 to 8", `retry.backoff_max: found "1s": want at least backoff, "2s"`,
		"retry.budget: found 1.5: want 0 to 1", "retry.hedge: found 0.4: want 0 for off, or 0.5 to 0.999")
	check("[upstreams.u.retry]\nattempts = 1\nhedge = 0.9", "retry.hedge: found 0.9: want 0, because attempts = 1")
	check("[upstreams.u.health]\npath = \"//x\"\ninterval = \"0s\"\njitter = 2.0\nrise = 0\npanic_below = -0.1",
		`health.path: found "//x": want a path that begins with one "/"`, `health.interval: found "0s": want more than 0`,
		"health.jitter: found 2: want 0 to 1", "health.rise: found 0: want 1 to 1000", "health.panic_below: found -0.1: want 0 to 1")
	check("[upstreams.u.health]\nhost = \"a b\"", `health.host: found "a b": want a host with an optional port`)
	check("[upstreams.u.health]\nhost = \"origin.example:81\"")
	check("[upstreams.u.health.passive]\neject = \"1h\"\nmax_ejected = 7.0",
		`health.passive.eject_max: found "5m": want at least eject, "1h"`, "health.passive.max_ejected: found 7: want 0 to 1")
	check("[upstreams.u.limits]\nqueue = 5", "limits.queue: found 5: want 0, because nothing waits without")
	check("[upstreams.u.limits]\nqueue = 5\nin_flight = 1\nqueue_timeout = \"0s\"", `limits.queue_timeout: found "0s"`)
	check("[upstreams.u.breaker]\nfailures = 2.0\nhalf_open = 0", "breaker.failures: found 2: want 0 to 1", "breaker.half_open: found 0: want 1 to 1000")
}
