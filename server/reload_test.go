package server_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
)

// parse reads a configuration that must be good.
func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// mortal is an HTTP server at an address of its own that can be killed, as a
// process is, and come back.
type mortal struct {
	t       testing.TB
	addr    string
	handler http.Handler

	mu     sync.Mutex
	server *http.Server
}

func newMortal(t testing.TB, handler http.HandlerFunc) *mortal {
	t.Helper()
	m := &mortal{t: t, addr: testkit.Reserve(t), handler: handler}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mortal) start() {
	var ln net.Listener
	testkit.Eventually(m.t, "the address is free", func() bool {
		var err error
		ln, err = net.Listen("tcp", m.addr)
		return err == nil
	})
	server := &http.Server{Handler: m.handler}
	go server.Serve(ln)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server = server
}

// kill closes the listener and every connection, whatever happens on it.
func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server.Close()
}

// echo answers with what the request looked like.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s %s", r.Header.Get("X-Generation"), r.URL.Path, r.URL.RawQuery, body)
}

// generationText is a configuration whose generation shows in every part of an
// exchange: the header that the target gets, the path, the upstream, and the
// header that the client gets.
func generationText(name, address string, targets []string, stable, tunnel string) string {
	return fmt.Sprintf(`
[[listeners]]
name = "main"
address = %[2]q

[[routes]]
name = "all-%[1]s"
upstream = "%[1]s"
add_prefix = "/%[1]s"
[routes.request_headers]
set.X-Generation = "%[1]s"
[routes.response_headers]
set.X-Generation = "%[1]s"

[[routes]]
name = "post"
path = "/post"
upstream = "stable"
add_prefix = "/%[1]s"
[routes.request_headers]
set.X-Generation = "%[1]s"
[routes.response_headers]
set.X-Generation = "%[1]s"

[[routes]]
name = "tunnel"
path = "/tunnel"
upstream = "tunnel"

[upstreams.%[1]s]
targets = ["http://%[3]s"]

[upstreams.stable]
targets = ["http://%[4]s"]

[upstreams.tunnel]
targets = [%[5]q]
`, name, address, strings.Join(targets, `", "http://`), stable, tunnel)
}

// tunnelEcho is a script that agrees to an upgrade and sends back what comes.
func tunnelEcho(c *testkit.Conn) {
	c.Head()
	c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	io.Copy(c.Conn, c.Reader)
}

const upgradeRequest = "GET /tunnel HTTP/1.1\r\nHost: weir.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

// TestNoRequestFailsWhileReloading is the promise of a reload and of several
// targets: no request fails, none sees two configurations, while the
// configuration changes and one of two targets dies and comes back all the time.
// WEIR_SOAK_REQUESTS and WEIR_SOAK_RELOADS make it longer.
func TestNoRequestFailsWhileReloading(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	requests, reloads := testkit.Soak(t, "WEIR_SOAK_REQUESTS", 2000), testkit.Soak(t, "WEIR_SOAK_RELOADS", 10)
	first, second := newMortal(t, echo), newMortal(t, echo)
	tunnels := testkit.Listen(t, tunnelEcho)
	dir := t.TempDir()
	empty := emptyFile(t)
	text := func(name, address string) string {
		targets := []string{first.addr, second.addr}
		if name == "blue" {
			targets = []string{second.addr, first.addr}
		}
		return generationText(name, address, targets, second.addr, tunnels.URL)
	}
	w := launch(t, text("green", "127.0.0.1:0"))
	texts := map[string]string{"green": text("green", "127.0.0.1:0"), "blue": text("blue", "127.0.0.1:0")}

	upgraded := w.dial()
	upgraded.Send(upgradeRequest)
	equal(t, "status of the upgrade", upgraded.Head("GET").Status(), 101)

	var done, failed, seenGreen, seenBlue atomic.Int64
	fail := func(format string, args ...any) {
		if failed.Add(1) <= 20 {
			t.Errorf(format, args...)
		}
	}
	var clients sync.WaitGroup
	const connections = 8
	for i := range connections {
		clients.Go(func() {
			var c net.Conn
			var br *bufio.Reader
			defer func() {
				if c != nil {
					c.Close()
				}
			}()
			for n := i; done.Add(1) <= int64(requests); n++ {
				if c == nil {
					var err error
					if c, err = net.Dial("tcp", w.addr.String()); err != nil {
						fail("cannot connect: %v", err)
						return
					}
					c.SetDeadline(time.Now().Add(10 * time.Minute))
					br = bufio.NewReader(c)
				}
				request, path, body := fmt.Sprintf("GET /some?%d-%d HTTP/1.1\r\nHost: weir.test\r\n\r\n", i, n), "/some", ""
				if n%4 == 0 {
					path, body = "/post", fmt.Sprintf("body %d of %d", n, i)
					request = fmt.Sprintf("POST /post?%d-%d HTTP/1.1\r\nHost: weir.test\r\nContent-Length: %d\r\n\r\n%s", i, n, len(body), body)
				}
				io.WriteString(c, request)
				m, err := testkit.ReadResponse(br, "GET")
				if err != nil {
					fail("request %s %d-%d: %v", path, i, n, err)
					c.Close()
					c = nil
					continue
				}
				generation := m.Get("X-Generation")
				want := fmt.Sprintf("%[1]s /%[1]s%s %d-%d %s", generation, path, i, n, body)
				if m.Status() != 200 || m.Body != want || generation == "" {
					fail("request %s %d-%d: %s, body %q, want %q", path, i, n, m.Line, m.Body, want)
				}
				if generation == "green" {
					seenGreen.Add(1)
				} else {
					seenBlue.Add(1)
				}
				if m.Get("Connection") == "close" {
					fail("request %s %d-%d: the connection is closed", path, i, n)
					c.Close()
					c = nil
				}
			}
		})
	}

	stop := make(chan struct{})
	var chaos sync.WaitGroup
	kills := 0
	chaos.Go(func() {
		for {
			for _, act := range []func(){first.kill, first.start} {
				act()
				select {
				case <-stop:
					return
				case <-time.After(30 * time.Millisecond):
				}
			}
			kills++
		}
	})
	// Reloads are spread over the requests. Each third is one that fails, at a
	// different point each time.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := []string{
		texts["blue"] + "[upstreams.broken]\ntargets = [\"https://127.0.0.1:1\"]\ntls = { ca = \"" + empty + "\" }\n",
		texts["blue"] + fmt.Sprintf("[[listeners]]\nname = \"taken\"\naddress = %q\n", taken.Addr()),
		texts["blue"] + fmt.Sprintf("[access_log]\noutput = %q\n", filepath.Join(dir, "no", "such", "folder")),
		texts["blue"] + fmt.Sprintf("[metrics]\naddress = %q\n", taken.Addr()),
	}
	names := []string{"green", "blue"}
	good, refused := 0, 0
	for i := range reloads {
		for done.Load() < int64(requests)*int64(i)/int64(reloads) {
			time.Sleep(time.Millisecond)
		}
		if i%3 == 2 {
			if err := w.Reload(parse(t, bad[refused%len(bad)])); err == nil {
				t.Error("a bad configuration was accepted")
			}
			refused++
			continue
		}
		good++
		if err := w.Reload(parse(t, texts[names[good%2]])); err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
		upgraded.Send("ping")
		if got := upgraded.Take(4); got != "ping" {
			t.Errorf("tunnel says %q", got)
		}
	}
	clients.Wait()
	close(stop)
	chaos.Wait()
	w.becomes("reloads that worked", `weir_reloads_total{result="ok"}`, fmt.Sprint(good))
	w.becomes("reloads that failed", `weir_reloads_total{result="failed"}`, fmt.Sprint(refused))
	if seenGreen.Load() == 0 || seenBlue.Load() == 0 {
		t.Errorf("%d answers of green, %d of blue: want both", seenGreen.Load(), seenBlue.Load())
	}
	t.Logf("%d requests (%d green, %d blue), %d failed, %d reloads and %d refused ones, the target was killed %d times",
		requests, seenGreen.Load(), seenBlue.Load(), failed.Load(), good, refused, kills)
}

// A running exchange ends with the configuration that it began with.
func TestReloadKeepsRunningExchanges(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		m := c.Head()
		c.Wait(release)
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Got: " + m.Get("X-Generation") + "\r\n\r\n")
	})
	text := func(name string) string {
		return plainListener + toOrigin(origin.URL) + fmt.Sprintf("[[routes]]\nname = %[1]q\npath = \"/%[1]s\"\nupstream = \"origin\"\nrequest_headers.set.X-Generation = %[1]q\nresponse_headers.set.X-Generation = %[1]q\n", name)
	}
	w := launch(t, text("green"))
	c := w.dial()
	c.Send("GET /green HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	testkit.Eventually(t, "the origin has the request", func() bool { return origin.Requests() == 1 })
	if err := w.Reload(parse(t, text("blue"))); err != nil {
		t.Fatal(err)
	}
	close(release)
	m := c.Response("GET")
	equal(t, "generations", m.Get("X-Got")+" "+m.Get("X-Generation"), "green green")
	equal(t, "Connection", m.Get("Connection"), "")
	// The same connection sees the new one with its next request.
	m = c.Get("/blue")
	equal(t, "generations", m.Get("X-Got")+" "+m.Get("X-Generation"), "blue blue")
	// The series of the route that is gone go with its last exchange.
	testkit.Eventually(t, "the old route's series are gone", func() bool { return !strings.Contains(w.metrics(), `route="green"`) })
	if !strings.Contains(w.metrics(), `route="blue"`) {
		t.Error("the new route has no series")
	}
}

// An address that stays keeps its socket; one that is gone ends its idle
// connections, but not its running exchanges; a new one is served.
func TestReloadListeners(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if c.Head().Target() == "/wait" {
				c.Wait(release)
			}
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	dir := t.TempDir()
	listeners := func(names ...string) string {
		text := plainListener
		for _, n := range names {
			text += fmt.Sprintf("[[listeners]]\nname = %q\naddress = \"unix:%s\"\n", n, filepath.Join(dir, n))
		}
		return text + toOrigin(origin.URL)
	}
	w := launch(t, listeners("one"))
	at := func(name string) *testkit.Client {
		return testkit.Dial(t, &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, name)})
	}
	kept, idle, running, silent := w.dial(), at("one"), at("one"), at("one")
	equal(t, "status", kept.Get("/").Status(), 200)
	equal(t, "status", idle.Get("/").Status(), 200)
	running.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	testkit.Eventually(t, "the origin has the request", func() bool { return origin.Requests() == 3 })

	if err := w.Reload(parse(t, listeners("two"))); err != nil {
		t.Fatal(err)
	}
	_, end := idle.Rest()
	equal(t, "end of the idle connection", end, testkit.Closed)
	_, end = silent.Rest()
	equal(t, "end of a connection that never sent anything", end, testkit.Closed)
	if _, err := net.Dial("unix", filepath.Join(dir, "one")); err == nil {
		t.Error("the listener that is gone still accepts")
	}
	equal(t, "status through the new listener", at("two").Get("/").Status(), 200)
	equal(t, "status through the old one", kept.Get("/").Status(), 200)
	close(release)
	m := running.Response("GET")
	equal(t, "status of the running exchange", m.Status(), 200)
	equal(t, "its Connection", m.Get("Connection"), "close")
	_, end = running.Rest()
	equal(t, "its end", end, testkit.Closed)
	// Nothing is left of it.
	running.Close()
	equal(t, "address of the listener that is gone", fmt.Sprint(w.Addr("one")), "<nil>")
	testkit.Eventually(t, "its series are gone", func() bool {
		w.Reload(parse(t, listeners("two")))
		return !strings.Contains(w.metrics(), `listener="one"`)
	})
}

// Limits of a listener hold from the reload on, for open connections too.
func TestReloadLimits(t *testing.T) {
	t.Parallel()
	text := func(limit string) string {
		return plainListener + "limits.header_bytes = \"" + limit + "\"\n[[routes]]\nrespond = { body = \"hello\" }\n"
	}
	w := launch(t, text("16KiB"))
	request := "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Long: " + strings.Repeat("x", 4000) + "\r\n\r\n"
	c := w.dial()
	c.Send(request)
	equal(t, "status", c.Response("GET").Status(), 200)
	if err := w.Reload(parse(t, text("2KiB"))); err != nil {
		t.Fatal(err)
	}
	c.Send(request)
	equal(t, "status", c.Response("GET").Status(), 431)
}

// A reload that fails changes nothing, and says so.
func TestReloadFails(t *testing.T) {
	t.Parallel()
	dir, empty := t.TempDir(), emptyFile(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	text := plainListener + "[[routes]]\nrespond = { body = \"first\" }\n"
	w := launch(t, text)
	equal(t, "answer", w.dial().Get("/").Body, "first")
	w.logged(1)
	names := func() string {
		var b strings.Builder
		for line := range strings.Lines(w.metrics()) {
			if name, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "weir_") && !strings.Contains(name, "_bucket{") {
				b.WriteString(name + "\n")
			}
		}
		return b.String()
	}
	before := names()
	check := func(more string) {
		t.Helper()
		changed := strings.Replace(text, "first", "second", 1) + "[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"more\"\n[upstreams.more]\ntargets = [\"demo:more\"]\n" + more
		if err := w.Reload(parse(t, changed)); err == nil {
			t.Fatal("accepted")
		}
		equal(t, "answer", w.dial().Get("/").Body, "first")
		equal(t, "series", names(), before)
		w.becomes("weir_config_last_reload_successful", "weir_config_last_reload_successful", "0")
	}
	// While the parts are built.
	check("[upstreams.broken]\ntargets = [\"https://127.0.0.1:1\"]\ntls = { ca = \"" + empty + "\" }\n")
	// While listeners are opened: the ones before are closed again.
	free := filepath.Join(dir, "socket")
	check(fmt.Sprintf("[[listeners]]\nname = \"free\"\naddress = \"unix:%s\"\n[[listeners]]\nname = \"taken\"\naddress = %q\n", free, taken.Addr()))
	if _, err := os.Stat(free); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of the failed reload is there: %v", err)
	}
	// When the metrics page is to move.
	check(fmt.Sprintf("[metrics]\naddress = %q\n", taken.Addr()))
}

// Certificates of a listener are replaced by a reload.
func TestReloadCertificates(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	text := func(p testkit.Pair) string {
		return plainListener + fmt.Sprintf("certificates = [{ cert = %q, key = %q }]\n[[routes]]\nrespond = { body = \"hello\" }\n", p.Cert, p.Key)
	}
	w := launch(t, text(authority.Issue("one.test")))
	name := func() string {
		c := testkit.DialTLS(t, w.addr, insecure())
		equal(t, "status", c.Get("/").Status(), 200)
		return peerName(c)
	}
	equal(t, "certificate", name(), "one.test")
	if err := w.Reload(parse(t, text(authority.Issue("two.test")))); err != nil {
		t.Fatal(err)
	}
	equal(t, "certificate", name(), "two.test")
}

// An access log that is changed by a reload loses no line.
func TestReloadAccessLog(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	dir := t.TempDir()
	text := func(i int) string {
		return plainListener + fmt.Sprintf("[[routes]]\nrespond = { body = \"hello\" }\n[access_log]\noutput = %q\nformat = \"{request_target}\"\n", filepath.Join(dir, fmt.Sprint(i)))
	}
	w := launch(t, text(0))
	const reloads, requests = 20, 1000
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			c, err := net.Dial("tcp", w.addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			br := bufio.NewReader(c)
			for n := range requests {
				fmt.Fprintf(c, "GET /%d-%d HTTP/1.1\r\nHost: weir.test\r\n\r\n", i, n)
				if _, err := testkit.ReadResponse(br, "GET"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range reloads {
		if err := w.Reload(parse(t, text(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	clients.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]int)
	for i := range reloads + 1 {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			lines[line]++
		}
	}
	equal(t, "number of different lines", len(lines), 4*requests)
	for line, n := range lines {
		if n != 1 {
			t.Errorf("line %q is there %d times", line, n)
		}
	}
}

// Reopen goes on in a new file when the old one was moved away.
func TestReopenAccessLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	w := launch(t, plainListener+fmt.Sprintf("[[routes]]\nrespond = { body = \"hello\" }\n[access_log]\noutput = %q\nformat = \"{request_target}\"\n", path))
	c := w.dial()
	c.Get("/before")
	written := `weir_access_log_lines_total{result="written"}`
	testkit.Eventually(t, "the line is written", func() bool { return w.metric(written) == "1" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	w.Reopen()
	c.Get("/after")
	testkit.Eventually(t, "the line is written", func() bool { return w.metric(written) == "2" })
	for name, want := range map[string]string{path + ".1": "/before\n", path: "/after\n"} {
		b, err := os.ReadFile(name)
		if err != nil || string(b) != want {
			t.Errorf("%s holds %q, want %q; %v", name, b, want, err)
		}
	}
}

// Reloading a server that is stopping, or has stopped, is refused.
func TestReloadAfterClose(t *testing.T) {
	t.Parallel()
	text := plainListener + "[[routes]]\nrespond = { body = \"hello\" }\n"
	w := launch(t, text)
	w.Close()
	if err := w.Reload(parse(t, text)); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("error is %v", err)
	}
	if err := w.Start(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("error is %v", err)
	}
}

// emptyFile is what a list of authorities must not be.
func emptyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// insecure accepts any certificate: the test looks at it itself.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func peerName(c *testkit.Client) string {
	return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames[0]
}
