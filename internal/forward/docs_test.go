package forward_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/forward"
)

// The example that docs/headers.md opens with is complete and compiles, and the
// page names every variable.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/headers.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(page)
	if example == nil {
		t.Fatal("no example")
	}
	cfg, err := config.Parse("docs/headers.md", example[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forward.NewForwarder(cfg.Forwarding); err != nil {
		t.Error(err)
	}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		if rules, err := forward.CompileRequest(r.RequestHeaders, r.Captures()); rules == nil || err != nil {
			t.Errorf("request rules: %v, %v", rules, err)
		}
		if rules, err := forward.CompileResponse(r.ResponseHeaders, r.Captures()); rules == nil || err != nil {
			t.Errorf("response rules: %v, %v", rules, err)
		}
	}
	for _, name := range forward.Variables() {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/headers.md does not name %s", name)
		}
	}
}
