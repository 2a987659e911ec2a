package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"weir/internal/testkit"
)

// TestMain lets this test binary be the servers that the command starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if serve := servers()[os.Args[1]]; serve != nil {
			os.Exit(exitCode(serve(os.Args[2:])))
		}
	}
	os.Exit(m.Run())
}

func exitCode(err error) int {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// The whole way with what is always there: our origin and httputil.
func TestMeasuresAProcess(t *testing.T) {
	testkit.Slow(t) // it starts processes
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r, err := newRunner(t.TempDir(), self, runSettings{Rounds: 1, Warmup: 0.02, Closed: 1, Open: 0.05, RateFactor: 0.05, Workers: 2, Idle: 50}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.startOrigin(ctx, "own"); err != nil {
		t.Fatal(err)
	}
	defer r.origin.stop()
	var httputil peer
	for _, p := range peers("weir", self) {
		if p.name == "httputil" {
			httputil = p
		}
	}
	check := func(id string) {
		t.Helper()
		sc, err := chooseScenarios(id)
		if err != nil {
			t.Fatal(err)
		}
		row, err := r.row(ctx, sc[0], []peer{httputil})
		if err != nil {
			t.Fatal(err)
		}
		c := row.Cells[0]
		if c.Error != "" || c.Median.Requests == 0 || c.Median.Failed != 0 || c.Median.Resident == 0 {
			t.Errorf("%s: %+v", id, c)
		}
		if c.Median.CPU <= 0 || c.Median.P99 <= 0 {
			t.Errorf("%s: no CPU time or latency: %+v", id, c.Median)
		}
	}
	check("pass-1k-c64")
	check("tls-1k")
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// The reading end never blocks an opener that also writes.
	alive, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	// A shell that leaves a child behind, as servers with workers do; both
	// keep the pipe's other end open as long as they live.
	p, err := startProcess(context.Background(), "group", t.TempDir(), address,
		[]string{"/bin/sh", "-c", `exec 3>"$2"; sleep 60 & exec "$0" serve-origin -listen "$1"`, self, address, fifo}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	if err := alive.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := alive.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d, %v, want the end of the pipe: a process is left", n, err)
	}
}

func TestProgramThatEndsAtOnce(t *testing.T) {
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, err = startProcess(context.Background(), "broken", t.TempDir(), address, []string{"/bin/sh", "-c", "echo no such key; exit 1"}, nil)
	if err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("error %v, want one with what the program said", err)
	}
}

// Every configuration must be complete whatever is switched on.
func TestConfigurations(t *testing.T) {
	check := func(s settings) {
		t.Helper()
		s.Dir, s.Listen, s.ListenHost, s.ListenPort = t.TempDir(), "127.0.0.1:1", "127.0.0.1", "1"
		s.Origin, s.OriginHost, s.OriginPort, s.Workers = "127.0.0.1:2", "127.0.0.1", "2", 2
		for _, p := range peers("weir", "self") {
			if p.conf == "" {
				continue
			}
			file := s.Dir + "/" + p.file
			if err := writeConf(p.conf, file, s); err != nil {
				t.Error(err)
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "<no value>") || strings.Contains(string(b), "{{") {
				t.Errorf("%s is not filled in:\n%s", p.file, b)
			}
		}
	}
	check(settings{})
	check(settings{Cert: "c.pem", Key: "k.pem", Cache: true, Logged: true, Scraped: true, Forwarding: true, Root: true})
}

// Scenarios say how many fields a response has, whatever the origin is.
func TestOriginFields(t *testing.T) {
	testkit.Slow(t) // it starts processes
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	check := func(kind, path string, want int) {
		t.Helper()
		r, err := newRunner(t.TempDir(), self, runSettings{Workers: 1}, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.startOrigin(t.Context(), kind); err != nil {
			t.Fatal(err)
		}
		defer r.origin.stop()
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		var fields []string
		lines := bufio.NewScanner(conn)
		if !lines.Scan() || !strings.Contains(lines.Text(), " 200 ") {
			t.Errorf("%s %s: %q, want status 200", kind, path, lines.Text())
		}
		for lines.Scan() && lines.Text() != "" {
			fields = append(fields, lines.Text())
		}
		if len(fields) != want {
			t.Errorf("%s %s: %d fields, want %d: %q", kind, path, len(fields), want, fields)
		}
	}
	check("own", "/page/10240", 15)
	check("own", "/entry/1024", 8)
	if _, err := find("nginx"); err != nil {
		t.Skip("no nginx for the origin")
	}
	check("nginx", "/page/10240", 15)
	check("nginx", "/entry/1024", 8+1) // Connection is not stored
}
