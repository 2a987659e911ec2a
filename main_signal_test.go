package main_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/internal/testkit"
)

// SIGQUIT drains, as in nginx and its container images, and cuts nothing.
func TestQuitDrains(t *testing.T) {
	drains(t, syscall.SIGQUIT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGHUP)
}

// SIGUSR1 opens the logs again, and nothing else.
func TestUserSignalReopensLog(t *testing.T) {
	access := filepath.Join(t.TempDir(), "access.log")
	path := file(t, small+"[access_log]\noutput = '"+access+"'\n")
	c := start(t, "run", "--config", path)
	write(t, path, "nonsense") // a reload would fail
	if err := os.Rename(access, access+".1"); err != nil {
		t.Fatal(err)
	}
	c.signal(syscall.SIGUSR1)
	c.logged("opening the logs again")
	testkit.Eventually(t, "the file is there again", func() bool { _, err := os.Stat(access); return err == nil })
	c.get("/hello")
	c.signal(syscall.SIGTERM)
	c.ends(0)
	if lines, err := os.ReadFile(access); err != nil || bytes.Count(lines, []byte("\n")) != 1 {
		t.Errorf("the new file has %q, %v", lines, err)
	}
}

// A FIFO as access log never hangs: neither a start nor a reload without a reader, nor a
// reader that went away.
func TestFIFOAsLog(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "access.fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	text := small + "[access_log]\noutput = '" + fifo + "'\n"
	path := file(t, text)
	if _, stderr, code := weir(t, "run", "--config", path); code != 1 || !strings.Contains(stderr, "no process reads this FIFO") {
		t.Errorf("a start without a reader: exit code %d, %s", code, stderr)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, "run", "--config", path)
	c.get("/hello")
	line := make([]byte, 1)
	if _, err := reader.Read(line); err != nil || line[0] != '{' {
		t.Errorf("the log begins with %q, %v", line, err)
	}
	reader.Close()
	c.signal(syscall.SIGHUP)
	c.logged("no process reads this FIFO") // the file that is open stays
	c.get("/hello")
	c.signal(syscall.SIGHUP)
	c.logged("no process reads this FIFO")
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// The welcome of the demo is for people.
func TestServiceHasNoWelcome(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), binary, "run", "--config", file(t, small))
	cmd.Env = append(os.Environ(), "INVOCATION_ID=1")
	c := startCommand(t, cmd)
	c.signal(syscall.SIGTERM)
	if rest, _ := io.ReadAll(c.stderr); strings.Contains(string(rest), "curl") {
		t.Errorf("a service prints %s", rest)
	}
	c.ends(0)
}

// The program needs no libraries, so that it runs in an empty container.
func TestProgramIsStatic(t *testing.T) {
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("ld-linux")) {
		t.Error("the program asks for a dynamic linker")
	}
}
