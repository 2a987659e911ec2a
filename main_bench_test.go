package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestBench: what weir bench sends, to servers of each protocol, and what it prints.
func TestBench(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		user, password, _ := r.BasicAuth()
		got.Store(strings.Join([]string{r.Method, r.RequestURI, r.Host, r.Proto, string(body), r.Header.Get("X"), user, password}, " "))
		if r.URL.Path == "/gone" {
			w.WriteHeader(410)
		}
	})
	start := func(secure bool) string {
		s := httptest.NewUnstartedServer(handler)
		t.Cleanup(s.Close)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		if s.EnableHTTP2 = secure; secure {
			s.Config.Protocols.SetHTTP2(true)
			s.StartTLS()
		} else {
			s.Start()
		}
		return s.URL
	}
	plain, secure := start(false), start(true)
	check := func(want string, args ...string) {
		t.Helper()
		got.Store("nothing")
		stdout, stderr, code := weir(t, append([]string{"bench", "-c", "2", "-n", "20"}, args...)...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "20 (100.00 %)") {
			t.Errorf("weir bench %q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		if got := strings.TrimSpace(got.Load().(string)); got != want {
			t.Errorf("weir bench %q: the server got %q, want %q", args, got, want)
		}
	}
	host := strings.TrimPrefix(plain, "http://")
	check("GET /a?b=c "+host+" HTTP/1.1", plain+"/a?b=c")
	check("GET / a.example HTTP/1.1", "-H", "Host: a.example", plain)
	check("POST / "+host+" HTTP/1.1 text v", "--body", "text", "-H", "X:v", plain)
	check("PUT / "+host+" HTTP/1.1 text", "-X", "PUT", "--body", "@"+file(t, "text"), plain)
	check("GET / "+host+" HTTP/1.1   u p", strings.Replace(plain, "http://", "http://u:p@", 1))
	check("GET / h HTTP/2.0", "--http2", "-m", "4", "-H", "Host: h", plain)
	check("GET / h HTTP/2.0", "--http2", "-k", "-H", "Host: h", secure)
	check("GET / h HTTP/1.1", "-k", "--disable-keepalive", "-H", "Host: h", secure)
	check("GET / h HTTP/1.1", "--disable-keepalive", "-H", "Host: h", plain)
	check("GET / h HTTP/1.1", "-k", "-r", "1000", "-H", "Host: h", secure)

	stdout, _, code := weir(t, "bench", "-c", "2", "-n", "20", "--json", plain+"/gone", plain)
	var report struct {
		Succeeded, Failed int
		Success           float64
		Statuses          map[string]int
		Errors            map[string]int
		Latency           struct{ P50, P999, Max float64 }
		Intervals         []struct{ Succeeded, Failed int }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 {
		t.Fatal(err, code, stdout)
	}
	if report.Succeeded != 10 || report.Failed != 10 || report.Success != 0.5 || report.Statuses["410"] != 10 || report.Errors["status 410"] != 10 ||
		report.Latency.P50 <= 0 || report.Latency.Max < report.Latency.P999 || len(report.Intervals) == 0 {
		t.Errorf("%s", stdout)
	}

	refused := func(want string, code int, args ...string) {
		t.Helper()
		if _, stderr, got := weir(t, append([]string{"bench"}, args...)...); got != code || !strings.Contains(stderr, want) {
			t.Errorf("weir bench %q: exit code %d, want %d and %q; got %s", args, got, code, want, stderr)
		}
	}
	refused("no request succeeded", 1, "-n", "1", plain+"/gone")
	refused("certificate", 1, "-n", "1", secure)
	refused("takes a URL", 2)
	refused(`found URL "localhost:1"`, 2, "localhost:1")
	refused("of one server", 2, plain, secure)
	refused(`found "X": want "Name: value"`, 2, "-H", "X", plain)
	refused("because weir bench sets it", 2, "-H", "Content-Length: 3", plain)
	refused("is not for --http2", 2, "--disable-keepalive", "--http2", plain)
	refused("is for --http2", 2, "-m", "3", plain)
	refused("want at least 1", 2, "-c", "0", plain)
	refused("want more than 0", 2, "-d", "0s", plain)
}

// TestBenchBusy: a rate that a server does not reach ends with the duration, and what was not sent is told. Fresh connections
// are one for each request.
func TestBenchBusy(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { time.Sleep(20 * time.Millisecond) }))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	var report struct{ Succeeded, Failed, Unsent int64 }
	stdout, _, code := weir(t, "bench", "-c", "1", "-r", "1000", "-d", "1s", "--json", s.URL)
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 {
		t.Fatal(err, code, stdout)
	}
	if report.Failed != 0 || report.Succeeded > 500 || report.Succeeded+report.Unsent < 900 || report.Succeeded+report.Unsent > 1000 {
		t.Errorf("%+v", report)
	}
	if stdout, _, _ := weir(t, "bench", "-c", "1", "-r", "1000", "-d", "1s", s.URL); !strings.Contains(stdout, "so 1000/s was not reached") {
		t.Errorf("%s", stdout)
	}
	before := connections.Load()
	if stdout, stderr, code := weir(t, "bench", "-c", "2", "-n", "10", "--disable-keepalive", s.URL); code != 0 || !strings.Contains(stdout, "10 (100.00 %)") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if n := connections.Load() - before; n < 10 || n > 12 {
		t.Errorf("%d connections for 10 requests", n)
	}
}

// TestBenchInterrupted: Ctrl-C prints what there is, although an answer is missing.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	block, waits := make(chan struct{}), make(chan struct{}, 1)
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 10 {
			waits <- struct{}{}
			<-block
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(block) })
	c := exec.CommandContext(t.Context(), binary, "bench", "-c", "1", "-d", "1h", "-t", "1h", s.URL)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	<-waits
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || !strings.Contains(out.String(), "9 (100.00 %)") {
		t.Errorf("%v: %s", err, out.String())
	}
}
