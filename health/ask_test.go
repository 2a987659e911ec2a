package health_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"weir/config"
)

// A probe that gives up takes its connection along, whatever the server does with it.
func TestProbeEndsItsConnection(t *testing.T) {
	check := func(name string, settings func(*config.Upstream)) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ended := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			_, err = io.Copy(io.Discard, c) // without an answer
			ended <- err
		}()
		got := verdict(t, "http://"+l.Addr().String(), func(c *config.Upstream) {
			c.Health.Timeout = config.Duration(time.Second)
			settings(c)
		})
		equal(t, name, got, "probe: no answer within 1s (health.timeout): context deadline exceeded")
		if err := <-ended; err != nil {
			t.Errorf("%s: the connection of the probe is open after it: %s", name, err)
		}
	}
	check("http", func(c *config.Upstream) { c.Health.Probe = "http" })
	check("http in HTTP/2", func(c *config.Upstream) { c.Health.Probe, c.Connections.Protocol = "http", "h2" })
	check("grpc", func(c *config.Upstream) { c.Health.Probe = "grpc" })
}

// What a server says is in the reason, but no more than the beginning of it.
func TestProbeReasonIsShort(t *testing.T) {
	check := func(got, begins string) {
		t.Helper()
		if len(got) > 300 || !strings.HasPrefix(got, begins) || !strings.HasSuffix(got, "...") {
			t.Errorf("got %d bytes, %.100s", len(got), got)
		}
	}
	long := strings.Repeat("é", 7000)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, long+"\r\n\r\n")
		}
	}()
	check(verdict(t, "http://"+l.Addr().String(), func(c *config.Upstream) { c.Health.Probe = "http" }), "probe: ")

	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "13")
		w.Header().Set("Grpc-Message", long)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	check(verdict(t, s.URL, func(c *config.Upstream) { c.Health.Probe = "grpc" }), `probe: grpc-status is "13" (éé`)
}
