package grpctest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"weir/internal/testkit"
)

// servesAt is the environment variable by which this binary is a server of gRPC on a unix socket.
const servesAt = "WEIR_GRPCTEST_SERVES"

func TestMain(m *testing.M) {
	path := os.Getenv(servesAt)
	if path == "" {
		os.Exit(m.Run())
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := grpc.NewServer()
	pb.RegisterTestServiceServer(s, &service{name: filepath.Base(path)})
	fmt.Println("ready")
	s.Serve(ln)
}

// process starts a server of gRPC as a process of its own, and returns what kills it without a
// warning.
func process(t *testing.T, path string) (kill func()) {
	t.Helper()
	os.Remove(path) // which one that was killed leaves behind
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), servesAt+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return kill
}

// Servers are killed while calls run and weir is reloaded. No call is lost that may be repeated, because
// it has an Idempotency-Key and whose answer had not begun; another one that had reached the server gets UNAVAILABLE, and a sentence that says why.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "weir") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{dir + "/one", dir + "/two"}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var kills [2]func()
	for i, path := range paths {
		kills[i] = process(t, path)
	}
	w := through(t, true, "retry.budget = 1.0\nhealth.passive = { eject = \"100ms\", eject_max = \"100ms\" }\n", "unix:"+paths[0], "unix:"+paths[1])
	stop := make(chan struct{})
	var running sync.WaitGroup
	// of counts the calls that each server has answered, lost those that got no answer.
	var of [2]atomic.Int64
	var lost, begun atomic.Int64
	call := func(mayRepeat bool) {
		ctx := limited(t)
		if mayRepeat {
			ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", "a")
		}
		r, err := w.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(1000)})
		switch {
		case err == nil && r.ServerId == "one":
			of[0].Add(1)
		case err == nil:
			of[1].Add(1)
		case status.Code(err) == codes.Internal && strings.Contains(err.Error(), "RST_STREAM"):
			begun.Add(1) // the answer was on its way to the client, and cannot be made again
		case mayRepeat:
			t.Errorf("a call that may be repeated: %v", err)
		default:
			lost.Add(1)
			hasCode(t, "a call that may not be repeated", err, codes.Unavailable)
			if !strings.Contains(err.Error(), "weir: reset: the target closed or reset the connection before it answered") {
				t.Errorf("the error is %v", err)
			}
		}
	}
	for i := range 8 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					call(i < 4)
				}
			}
		})
	}
	more := func(server int) {
		t.Helper()
		n := of[server].Load() + 100
		testkit.Eventually(t, "a server answers more calls", func() bool { return of[server].Load() >= n })
	}
	more(0)
	more(1)
	for round := range 4 {
		killed := round % 2
		kills[killed]()
		more(1 - killed)
		w.text += fmt.Sprintf("# %d\n", round)
		if err := w.Reload(w.config(t)); err != nil {
			t.Fatal(err)
		}
		more(1 - killed)
		kills[killed] = process(t, paths[killed])
		more(killed)
	}
	close(stop)
	running.Wait()
	t.Logf("%d and %d calls were answered, %d that may not be repeated were lost, and %d whose answer had begun", of[0].Load(), of[1].Load(), lost.Load(), begun.Load())
}
