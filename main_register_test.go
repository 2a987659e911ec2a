package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/internal/testkit"
)

// registryConfig has a registry whose upstreams routes find by name and version.
func registryConfig(folder string) string {
	return fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
path = "/{service}/{version}/"
upstream = "{service}/{version}"
strip_prefix = true
[admin]
address = "unix:%s/admin"
[discovery]
persist = "%s/registry"
`, folder, folder)
}

// answers returns the status of an answer.
func (c *child) answers(path string) int {
	c.t.Helper()
	r, _ := c.get(path)
	return r.StatusCode
}

// TestRegister: a service is registered while it is well, drained and withdrawn before it ends;
// what is registered outlives a weir that is killed.
func TestRegister(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := file(t, registryConfig(folder))
	c := start(t, "run", "--config", path)
	address := testkit.Reserve(t)
	admin := "unix:" + filepath.Join(folder, "admin")
	register := func(args ...string) *exec.Cmd {
		args = append([]string{"register", "--admin", admin, "--service", "shop", "--version", "v1", "--endpoint", "http://" + address, "--every", "50ms"}, args...)
		return exec.CommandContext(t.Context(), binary, args...)
	}
	service := []string{"--", binary, "run", "--listen", address, "--to", "demo:one"}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	logged := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one := register(append([]string{"--drain", "100ms", "--ttl", "1h"}, service...)...)
	one.Stderr = log
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is registered", func() bool { return c.answers("/shop/v1/") == 200 })
	testkit.Eventually(t, "weir register has the answer", func() bool { return strings.Contains(logged(), "msg=registered") })

	// Killed and started again, weir still knows it.
	c.signal(syscall.SIGKILL)
	c.cmd.Wait()
	c = start(t, "run", "--config", path)
	testkit.Eventually(t, "weir knows it after it was killed", func() bool { return c.answers("/shop/v1/") == 200 })

	one.Process.Signal(syscall.SIGTERM)
	one.Wait()
	if got := logged(); !strings.Contains(got, "draining") || !strings.Contains(got, "withdrawn") || one.ProcessState.ExitCode() != 0 {
		t.Errorf("weir register ended with %d:\n%s", one.ProcessState.ExitCode(), got)
	}
	testkit.Eventually(t, "it is withdrawn", func() bool { return c.answers("/shop/v1/") == 503 })

	// A service that ends by itself is withdrawn, and its exit status is that of weir register.
	_, stderr, code := weir(t, "register", "--admin", admin, "--service", "shop", "--version", "v1", "--endpoint", "http://"+address, "--", "sh", "-c", "exit 7")
	if code != 7 || !strings.Contains(stderr, "exit status 7") {
		t.Errorf("exit code %d, %s", code, stderr)
	}

	// One that runs already.
	running := start(t, "run", "--listen", address, "--to", "demo:one")
	two := register("--pid", fmt.Sprint(running.cmd.Process.Pid))
	if err := two.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is registered again", func() bool { return c.answers("/shop/v1/") == 200 })
	running.signal(syscall.SIGTERM)
	running.cmd.Wait()
	if err := two.Wait(); err != nil {
		t.Errorf("weir register: %v", err)
	}
	testkit.Eventually(t, "it is withdrawn again", func() bool { return c.answers("/shop/v1/") == 503 })
	if _, stderr, code := weir(t, "register", "--service", "a", "--endpoint", "http://a", "--ttl", "2s", "--every", "1s", "--pid", "1"); code != 2 || !strings.Contains(stderr, "at most a third of --ttl (2s)") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if _, stderr, code := weir(t, "register", "--registry", "nothing://a", "--service", "a", "--endpoint", "http://a", "--pid", "1"); code != 2 || !strings.Contains(stderr, "--registry: found") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
