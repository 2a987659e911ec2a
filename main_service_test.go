package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"weir/internal/testkit"
)

// passedSocket opens a listening socket, as a service manager does, and the file of it that a
// process gets. Both are closed after the test.
func passedSocket(t *testing.T) (net.Listener, *os.File) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	t.Cleanup(func() { ln.Close() })
	passed, err := ln.(*net.TCPListener).File()
	testkit.Must(t, err)
	t.Cleanup(func() { passed.Close() })
	return ln, passed
}

// TestPassedSocket: a socket that the service manager opened is served, by name,
// and stays open over reload and end, so that no client is refused.
func TestPassedSocket(t *testing.T) {
	ln, passed := passedSocket(t)
	path := file(t, strings.Replace(small, "127.0.0.1:0", "systemd:web", 1))
	// LISTEN_PID must be that of weir: the shell's, which becomes weir.
	shell := fmt.Sprintf("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec %s run --config %s", binary, path)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", shell)
	cmd.ExtraFiles = []*os.File{passed}
	c := startCommand(t, cmd)
	get := func(want string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + ln.Addr().String() + "/hello")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if body, _ := io.ReadAll(r.Body); string(body) != want {
			t.Errorf("answer %q, want %q", body, want)
		}
	}
	get("first")
	write(t, path, strings.Replace(strings.Replace(small, "127.0.0.1:0", "systemd:web", 1), "first", "second", 1))
	c.signal(syscall.SIGHUP)
	c.logged("msg=reloaded")
	get("second")
	// A name that was not passed is an error that changes nothing.
	write(t, path, strings.Replace(small, "127.0.0.1:0", "systemd:other", 1))
	c.signal(syscall.SIGHUP)
	c.logged(`passed no socket \"other\"`)
	get("second")
	c.signal(syscall.SIGTERM)
	c.ends(0)
	// A client that comes now waits for the next weir.
	if nc, err := net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Errorf("refused after the end: %v", err)
	} else {
		nc.Close()
	}
}

// TestMemoryIsTuned: the environment's limit reaches the running process, and
// is looked at again on a reload.
func TestMemoryIsTuned(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "100MiB")
	path := file(t, small)
	c := start(t, "run", "--config", path)
	write(t, path, strings.Replace(small, `upstream = "demo"`, "upstream = \"demo\"\ncache = true", 1))
	c.signal(syscall.SIGHUP)
	// The default size of the cache fits, one that is written is warned of.
	c.logged("limit=100MiB cache_size=50MiB")
	write(t, path, strings.Replace(small, `upstream = "demo"`, "upstream = \"demo\"\ncache = true", 1)+"\n[cache]\nsize = \"256MiB\"\n")
	c.signal(syscall.SIGHUP)
	c.logged("the kernel will kill weir")
}
