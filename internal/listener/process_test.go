package listener_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/config"
	"weir/internal/listener"
)

// childEnv tells the test binary to be one of the child processes below.
const childEnv = "WEIR_LISTENER_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "descriptors":
		childDescriptors()
	case "inherited":
		childInherited()
	}
}

// fail ends a child process.
func fail(err error) {
	fmt.Println("error:", err)
	os.Exit(1)
}

// childDescriptors serves with few descriptors until its input ends. It says
// where it listens, when it ran out, and at last its counts.
func childDescriptors() {
	const descriptors = 64
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: descriptors, Max: descriptors}); err != nil {
		fail(err)
	}
	var once sync.Once
	l, err := listener.Open(local(), listener.Options{OnAcceptError: func(err error, _ time.Duration) {
		once.Do(func() { fmt.Println("out of descriptors:", err) })
	}})
	if err != nil {
		fail(err)
	}
	go l.Serve(greet)
	fmt.Println(l.Addrs()[0])
	io.Copy(io.Discard, os.Stdin)
	s := l.Stats()
	fmt.Println(s.Accepted, s.AcceptErrors)
}

// childInherited serves the sockets named "web" until its input ends.
func childInherited() {
	in, err := listener.Inherit(os.Getpid(), os.Getenv)
	if err != nil {
		fail(err)
	}
	cfg := local()
	cfg.Address = "systemd:missing"
	_, err = listener.Open(cfg, listener.Options{Inherited: in})
	fmt.Println(in.Names(), err)
	cfg.Address = "systemd:web"
	// What a reload removed can come back: the sockets stay open.
	for range 2 {
		l, err := listener.Open(cfg, listener.Options{Inherited: in})
		if err != nil {
			fail(err)
		}
		served := make(chan struct{})
		go func() {
			l.Serve(greet)
			close(served)
		}()
		fmt.Println(len(l.Addrs()), l.Name())
		bufio.NewReaderSize(os.Stdin, 16).ReadByte()
		l.Close()
		<-served
	}
}

// child runs this binary as one of the processes above.
func child(t *testing.T, kind string, files ...*os.File) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	// The shell sets LISTEN_PID to what becomes the child's process id, as
	// the service manager does.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+kind, "LISTEN_FDS=2", "LISTEN_FDNAMES=web:web")
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("child process: %v", err)
		}
	})
	return in, bufio.NewReader(pipe)
}

// Running out of descriptors neither ends the listener nor makes it spin, and
// the clients that wait are served as soon as others leave.
func TestOutOfDescriptors(t *testing.T) {
	in, out := child(t, "descriptors")
	address := line(t, out)
	var clients []net.Conn
	for range 200 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, conn)
	}
	if got := line(t, out); !strings.Contains(got, "too many open files") {
		t.Fatalf("got %q", got)
	}
	for i, c := range clients {
		if got := line(t, c); got != "127.0.0.1" {
			t.Fatalf("client %d was greeted as %q", i, got)
		}
		c.Close()
	}
	in.Close()
	var accepted, failed int
	if _, err := fmt.Sscan(line(t, out), &accepted, &failed); err != nil {
		t.Fatal(err)
	}
	// A loop that spins fails some hundred thousand times a second. One that
	// waits fails once for each connection that ends, and a few times more.
	if accepted != 200 || failed == 0 || failed > 1000 {
		t.Errorf("%d accepted, %d failures", accepted, failed)
	}
}

func TestInherited(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "weir.sock")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	tcpFile, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()
	unixFile, err := unix.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer unixFile.Close()

	in, out := child(t, "inherited", tcpFile, unixFile)
	if got := line(t, out); !strings.HasPrefix(got, "[web] ") || !strings.Contains(got, `no socket "missing"`) {
		t.Errorf("got %q", got)
	}
	for range 2 {
		if got := line(t, out); got != "2 systemd:web" {
			t.Fatalf("got %q", got)
		}
		for _, s := range []net.Listener{tcp, unix} {
			conn, err := net.Dial(s.Addr().Network(), s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			line(t, conn)
			conn.Close()
		}
		send(t, in, "\n")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the service manager's socket file: %v", err)
	}
}

func TestInheritErrors(t *testing.T) {
	check := func(fds, names, pid string, fails bool) {
		t.Helper()
		in, err := listener.Inherit(7, func(name string) string {
			return map[string]string{"LISTEN_FDS": fds, "LISTEN_FDNAMES": names, "LISTEN_PID": pid}[name]
		})
		if (err != nil) != fails {
			t.Errorf("%q %q %q: %v", fds, names, pid, err)
		}
		if err == nil && len(in.Names()) != 0 {
			t.Errorf("%q %q %q: got %q", fds, names, pid, in.Names())
		}
	}
	check("", "", "", false)     // not started by a service manager
	check("1", "a", "8", false)  // for another process
	check("0", "", "7", false)   // none
	check("x", "", "7", true)    // no number
	check("-1", "", "7", true)   // nor this
	check("1", "a:b", "7", true) // names for others
	cfg := local()
	cfg.Address = config.Address("systemd:web")
	if _, err := listener.Open(cfg, listener.Options{}); err == nil || !strings.Contains(err.Error(), `"web"`) {
		t.Errorf("got %v", err)
	}
}
