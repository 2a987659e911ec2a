package main_test

import (
	"strings"
	"testing"

	"weir/internal/testkit"
)

// TestHealth: weir health says whether the weir of a file serves, by its page of metrics or without one.
func TestHealth(t *testing.T) {
	t.Parallel()
	plain := strings.Replace(small, "127.0.0.1:0", testkit.Reserve(t), 1)
	for name, c := range map[string]struct{ text, says, ready string }{
		"without a page": {plain, "a connection is accepted\n", ""},
		"with a page":    {plain + "\n[metrics]\naddress = \"" + testkit.Reserve(t) + "\"\n", "healthy\n", "ready\n"},
	} {
		path := file(t, c.text)
		if _, stderr, code := weir(t, "health", "--config", path); code != 1 || !strings.Contains(stderr, "does not serve") {
			t.Errorf("%s: before the start: %d, %s", name, code, stderr)
		}
		running := start(t, "run", "--config", path)
		if stdout, stderr, code := weir(t, "health", "--config", path); stdout != c.says || code != 0 {
			t.Errorf("%s: %d, %q, %s", name, code, stdout, stderr)
		}
		stdout, stderr, code := weir(t, "health", "--ready", "--config", path)
		if stdout != c.ready || (code == 0) != (c.ready != "") {
			t.Errorf("%s: ready: %d, %q, %s", name, code, stdout, stderr)
		}
		running.cmd.Process.Kill()
		running.cmd.Wait()
	}
}
