package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"weir/internal/testkit"
)

// recorder is an origin that keeps the names of the fields that it gets.
type recorder struct {
	ln    net.Listener
	names chan []string
}

func startRecorder(t *testing.T) *recorder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{ln: ln, names: make(chan []string, 16)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() { // the request line
		var names []string
		for lines.Scan() && lines.Text() != "" {
			name, _, _ := strings.Cut(lines.Text(), ":")
			names = append(names, strings.ToLower(name))
		}
		if len(names) > 0 {
			r.names <- names
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: a\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// sees returns what the origin gets from a peer besides what the client sent and
// what belongs to the connection, and what the client gets besides what the
// origin sent.
func (r *recorder) sees(t *testing.T, run *runner, p peer) (upstream, downstream []string) {
	t.Helper()
	proc, s, err := p.start(t.Context(), run.dir, run.base(r.ln.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer proc.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Listen+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %s", resp.Status)
	}
	var got []string
	select {
	case got = <-r.names:
	case <-ctx.Done():
		t.Fatal("the origin got nothing")
	}
	for _, name := range got {
		if !slices.Contains([]string{"host", "user-agent", "connection"}, name) {
			upstream = append(upstream, name)
		}
	}
	for name, values := range resp.Header {
		if !slices.Contains([]string{"Date", "Server", "Content-Length", "Connection", "Content-Type"}, name) {
			for range values {
				downstream = append(downstream, strings.ToLower(name))
			}
		}
	}
	slices.Sort(upstream)
	slices.Sort(downstream)
	return upstream, downstream
}

// What is compared must do the same work: all peers send the forwarding fields
// that weir sends by default, and none of them with -forwarding=false.
func TestForwardingFields(t *testing.T) {
	testkit.Slow(t) // it builds weir and starts processes
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	weir := filepath.Join(t.TempDir(), "weir")
	if err := buildWeir(t.Context(), "../../..", weir); err != nil {
		t.Fatal(err)
	}
	// What a peer adds whatever it is told. Only Varnish's hits are measured, and
	// they ask no origin.
	extra := map[string][]string{"varnish": {"accept-encoding", "x-varnish", "age", "accept-ranges"}}
	r := startRecorder(t)
	check := func(p peer, forwarding bool, wantUp, wantDown []string) {
		t.Helper()
		if _, err := p.find(); err != nil {
			t.Logf("not tested: %v", err)
			return
		}
		run, err := newRunner(t.TempDir(), self, runSettings{Workers: 1, Forwarding: forwarding}, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		up, down := r.sees(t, run, p)
		isExtra := func(name string) bool { return slices.Contains(extra[p.name], name) }
		up, down = slices.DeleteFunc(up, isExtra), slices.DeleteFunc(down, isExtra)
		if !slices.Equal(up, wantUp) {
			t.Errorf("%s, forwarding %t: the origin gets %v besides the client's fields, want %v", p.name, forwarding, up, wantUp)
		}
		if p.name == "caddy" && forwarding && len(down) == 0 {
			t.Logf("%s adds no Via to responses, as later versions do", p.tell(t.Context()))
			return
		}
		if !slices.Equal(down, wantDown) {
			t.Errorf("%s, forwarding %t: the client gets %v besides the origin's fields, want %v", p.name, forwarding, down, wantDown)
		}
	}
	for _, p := range peers(weir, self) {
		if p.option != nil {
			continue // weir once more
		}
		check(p, true, []string{"via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"}, []string{"via"})
		check(p, false, nil, nil)
	}
}
