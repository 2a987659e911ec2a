package match_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/match"
)

// The example that docs/routing.md opens with is complete and does what the page
// says, and the page names every refusal.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(page)
	if example == nil {
		t.Fatal("no example")
	}
	cfg, err := config.Parse("docs/routing.md", example[1])
	if err != nil {
		t.Fatal(err)
	}
	tab := table(t, cfg.Routes...)
	check := func(line string, want int, stripped string) {
		t.Helper()
		route, ok, c := ask(t, tab, line)
		path := line[strings.IndexByte(line, '/'):]
		if got := string(match.StripPrefix([]byte(path), c.Slashes())); !ok || route != want || got != stripped {
			t.Errorf("%s: route %d, %t, stripped to %q; want %d, %q", line, route, ok, got, want, stripped)
		}
	}
	check("GET api.example.org/users/1/me", 0, "/me")
	check("GET api.example.org/latest/users/v2/me", 0, "/me")
	check("GET api.example.org/users", 2, "/users")
	check("PUT www.example.org/files/a/b", 1, "/a/b")
	check("GET www.example.org/files/a/b", 2, "/files/a/b")

	for r := match.Accepted + 1; r <= match.AboveRoot; r++ {
		if !strings.Contains(string(page), "`"+r.String()+"`") {
			t.Errorf("docs/routing.md does not name %s", r)
		}
	}
}
