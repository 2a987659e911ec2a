package main_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/testkit"
)

// weir's own log goes to a file or to syslog; reloads move it, and a reload that fails leaves
// it where it is.
func TestOwnLog(t *testing.T) {
	folder, err := os.MkdirTemp("", "weir") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "syslog"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	path, own := file(t, small), filepath.Join(folder, "weir.log")
	has := func(name, text string) {
		t.Helper()
		testkit.Eventually(t, name+" has "+text, func() bool {
			data, _ := os.ReadFile(name)
			return strings.Contains(string(data), text)
		})
	}
	c := start(t, "run", "--config", path)
	reload := func(text string) {
		t.Helper()
		write(t, path, small+"[log]\n"+text)
		c.signal(syscall.SIGHUP)
	}
	reload("output = '" + own + "'")
	has(own, "msg=reloaded")
	if err := os.Rename(own, own+".1"); err != nil {
		t.Fatal(err)
	}
	c.signal(syscall.SIGUSR1)
	testkit.Eventually(t, "the file is there again", func() bool { _, err := os.Stat(own); return err == nil })
	reload("output = '" + filepath.Join(folder, "missing", "weir.log") + "'")
	has(own, "reload failed")

	received := func(severity, text string) {
		t.Helper()
		server.SetReadDeadline(time.Now().Add(time.Minute))
		for buf := make([]byte, 4096); ; {
			n, err := server.Read(buf)
			if err != nil {
				t.Fatalf("no message with %q: %v", text, err)
			}
			if got := string(buf[:n]); strings.Contains(got, text) {
				if !strings.HasPrefix(got, severity) || !strings.Contains(got, " log - time=") {
					t.Errorf("message %q, want it to begin with %s and to have the tag log", got, severity)
				}
				return
			}
		}
	}
	reload("output = 'syslog:" + filepath.Join(folder, "syslog") + "'")
	received("<30>1 ", "msg=reloaded") // facility daemon (3), severity informational (6)
	reload("nonsense = 1")
	received("<27>1 ", "reload failed")
	reload("output = 'stderr'")
	c.logged("msg=reloaded")
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// TestLibraryLog: what a client library says of a target's frames is in weir's own log, and bounded.
func TestLibraryLog(t *testing.T) {
	t.Parallel()
	target := testkit.Listen(t, func(c *testkit.Conn) {
		framer := http2.NewFramer(c, c)
		framer.WriteSettings()
		for range 1000 { // of a kind that only clients send
			if framer.WritePriority(1, http2.PriorityParam{}) != nil {
				return
			}
		}
		io.Copy(io.Discard, c)
	})
	c := start(t, "run", "--config", file(t, small+`
[upstreams.framed]
targets = ["h2c://`+strings.TrimPrefix(target.URL, "http://")+`"]
health = { probe = "grpc", timeout = "1s" }
`))
	c.logged("target changed")
	if n := strings.Count(c.seen, "unhandled response frame"); n < 1 || n > 20 || !strings.Contains(c.seen, `msg="a library says"`) {
		t.Errorf("%d lines of unhandled frames; the log is\n%.2000s", n, c.seen)
	}
}

// The lines of weir's own log have their priority in systemd's journal.
func TestOwnLogInJournal(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var s syscall.Stat_t
	if err := syscall.Fstat(int(writer.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "run", "--config", file(t, small))
	cmd.Env = append(os.Environ(), "JOURNAL_STREAM="+strconv.FormatUint(uint64(s.Dev), 10)+":"+strconv.FormatUint(s.Ino, 10))
	cmd.Stderr = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	line := make([]byte, 8)
	if _, err := reader.Read(line); err != nil || string(line) != "<6>time=" {
		t.Errorf("the log begins with %q, %v; want the priority", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}
