package notify_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/internal/notify"
)

// manager plays the service manager's end of the socket.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("the service manager got nothing: %v", err)
	}
	return string(buf[:n])
}

func TestMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, path)
	n, err := notify.New(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error, want string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := receive(t, conn); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	check("ready", n.Ready("serving 2 listeners"), "READY=1\nSTATUS=serving 2 listeners\n")
	check("ready alone", n.Ready(""), "READY=1\n")
	check("stopping", n.Stopping("draining"), "STOPPING=1\nSTATUS=draining\n")
	// A status must not be able to smuggle in an assignment.
	check("status with line breaks", n.Ready("a\nSTOPPING=1\r\nb"), "READY=1\nSTATUS=a STOPPING=1  b\n")
	check("watchdog", n.Watchdog(), "WATCHDOG=1\n")

	before := monotonic(t)
	if err := n.Reloading(); err != nil {
		t.Fatal(err)
	}
	got := receive(t, conn)
	after := monotonic(t)
	text, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	usec, err := strconv.ParseInt(strings.TrimSuffix(text, "\n"), 10, 64)
	if !ok || err != nil || usec < before || usec > after {
		t.Errorf("reloading: got %q, want a time from %d to %d", got, before, after)
	}
}

// monotonic returns the kernel's clock that systemd compares with.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// TestStore: the service manager gets a copy of the socket, and its name.
func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, path)
	n, err := notify.New(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := n.Store("weir-x", l.(*net.TCPListener)); err != nil {
		t.Fatal(err)
	}
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	k, r, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil || string(text[:k]) != "FDSTORE=1\nFDNAME=weir-x\n" {
		t.Fatalf("got %q, %v", text[:k], err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:r])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	f := os.NewFile(uintptr(fds[0]), "socket")
	defer f.Close()
	copied, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if copied.Addr().String() != l.Addr().String() {
		t.Errorf("the copy is at %s, want %s", copied.Addr(), l.Addr())
	}
	if err := n.Forget("weir-x"); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, conn); got != "FDSTOREREMOVE=1\nFDNAME=weir-x\n" {
		t.Errorf("got %q", got)
	}
}

func TestAbstractSocket(t *testing.T) {
	name := fmt.Sprintf("@weir-notify-test-%d", os.Getpid())
	conn := manager(t, name)
	n, err := notify.New(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(""); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, conn); got != "READY=1\n" {
		t.Errorf("got %q", got)
	}
}

func TestWithoutServiceManager(t *testing.T) {
	n, err := notify.New("")
	if n != nil || err != nil {
		t.Fatalf("got %v, %v", n, err)
	}
	for _, err := range []error{n.Ready("x"), n.Reloading(), n.Stopping(""), n.Watchdog()} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestErrors(t *testing.T) {
	if _, err := notify.New("relative/path"); err == nil || !strings.Contains(err.Error(), `"relative/path"`) {
		t.Errorf("relative path: %v", err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	n, err := notify.New(gone)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(""); err == nil || !strings.Contains(err.Error(), "cannot notify socket") {
		t.Errorf("no service manager there: %v", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	check := func(usec, pid string, want time.Duration, fails bool) {
		t.Helper()
		got, err := notify.WatchdogInterval(7, func(name string) string {
			return map[string]string{"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}[name]
		})
		if got != want || (err != nil) != fails {
			t.Errorf("%q %q: got %v, %v", usec, pid, got, err)
		}
	}
	check("", "", 0, false)                       // off
	check("30000000", "7", 15*time.Second, false) // half of it
	check("30000000", "", 15*time.Second, false)  // for any process
	check("30000000", "8", 0, false)              // for another process
	check("-1", "7", 0, true)                     // no time
	check("9223372036854775807", "7", 0, true)    // would overflow
	check("soon", "7", 0, true)                   // no number
}
