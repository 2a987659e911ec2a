package redis_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/redis"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
	"weir/internal/testkit"
)

// limit is how long anything may take.
const limit = time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.EventuallyWithin(t, limit, what, ok)
}

// process is a real redis-server. In its arguments PORT stands for the port, and
// BUS for another.
type process struct {
	t    *testing.T
	port int
	bus  int
	cmd  *exec.Cmd
	args []string
	// sentinel is the file of a sentinel; empty for a server.
	sentinel string
}

func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	testkit.Program(t, "redis-server")
	p := &process{t: t, args: args}
	p.port, p.bus = freePort(t), freePort(t)
	ports := strings.NewReplacer("PORT", fmt.Sprint(p.port), "BUS", fmt.Sprint(p.bus))
	for i := range p.args {
		p.args[i] = ports.Replace(p.args[i])
	}
	p.start()
	t.Cleanup(p.stop)
	return p
}

// freePort returns a port that belongs to the test until its end, also while no server listens there.
func freePort(t *testing.T) int {
	t.Helper()
	return int(netip.MustParseAddrPort(testkit.Reserve(t)).Port())
}

func (p *process) start() {
	p.t.Helper()
	args := append([]string{"--port", fmt.Sprint(p.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", p.t.TempDir()}, p.args...)
	if p.sentinel != "" {
		args = []string{p.sentinel, "--sentinel", "--port", fmt.Sprint(p.port), "--bind", "127.0.0.1"}
	}
	p.cmd = exec.Command("redis-server", args...)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", p.addr())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// replicate makes r a replica of p, and waits until p counts it as one: that is some time after r
// has all data.
func (p *process) replicate(r *process) {
	p.t.Helper()
	r.cli("replicaof", "127.0.0.1", fmt.Sprint(p.port))
	eventually(p.t, "the replica has all data", func() bool { return strings.Contains(r.cli("info", "replication"), "master_link_status:up") })
	eventually(p.t, "the primary counts the replica", func() bool {
		return strings.Contains(p.cli("info", "replication"), fmt.Sprintf("port=%d,state=online", r.port))
	})
}

// newSentinel starts a sentinel that watches p under the name main.
func newSentinel(t *testing.T, p *process) *process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 3000\n", p.port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &process{t: t, port: freePort(t), sentinel: file}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (p *process) stop() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
}

// cli sends a command and returns the answer; that of a server which does not
// have the key of the command is an error, as text.
func (p *process) cli(args ...string) string {
	p.t.Helper()
	out, err := p.tryCLI(args...)
	if err != nil {
		p.t.Fatalf("redis-cli %q: %v: %s", args, err, out)
	}
	return out
}

// tryCLI is cli for a server that may end the connection.
func (p *process) tryCLI(args ...string) (string, error) {
	out, err := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(p.port)}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (p *process) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// weir is a node: a store with the tier attached.
type weir struct {
	t      *testing.T
	store  *cache.Store
	policy *rule.Policy
	close  func()
}

func newWeir(t *testing.T, url string, more ...func(*config.CacheFar)) *weir {
	t.Helper()
	return newWeirWith(t, slog.New(slog.DiscardHandler), url, more...)
}

// timeout is longer than a busy machine keeps a server from answering: only a server that does not answer at all takes it.
const timeout = config.Duration(4 * time.Second)

func newWeirWith(t *testing.T, log *slog.Logger, url string, more ...func(*config.CacheFar)) *weir {
	t.Helper()
	return newWeirOf(t, log, 1<<20, url, more...)
}

// newWeirOf is a node for bodies of up to largest bytes.
func newWeirOf(t *testing.T, log *slog.Logger, largest config.Size, url string, more ...func(*config.CacheFar)) *weir {
	t.Helper()
	c := config.Default().Cache
	c.Size, c.MaxObject = 64<<20, largest
	c.Far.URL = url
	c.Far.Timeout = timeout
	c.Far.Cooldown = config.Duration(100 * time.Millisecond)
	for _, f := range more {
		f(&c.Far)
	}
	store, err := cache.NewStore(&c)
	if err != nil {
		t.Fatal(err)
	}
	tier, err := redis.New(&c.Far, c.MaxObject)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Attach(tier, c.Far.Queue, int(c.Far.Compress), log); err != nil {
		t.Fatal(err)
	}
	closed := sync.OnceFunc(func() { store.Close() })
	t.Cleanup(closed)
	policy, err := rule.NewPolicy(config.DefaultRouteCache())
	if err != nil {
		t.Fatal(err)
	}
	return &weir{t, store, policy, closed}
}

// request is a request now.
func (w *weir) request(method, path, fields string) *cache.Request {
	w.t.Helper()
	h := new(head.Head)
	if err := h.ScanRequest([]byte(method + " " + path + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")); err != nil {
		w.t.Fatal(err)
	}
	return &cache.Request{Request: rule.Request{
		Policy: w.policy, Head: h, Scheme: []byte("http"), Host: []byte("h"), Target: []byte(path), Now: time.Now(),
	}}
}

// get is an exchange; it returns the body and whether the origin was asked,
// which then answers with these fields and body.
func (w *weir) get(path, fields string, request ...string) (body string, asked bool) {
	w.t.Helper()
	q := w.request("GET", path, strings.Join(request, ""))
	found := w.store.Lookup(q)
	if found.Outcome == rule.Miss || found.Outcome == rule.Revalidate {
		f, role := w.store.Join(q, &found, false)
		if role == cache.Lead || role == cache.Alone {
			defer f.Abort(cache.ErrAborted)
			body := fmt.Sprintf("%s at %d %s", path, q.Now.UnixNano(), strings.Repeat("x", 2000))
			if d := f.Respond(q, &rule.Response{Status: 200, Fields: rule.Fields(fields), Length: -1, Requested: q.Now, Received: q.Now}); d.Action == cache.Keep {
				f.Write([]byte(body))
				f.Commit()
			}
			return body, true
		}
	}
	a, ok := w.store.Answer(q, &found)
	if !ok {
		w.t.Fatalf("%v, %v", found.Outcome, found.Reason)
	}
	return string(a.Body), false
}

// post is an exchange that changes something.
func (w *weir) post(path string) {
	w.t.Helper()
	q := w.request("POST", path, "Content-Length: 0\r\n")
	if _, n := w.store.Unsafe(q, &rule.Response{Status: 204, Requested: q.Now, Received: q.Now}); n != 1 {
		w.t.Errorf("POST %s invalidates %d", path, n)
	}
}

func (w *weir) tier() cache.TierStats { return w.store.TierStats()[0] }

// far is the tier that is shared.
func (w *weir) far() cache.TierStats {
	list := w.store.TierStats()
	return list[len(list)-1]
}

// usable waits until entries of the tier are believed.
func (w *weir) usable() {
	w.t.Helper()
	eventually(w.t, "the tier is usable", func() bool {
		before := w.far().Misses
		w.get(fmt.Sprintf("/probe/%d", time.Now().UnixNano()), "Cache-Control: no-store\r\n")
		return w.far().Misses > before
	})
}

func (w *weir) written(n uint64) {
	w.t.Helper()
	eventually(w.t, "what waits is written", func() bool { return w.tier().Written >= n })
}

const cacheable = "Cache-Control: max-age=60\r\n"

// TestShared: what one node fetched answers on the other, variants too, and
// purges of one reach the other.
func TestShared(t *testing.T) {
	p := newProcess(t)
	a, b := newWeir(t, "redis://"+p.addr()+"/1"), newWeir(t, "redis://"+p.addr()+"/1")
	a.usable()
	b.usable()
	body, _ := a.get("/x", cacheable)
	varied, _ := a.get("/v", cacheable+"Vary: Foo\r\n", "Foo: 1\r\n")
	a.written(2)
	if got, asked := b.get("/x", cacheable); asked || got != body {
		t.Errorf("/x: asked %v, %.40q, want %.40q", asked, got, body)
	}
	if got, asked := b.get("/v", cacheable, "Foo: 1\r\n"); asked || got != varied {
		t.Errorf("/v: asked %v, %.40q, want %.40q", asked, got, varied)
	}
	if _, asked := b.get("/v", cacheable+"Vary: Foo\r\n", "Foo: 2\r\n"); !asked {
		t.Error("/v: another variant answered")
	}
	// A third node starts after the purge, and must not see what it ended.
	if n := a.store.Purge(cache.Purge{Prefix: "http://h/"}, time.Now().UnixNano()).Entries; n != 2 {
		t.Errorf("purged %d", n)
	}
	eventually(t, "the purge reaches the other", func() bool { return b.store.Stats().Entries == 0 })
	c := newWeir(t, "redis://"+p.addr()+"/1")
	c.usable()
	for _, w := range []*weir{a, b, c} {
		if _, asked := w.get("/x", "Cache-Control: no-store\r\n"); !asked {
			t.Error("what was purged came back")
		}
	}
	if c.tier().Purged != 1 {
		t.Errorf("%+v", c.tier())
	}
}

// TestDead: a server that is gone, or comes late, costs nothing but misses.
func TestDead(t *testing.T) {
	p := newProcess(t)
	a := newWeir(t, "redis://"+p.addr())
	a.usable()
	a.get("/x", cacheable)
	a.written(1)
	p.stop()
	begin := time.Now()
	for i := range 100 {
		if _, asked := a.get(fmt.Sprintf("/dead/%d", i), cacheable); !asked {
			t.Error("an answer from nowhere")
		}
	}
	if took := time.Since(begin); took > limit/2 {
		t.Errorf("took %v", took)
	}
	if a.tier().Errors == 0 {
		t.Errorf("no errors: %+v", a.tier())
	}
	// A purge meanwhile is announced once the server is back.
	a.store.Purge(cache.Purge{URL: "http://h/x"}, time.Now().UnixNano())
	late := newWeir(t, "redis://"+p.addr())
	p.start()
	late.usable()
	a.usable()
	late.get("/y", cacheable)
	late.written(1)
	if _, asked := a.get("/y", cacheable); asked {
		t.Error("not shared after coming back")
	}
	late.get("/dead/1", cacheable)
	a.store.Purge(cache.Purge{All: true}, time.Now().UnixNano())
	eventually(t, "the purge reaches the other", func() bool { return late.store.Stats().Entries == 0 })
}

// TestDamaged: what is not an entry is a miss.
func TestDamaged(t *testing.T) {
	p := newProcess(t, "--requirepass", "secret")
	a := newWeir(t, "redis://:secret@"+p.addr())
	a.usable()
	body, _ := a.get("/x", cacheable)
	a.written(1)
	cli := exec.Command("redis-cli", "-p", fmt.Sprint(p.port), "-a", "secret", "--no-auth-warning", "setrange", "weir:GET http://h/x", "40", "!")
	if out, err := cli.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := newWeir(t, "redis://:secret@"+p.addr())
	b.usable()
	if got, asked := b.get("/x", cacheable); !asked || got == body {
		t.Error("a damaged entry answered")
	}
	if b.tier().Damaged != 1 {
		t.Errorf("%+v", b.tier())
	}
}

// TestLarger: what a node with a larger max_object has written is a miss, and costs neither the connection nor the
// tier. A user that may not read parts of values reads them wholly.
func TestLarger(t *testing.T) {
	p := newProcess(t)
	connections := func() string {
		_, rest, _ := strings.Cut(p.cli("info", "stats"), "total_connections_received:")
		number, _, _ := strings.Cut(rest, "\r")
		return number
	}
	large := newWeir(t, "redis://"+p.addr())
	large.usable()
	body, _ := large.get("/x", cacheable)
	large.written(1)
	p.cli("setrange", "weir:GET http://h/huge", "300000000", "x")
	for _, wholly := range []bool{false, true} {
		if wholly {
			p.cli("acl", "setuser", "default", "-getrange")
			p.cli("del", "weir:GET http://h/huge") // read wholly it does end the connection
		}
		log := new(logs)
		w := newWeirOf(t, slog.New(slog.NewTextHandler(log, nil)), config.Size(len(body)), "redis://"+p.addr())
		w.usable()
		if got, asked := w.get("/x", "Cache-Control: no-store\r\n"); asked || got != body {
			t.Errorf("wholly %v: a body of just the largest size: asked %v", wholly, asked)
		}
		less := newWeirOf(t, slog.New(slog.NewTextHandler(log, nil)), config.Size(len(body)-1), "redis://"+p.addr())
		less.usable()
		before, errors := connections(), less.tier().Errors
		for _, path := range []string{"/x", "/huge"} {
			for range 5 {
				if _, asked := less.get(path, "Cache-Control: no-store\r\n"); !asked {
					t.Errorf("wholly %v: %s answered", wholly, path)
				}
			}
		}
		after := connections()
		if tier := less.tier(); tier.Errors > errors || tier.Damaged > 0 || !tier.Up || log.count("cache tier fails") > 0 {
			t.Errorf("wholly %v: %+v", wholly, tier)
		}
		// redis-cli itself is one.
		if n, _ := strconv.Atoi(before); strconv.Itoa(n+1) != after {
			t.Errorf("wholly %v: %s connections, then %s", wholly, before, after)
		}
		w.close()
		less.close()
	}
}

// TestURL: what may be configured, and what errors say, which never show a password.
func TestURL(t *testing.T) {
	check := func(url, want string) {
		t.Helper()
		_, err := redis.New(&config.CacheFar{URL: url}, 0)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
	check("redis://127.0.0.1", "")
	check("redis://[::1]", "")
	check("redis://::1", "")
	check("redis://user:secret@a:1,b:2,c", "")
	check("rediss://:secret@a:1/3", "")
	check("redis://:secret%40@a/", "")
	check("a:6379", `found a value without "://": want "redis://host:port/db"`)
	check("redis:", "without")
	check("http://:secret@a", `found scheme "http"`)
	check("redis://:secret@a/x", `found database "x"`)
	check("redis://:secret@a/-1", `found database "-1"`)
	check("redis://:secret@a,b/1", "found database 1 with several hosts: want 0")
	check("redis://", "found an empty host")
	check("redis://a,,b", "found an empty host")
	check("redis://:secret@a:99999", `found port "99999" of host "a"`)
	check("redis://a,b:0", `found port "0" of host "b"`)
	check("redis://a:", `found port "" of host "a"`)
	check("redis://[a", `found host "[a"`)
	check("redis://a?db=1", `found "?db=1" after the hosts`)
	check("redis://:secret%@a", "want %25 for a %")
}
