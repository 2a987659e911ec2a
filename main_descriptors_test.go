package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/testkit"
)

// limited starts a weir that may have so many files open.
func limited(t *testing.T, ulimit, config string) *child {
	t.Helper()
	shell := fmt.Sprintf("%s; exec %s run --config %s", ulimit, binary, file(t, config))
	return startCommand(t, exec.CommandContext(t.Context(), "/bin/sh", "-c", shell))
}

// gate is an origin that holds back the answers to paths that end in "/held" until it is opened.
type gate struct {
	*httptest.Server
	arrived chan struct{}
	open    chan struct{}
}

func newGate(t *testing.T) *gate {
	g := &gate{arrived: make(chan struct{}, 1000), open: make(chan struct{})}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/held") {
			g.arrived <- struct{}{}
			<-g.open
		}
		io.WriteString(w, "hello")
	}))
	t.Cleanup(g.Close)
	return g
}

// together sends a request on each client and waits until all have arrived at the origin.
func (g *gate) together(t *testing.T, clients []*testkit.Client, path string) {
	t.Helper()
	for _, c := range clients {
		c.Send("GET " + path + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	}
	limit := time.After(testkit.Limit)
	for range clients {
		select {
		case <-g.arrived:
		case <-limit:
			t.Fatal("a request does not arrive")
		}
	}
}

func dialAll(t *testing.T, c *child, n int) (clients []*testkit.Client) {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", c.addr())
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		clients = append(clients, testkit.Dial(t, addr))
	}
	return clients
}

// answered reads an answer on each client.
func answered(t *testing.T, clients []*testkit.Client) {
	t.Helper()
	for i, c := range clients {
		if m := c.Response("GET"); m.Status() != 200 || m.Body != "hello" {
			t.Errorf("client %d: %s %q", i, m.Line, m.Body)
		}
	}
}

// The Go runtime raises the soft limit to the hard one but for one, and a line at the start says what clients get.
func TestDescriptorLimit(t *testing.T) {
	t.Parallel()
	origin := newGate(t)
	c := limited(t, "ulimit -Sn 128; ulimit -Hn 512", quiet(origin.URL, ""))
	if !strings.Contains(c.seen, `msg="the limit of open files is small" limit=511 clients=239 remedy=`) {
		t.Errorf("the log says\n%s", c.seen)
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// As many clients as fit are all served at once, because each finds a descriptor for its
// target. Clients beyond that wait for one that ends.
func TestBusyClientsFit(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	origin := newGate(t)
	c := limited(t, "ulimit -n 128", quiet(origin.URL, ""))
	clients := dialAll(t, c, 48)
	origin.together(t, clients, "/held")
	more := dialAll(t, c, 5)
	for _, m := range more {
		m.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	}
	line := c.logged("cannot accept a client")
	if !strings.Contains(line, "limit=128 clients=48 remedy=") {
		t.Errorf("the log says %q", line)
	}
	close(origin.open)
	answered(t, clients)
	answered(t, more) // the others are idle now
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// Clients that were idle for longest make room for new ones.
func TestIdleClientsMakeRoom(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	origin := newGate(t)
	c := limited(t, "ulimit -n 128", quiet(origin.URL, ""))
	clients := dialAll(t, c, 48)
	for _, client := range clients {
		client.Get("/")
	}
	busy := clients[:1] // longest idle, but at work when room is made
	origin.together(t, busy, "/held")
	newer := dialAll(t, c, 40)
	for _, client := range newer {
		if m := client.Get("/"); m.Status() != 200 {
			t.Errorf("a new client: %s", m.Line)
		}
	}
	if line := c.logged("clients were closed that had been idle for longest"); !strings.Contains(line, "remedy=") {
		t.Errorf("the log says %q", line)
	}
	close(origin.open)
	answered(t, busy)
	for i, client := range clients[1:41] {
		if _, end := client.Rest(); end != testkit.Closed {
			t.Errorf("client %d: %v", i+1, end)
		}
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// Clients of HTTP/2 that were idle for longest make room, too.
func TestIdleHTTP2ClientsMakeRoom(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	origin := newGate(t)
	c := limited(t, "ulimit -n 128", quiet(origin.URL, `protocols = ["h1", "h2c"]`))
	// Each client has a connection of its own.
	get := func(client *http.Client) {
		t.Helper()
		response, err := client.Get(c.url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello" || response.ProtoMajor != 2 {
			t.Errorf("%s %q, %v", response.Proto, body, err)
		}
	}
	for range 48 + 20 {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(transport.CloseIdleConnections)
		get(&http.Client{Transport: transport})
	}
	c.logged("clients were closed that had been idle for longest")
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// Idle connections to targets make room for connections to other targets, and no client is
// closed for that.
func TestIdleTargetsMakeRoom(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	one, two := newGate(t), newGate(t)
	config := quiet(one.URL, "") + fmt.Sprintf("[[routes]]\npath = \"/two/\"\nupstream = \"two\"\n[upstreams.two]\ntargets = [%q]\n", two.URL)
	c := limited(t, "ulimit -n 128", config)
	clients := dialAll(t, c, 45)
	for _, g := range []struct {
		origin *gate
		path   string
	}{{one, "/held"}, {two, "/two/held"}} {
		g.origin.together(t, clients, g.path)
		close(g.origin.open)
		answered(t, clients)
	}
	if line := c.logged("idle connections to targets were closed"); !strings.Contains(line, "limit=128 clients=48 remedy=") {
		t.Errorf("the log says %q", line)
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}
