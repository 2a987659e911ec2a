package clienttest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// h2spec, which make h2spec names in H2SPEC, finds no fault, in strict mode and over TLS.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	program := os.Getenv("H2SPEC")
	if program == "" {
		t.Skip("H2SPEC names no program")
	}
	e := newEdge(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(e.url, "https://"), ":")
	out, err := exec.CommandContext(t.Context(), program, "-t", "-k", "-S", "-h", "127.0.0.1", "-p", port, "-P", "/").CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
