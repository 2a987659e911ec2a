package clienttest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// requests is how many each client makes, every is after how many of them weir is reloaded.
const (
	requests = 1000
	every    = 50
	streams  = 10
	// limit bounds a program: a browser takes long to start on a busy machine.
	limit = 4 * time.Minute
)

// edge is a weir that its origin reloads while requests wait for the answer.
type edge struct {
	t      *testing.T
	server *server.Server
	url    string
	ca     string // a file
	text   string

	mu      sync.Mutex
	reloads int
	asked   atomic.Int64
	// said is what the page in the browser has found out.
	said chan string
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{t: t, said: make(chan string, 1)}
	origin := httptest.NewServer(e)
	t.Cleanup(origin.Close)
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("localhost")
	e.ca = authority.File
	e.text = fmt.Sprintf(`
[access_log]
output = "off"
[[listeners]]
name = "main"
address = "127.0.0.1:0"
certificates = [{ cert = %q, key = %q }]
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
`, pair.Cert, pair.Key, origin.URL)
	cfg, err := config.Parse("test.toml", []byte(e.text))
	if err != nil {
		t.Fatal(err)
	}
	if e.server, err = server.New(cfg, server.WithLog(slog.New(slog.DiscardHandler))); err != nil {
		t.Fatal(err)
	}
	if err := e.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.server.Close() })
	_, port, _ := strings.Cut(e.server.Addr("main").String(), ":")
	e.url = "https://localhost:" + port
	return e
}

// ServeHTTP answers as the origin.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/page":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, page, requests, streams)
		return
	case "/said":
		b, _ := io.ReadAll(r.Body)
		e.said <- string(b)
		return
	case "/favicon.ico":
		return
	}
	if e.asked.Add(1)%every == 0 {
		e.reload()
	}
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, "hello\n")
}

// reload reloads another configuration each time.
func (e *edge) reload() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reloads++
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, "%s\n[[routes]]\npath = \"/reload/%d\"\nrespond = {}\n", e.text, e.reloads))
	if err == nil {
		err = e.server.Reload(cfg)
	}
	if err != nil {
		e.t.Error(err)
	}
}

// served says that all requests went by HTTP/2 and reached the origin.
func (e *edge) served() {
	e.t.Helper()
	if n := e.asked.Load(); n < requests {
		e.t.Errorf("%d requests reached the origin, want %d", n, requests)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reloads < requests/every {
		e.t.Errorf("weir was reloaded %d times, want %d", e.reloads, requests/every)
	}
	e.t.Logf("%d requests over %d reloads", e.asked.Load(), e.reloads)
}

// run runs a program to its end and returns what it has printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = testkit.Limit
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out, errors.String())
	}
	return string(out)
}

func TestCurl(t *testing.T) {
	t.Parallel()
	curl, e := testkit.Program(t, "curl"), newEdge(t)
	out := run(t, curl, "-sS", "--http2", "--cacert", e.ca, "--parallel", "--parallel-max", fmt.Sprint(streams), "-o", "/dev/null",
		"-w", "%{http_version} %{http_code} %{size_download}\n", fmt.Sprintf("%s/[1-%d]", e.url, requests))
	if n := strings.Count(out, "2 200 6\n"); n != requests {
		t.Errorf("%d answers of %d are whole:\n%s", n, requests, strings.ReplaceAll(out, "2 200 6\n", ""))
	}
	e.served()
}

func TestNghttp(t *testing.T) {
	t.Parallel()
	nghttp, e := testkit.Program(t, "nghttp"), newEdge(t)
	// It sends all that it is told to before it knows how many streams there may be at once.
	const atOnce = 100
	out := ""
	for range requests / atOnce {
		out += run(t, nghttp, "--no-verify-peer", "-m", fmt.Sprint(atOnce), e.url+"/")
	}
	if whole := strings.Count(out, "hello\n"); whole != requests {
		t.Errorf("%d answers of %d are whole:\n%s", whole, requests, strings.ReplaceAll(out, "hello\n", ""))
	}
	e.served()
}

func TestH2load(t *testing.T) {
	t.Parallel()
	h2load, e := testkit.Program(t, "h2load"), newEdge(t)
	out := run(t, h2load, "-n", fmt.Sprint(requests), "-c", "5", "-m", fmt.Sprint(streams), e.url+"/")
	if want := fmt.Sprintf("%d succeeded, 0 failed, 0 errored, 0 timeout", requests); !strings.Contains(out, want) {
		t.Errorf("%s", out)
	}
	if !regexp.MustCompile(`Application protocol: h2\b`).MatchString(out) {
		t.Errorf("%s", out)
	}
	e.served()
}

// script makes all requests on one session, so many at once.
const script = `
const http2 = require('http2'), fs = require('fs');
const [url, ca, total, streams] = process.argv.slice(1);
const session = http2.connect(url, { ca: fs.readFileSync(ca) });
session.on('error', e => { console.log('session: ' + e); process.exit(1); });
session.on('goaway', code => console.log('goaway ' + code));
let begun = 0, whole = 0, running = 0;
const next = () => {
	if (begun == total) return running || (console.log('whole ' + whole), session.close());
	begun++; running++;
	const stream = session.request({ ':path': '/' + begun });
	let status = 0, body = '';
	stream.on('response', h => status = h[':status']);
	stream.on('data', d => body += d);
	stream.on('error', e => console.log('stream: ' + e));
	stream.on('close', () => { running--; if (status == 200 && body == 'hello\n' && stream.rstCode == 0) whole++; next(); });
};
for (let i = 0; i < streams; i++) next();
`

func TestNode(t *testing.T) {
	t.Parallel()
	node, e := testkit.Program(t, "node", "nodejs"), newEdge(t)
	out := run(t, node, "-e", script, e.url, e.ca, fmt.Sprint(requests), fmt.Sprint(streams))
	if out != fmt.Sprintf("whole %d\n", requests) {
		t.Errorf("%s", out)
	}
	e.served()
}

// page makes all requests, so many at once, and says what came of them.
const page = `<!doctype html><title>requests</title><script type="module">
const total = %d;
let begun = 0, whole = 0, other = 0, errors = [];
async function ask() {
	while (begun < total) {
		const path = '/' + ++begun;
		try {
			const r = await fetch(path);
			const text = await r.text();
			if (r.status == 200 && text == 'hello\n') whole++; else errors.push(r.status + ' ' + text);
			const entry = performance.getEntriesByName(r.url)[0];
			if (entry && entry.nextHopProtocol != 'h2') other++;
			performance.clearResourceTimings();
		} catch (e) { errors.push(String(e)); }
	}
}
await Promise.all(Array.from({ length: %d }, ask));
await fetch('/said', { method: 'POST', body: 'whole ' + whole + ', not by h2 ' + other + ' ' + errors.slice(0, 5).join('; ') });
</script>`

func TestChromium(t *testing.T) {
	t.Parallel()
	chromium, e := testkit.Program(t, "chromium", "chromium-browser", "google-chrome"), newEdge(t)
	dir, err := os.MkdirTemp("", "weir-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--ignore-certificate-errors",
		"--user-data-dir="+dir, e.url+"/page")
	cmd.WaitDelay = time.Second
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	select {
	case said = <-e.said:
	case <-ctx.Done():
	}
	cmd.Process.Kill()
	cmd.Wait()
	os.RemoveAll(dir) // which children of the browser may still write to
	if want := fmt.Sprintf("whole %d, not by h2 0 ", requests); said != want {
		t.Errorf("the page says %q, want %q; the browser %s", said, want, log.String())
	}
	e.served()
}
