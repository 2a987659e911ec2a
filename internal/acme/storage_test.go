package acme_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weir/internal/acme"
	"weir/internal/acme/acmetest"
	"weir/internal/testkit"
)

// startRedis starts a Redis of the test's own and returns the URL of a storage in it.
func startRedis(t *testing.T) string {
	t.Helper()
	program := testkit.Program(t, "redis-server")
	socket := filepath.Join(t.TempDir(), "redis.sock")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	testkit.Eventually(t, "Redis listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "redis://" + relayTo(t, socket)
}

func TestTwoWithRedis(t *testing.T) {
	t.Parallel()
	two(t, startRedis(t))
}

func TestStorageInFolder(t *testing.T) {
	t.Parallel()
	s, err := acme.Open(t.TempDir(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	acmetest.Storage(t, s, s)
}

func TestStorageInRedis(t *testing.T) {
	t.Parallel()
	text := startRedis(t)
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	one, err := acme.OpenRedis(u)
	if err != nil {
		t.Fatal(err)
	}
	other, err := acme.OpenRedis(u)
	if err != nil {
		t.Fatal(err)
	}
	acmetest.Storage(t, one, other)
	// A server that is away is an error, and no certificate that is not there.
	u.Host = testkit.Reserve(t)
	gone, err := acme.OpenRedis(u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Load(context.Background(), "a"); err == nil || os.IsNotExist(err) {
		t.Errorf("a server that is away: %v", err)
	}
}

func TestOpen(t *testing.T) {
	if _, err := acme.Open("gopher://host", "", openers); err == nil {
		t.Error("an unknown scheme is taken")
	}
	if _, err := acme.Open("", "", openers); err == nil {
		t.Error("no folder is taken")
	}
}
