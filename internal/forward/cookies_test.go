package forward_test

import (
	"strings"
	"testing"

	"weir/config"
	"weir/internal/forward"
)

func TestCookies(t *testing.T) {
	check := func(r config.CookieRules, in, want string) {
		t.Helper()
		for kind, make := range requests {
			h := make(t, in+"\nHost: a")
			forward.NewCookies(r).Apply(h, nil)
			if got := strings.TrimSpace(strings.Replace(text(h), "Host: a", "", 1)); got != want {
				t.Errorf("%s, %+v: from\n%s\n\ngot\n%s\n\nwant\n%s", kind, r, in, got, want)
			}
		}
	}
	keep := config.CookieRules{Keep: []string{"lang", "s_*"}}
	check(keep, "Cookie: _ga=1; lang=de;s_id=2; langs=3; Lang=4", "Cookie: lang=de; s_id=2")
	check(keep, "Cookie: _ga=1\nCookie: lang=de\nCookie: _gid=2; lang=en", "Cookie: lang=de; lang=en")
	check(keep, "Cookie: _ga=1; _gid=2", "")
	// What another reader might take for a cookie of its own does not go on.
	check(keep, `Cookie: lang="x; session=1; y"`, `Cookie: lang="x`)
	check(keep, "Cookie: session", "")
	// Without such a cookie nothing changes, not even what is odd.
	check(keep, "Cookie: lang=de;s_a=1 ;s_b", "Cookie: lang=de;s_a=1 ;s_b")
	check(keep, "Accept: x", "Accept: x")

	remove := config.CookieRules{Remove: []string{"_ga*", "consent"}}
	check(remove, "Cookie: a=1; _ga_X=2;consent=3; b", "Cookie: a=1; b")
	check(remove, "Cookie: a=1;b=2", "Cookie: a=1;b=2")
	check(config.CookieRules{Remove: []string{"*"}}, "Cookie: a=1; b", "")
	check(config.CookieRules{}, "Cookie: a=1", "Cookie: a=1")
}
