package main_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/testkit"
)

// status reads a line of /proc/PID/status, in KiB.
func (c *child) status(key string) int {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatalf("no %s", key)
	return 0
}

// cpu returns the processor time that the child has used.
func (c *child) cpu() time.Duration {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		c.t.Skip(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func (c *child) addr() string {
	return strings.TrimPrefix(strings.TrimPrefix(c.url, "http://"), "https://")
}

// quiet is a configuration for a child in front of one target.
func quiet(target, listener string) string {
	return fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
%s
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
[access_log]
output = "off"
`, listener, target)
}

// pattern is an endless body.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	return copy(p, ramp(0, len(p))), nil
}

// plain hides what else a reader is, so that the client does not know its length.
type plain struct{ io.Reader }

// TestLargeBodies moves bodies that do not fit into what weir may take: both ways,
// with and without a length, plain and through TLS. WEIR_SOAK_MIB is their size.
func TestLargeBodies(t *testing.T) {
	testkit.Slow(t)
	size := int64(testkit.Soak(t, "WEIR_SOAK_MIB", 128)) << 20
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, " ", err)
			return
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		io.CopyN(w, pattern{}, size)
	}))
	defer origin.Close()
	pair := testkit.NewAuthority(t).Issue("weir.test")
	secure := fmt.Sprintf("certificates = [{ cert = %q, key = %q }]", pair.Cert, pair.Key)
	for _, of := range []struct {
		scheme, listener string
		version          int
	}{{"http", "", 1}, {"https", secure, 1}, {"https", secure, 2}} {
		scheme := of.scheme
		c := start(t, "run", "--config", file(t, quiet(origin.URL, of.listener)))
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: of.version == 2, DisableKeepAlives: true}}
		url := scheme + "://" + c.addr()
		before := c.status("VmHWM")
		for _, path := range []string{"/length", "/chunked"} {
			r, err := client.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if n != size || err != nil || r.ProtoMajor != of.version {
				t.Errorf("%s %s: %d bytes by %s, %v", scheme, path, n, r.Proto, err)
			}
			body := io.LimitReader(pattern{}, size)
			request, _ := http.NewRequest("POST", url+path, plain{body})
			if path == "/length" {
				request.ContentLength = size
			}
			if r, err = client.Do(request); err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if want := fmt.Sprint(size, " <nil>"); string(text) != want {
				t.Errorf("%s upload %s: %q, want %q", scheme, path, text, want)
			}
		}
		peak := c.status("VmHWM")
		t.Logf("%s, HTTP/%d: four bodies of %d MiB, peak RSS %d KiB, at the start %d KiB", scheme, of.version, size>>20, peak, before)
		if peak > before+32<<10 {
			t.Errorf("%s: peak RSS is %d KiB, at the start it was %d KiB", scheme, peak, before)
		}
		c.signal(syscall.SIGTERM)
		c.ends(0)
	}
}

// TestIdleConnections says what a connection that waits for its next request costs.
func TestIdleConnections(t *testing.T) {
	testkit.Slow(t)
	n := testkit.Soak(t, "WEIR_SOAK_IDLE", 1000)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer origin.Close()
	c := start(t, "run", "--config", file(t, quiet(origin.URL, "")))
	var clients []net.Conn
	defer func() {
		for _, nc := range clients {
			nc.Close()
		}
	}()
	open := func(n int) {
		for range n {
			nc, err := net.Dial("tcp", c.addr())
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, nc)
			io.WriteString(nc, "GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			if m, err := testkit.ReadResponse(bufio.NewReader(nc), "GET"); err != nil || m.Body != "hello" {
				t.Fatalf("%+v, %v", m, err)
			}
		}
	}
	open(100)                     // warms up what all share
	before := c.status("RssAnon") // pages of the program file come and go
	open(n)
	each := float64(c.status("RssAnon")-before) / float64(n)
	t.Logf("%d idle connections, each %.1f KiB of memory", n, each)
	if each > 9 {
		t.Errorf("an idle connection takes %.1f KiB", each)
	}
}

// TestFewDescriptors: a weir that has no descriptors left neither ends nor spins,
// and is as before when its clients leave.
func TestFewDescriptors(t *testing.T) {
	testkit.Slow(t)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer origin.Close()
	path := file(t, quiet(origin.URL, ""))
	shell := fmt.Sprintf("ulimit -n 256; exec %s run --config %s", binary, path)
	c := startCommand(t, exec.CommandContext(t.Context(), "/bin/sh", "-c", shell))
	var clients []net.Conn
	for range 400 {
		nc, err := net.Dial("tcp", c.addr())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, nc)
	}
	c.logged("cannot accept a client")
	before := c.cpu()
	time.Sleep(2 * time.Second) // what is measured
	used := c.cpu() - before
	t.Logf("%s of processor time in 2 s without descriptors", used)
	if used > 500*time.Millisecond {
		t.Errorf("%s of processor time in 2 s", used)
	}
	// A client that was accepted gets an answer, if only that weir is busy.
	io.WriteString(clients[0], "GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	clients[0].SetReadDeadline(time.Now().Add(testkit.Limit))
	m, err := testkit.ReadResponse(bufio.NewReader(clients[0]), "GET")
	if err != nil || m.Status() != 503 && m.Status() != 200 {
		t.Errorf("%+v, %v", m, err)
	} else {
		t.Logf("a client that is in: %s", m.Line)
	}
	for _, nc := range clients {
		nc.Close()
	}
	testkit.Eventually(t, "weir has recovered", func() bool {
		response, err := http.Get(c.url)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == 200
	})
	c.signal(syscall.SIGTERM)
	c.ends(0)
}
