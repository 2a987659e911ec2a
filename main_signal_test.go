package main_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// A FIFO to which no process writes is reported wherever a file is read, and holds up nothing.
func TestFIFOAsFile(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(what, config string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, binary, "check", "--config", config).CombinedOutput()
		if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "no process writes to this FIFO") && !strings.Contains(string(out), "no regular file") {
			t.Errorf("%s: %v, %s", what, err, out)
		}
	}
	check("the configuration", fifo)
	for what, text := range map[string]string{
		"an included file": "include = ['FIFO']\n" + small,
		"a value":          small + "[metrics]\naddress = '${file:FIFO}'\n",
		"a certificate":    "[[listeners]]\naddress = ':0'\ncertificates = [{ cert = 'FIFO', key = 'FIFO' }]\n",
		"authorities":      small + "[upstreams.a]\ntargets = ['https://127.0.0.1:1']\ntls.ca = 'FIFO'\n",
		"users":            small + "[[routes]]\npath = '/a'\nrespond.status = 200\nbasic_auth.file = 'FIFO'\n",
		"an error page":    small + "[error_pages]\nfiles = { 404 = 'FIFO' }\n",
		"a token":          small + "[admin]\naddress = '127.0.0.1:0'\ntokens = [{ name = 'a', role = 'read', file = 'FIFO' }]\n",
	} {
		check(what, file(t, strings.ReplaceAll(text, "FIFO", fifo)))
	}
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
