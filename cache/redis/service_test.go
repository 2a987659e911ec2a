package redis_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/redis"
	"weir/config"
	"weir/internal/testkit"
)

// logs is a log that a test reads.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// logged is a node that logs.
func logged(t *testing.T, url string) (*weir, *logs) {
	t.Helper()
	l := new(logs)
	return newWeirWith(t, slog.New(slog.NewTextHandler(l, nil)), url), l
}

// silent is a server that takes connections and never says anything. It counts them.
func silent(t *testing.T) (address string, came *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came = new(atomic.Int32)
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
		}
	}()
	return l.Addr().String(), came
}

// TestSilent: no look-up waits for a connection to a server that does not answer, and none
// makes one.
func TestSilent(t *testing.T) {
	t.Parallel()
	address, came := silent(t)
	a, l := logged(t, "redis://"+address)
	eventually(t, "the tier connects", func() bool { return came.Load() > 0 })
	begin := time.Now()
	const n = 300
	for i := range n {
		if _, asked := a.get(page(i), cacheable); !asked {
			t.Error("an answer from nowhere")
		}
	}
	// Each look-up that dials would take two seconds by itself.
	if took := time.Since(begin); took > limit/2 {
		t.Errorf("%d look-ups took %v", n, took)
	}
	if c := came.Load(); c > 3 {
		t.Errorf("%d connections", c)
	}
	eventually(t, "the reason is logged", func() bool { return l.count("cache tier fails") > 0 })
	if a.tier().Up {
		t.Error("the tier is up")
	}
}

// TestHangs: a server that stops answering costs some look-ups their time-out, and none more.
func TestHangs(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	k := newLink(t, p)
	a := newWeir(t, k.url(), func(c *config.CacheFar) { c.Timeout = config.Duration(time.Second) })
	a.usable()
	k.freeze()
	begin := time.Now()
	for i := range 20 {
		if _, asked := a.get(page(i), "Cache-Control: no-store\r\n"); !asked {
			t.Error("an answer from nowhere")
		}
	}
	// The time-out is a second; then the circuit opens for 0.1 s at a time.
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	eventually(t, "the tier is down", func() bool { return !a.tier().Up })
	k.lead(p)
	a.usable()
	eventually(t, "the tier is up", func() bool { return a.tier().Up })
}

// TestReasons: the log says once why a tier fails, and that it works again when it does.
func TestReasons(t *testing.T) {
	t.Parallel()
	check := func(name, want string, p *process, url func(k *link) string) *logs {
		t.Helper()
		k := newLink(t, p)
		_, l := logged(t, url(k))
		eventually(t, name+": the reason is logged", func() bool { return l.count(want) > 0 })
		came := k.came.Load()
		eventually(t, name+": it was tried again", func() bool { return k.came.Load() > came+2 })
		if fails, works := l.count("cache tier fails"), l.count("works again"); fails != 1 || works != 0 {
			t.Errorf("%s: %d times fails, %d times works again:\n%s", name, fails, works, l.text.String())
		}
		return l
	}
	p := newProcess(t, "--requirepass", "secret")
	check("wrong password", "WRONGPASS", p, func(k *link) string { return strings.Replace(k.url(), "://", "://:wrong@", 1) })
	check("no password", "NOAUTH", p, func(k *link) string { return k.url() })

	// Nothing listens there, and later something does.
	p = newProcess(t)
	p.stop()
	a, l := logged(t, "redis://"+p.addr())
	eventually(t, "the reason is logged", func() bool { return l.count("connection refused") == 1 })
	p.start()
	a.usable()
	eventually(t, "the end is logged", func() bool { return l.count("works again") == 1 })

	// A value of another program is where the stream should be.
	q := newProcess(t)
	q.cli("set", "weir:marks", "x")
	b, l := logged(t, "redis://"+q.addr())
	eventually(t, "the reason is logged", func() bool { return l.count("WRONGTYPE") == 1 })
	if done := b.store.Purge(cache.Purge{All: true}, time.Now().UnixNano()); len(done.Pending) != 1 {
		t.Errorf("pending: %q", done.Pending)
	}
	q.cli("del", "weir:marks")
	eventually(t, "the purge is announced", func() bool { return b.tier().Unannounced == 0 })
	eventually(t, "the end is logged", func() bool { return l.count("works again") > 0 })
}

// TestClientCertificate: a server that wants a certificate of weir's own gets it.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair, own := authority.Issue("127.0.0.1"), authority.Issue("weir")
	p := newProcess(t, "--port", "0", "--tls-port", "PORT", "--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key,
		"--tls-ca-cert-file", authority.File, "--tls-auth-clients", "yes")
	certified := func(c *config.CacheFar) { c.CA, c.Cert, c.Key = authority.File, own.Cert, own.Key }
	a, b := newWeir(t, "rediss://"+p.addr(), certified), newWeir(t, "rediss://"+p.addr(), certified)
	fill(t, 3, a, b)
	purgeAll(t, a, 3, "")
	eventually(t, "the purge reaches the other", func() bool { return b.store.Stats().Entries == 0 })

	for name, c := range map[string]config.CacheFar{
		"no such file": {URL: "rediss://h", Cert: own.Cert, Key: own.Key + "x"},
		"not its key":  {URL: "rediss://h", Cert: own.Cert, Key: pair.Key},
		"no authority": {URL: "rediss://h", CA: own.Key},
	} {
		if _, err := redis.New(&c, 0); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestSentinel: weir finds the primary by a sentinel and follows a failover; purges before and
// after it last.
func TestSentinel(t *testing.T) {
	t.Parallel()
	p, r := newProcess(t), newProcess(t)
	p.replicate(r)
	s := newSentinel(t, p)
	eventually(t, "the replica is known", func() bool { return strings.Contains(s.cli("sentinel", "replicas", "main"), fmt.Sprint(r.port)) })
	named := func(c *config.CacheFar) { c.Sentinel = "main" }
	a, b := newWeir(t, "redis://"+s.addr(), named), newWeir(t, "redis://"+s.addr(), named)
	const n = 5
	fill(t, n, a, b)
	purgeAll(t, a, n, "")
	p.stop()
	eventually(t, "the replica is the primary", func() bool {
		out, err := r.tryCLI("role") // the sentinel ends its clients
		return err == nil && strings.Contains(out, "master")
	})
	check(t, n, map[string]*weir{"the node that purged": a, "the other": b, "a new one": newWeir(t, "redis://"+s.addr(), named)})
	fill(t, n, b, a)
	purgeAll(t, b, n, "")
	eventually(t, "the purge reaches the other", func() bool { return a.store.Stats().Entries == 0 })
}

// TestNonsense: a server whose replies announce what cannot be, or is no Redis, costs misses.
func TestNonsense(t *testing.T) {
	t.Parallel()
	for _, said := range []string{
		"$-5\r\n", "$9223372036854775807\r\n", "*-7\r\n", "*2147483647\r\n", "%4611686018427387904\r\n",
		strings.Repeat("*1\r\n", 1<<20), strings.Repeat("+OK\r\n", 50), ">2\r\n+subscribe\r\n+x\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		server := testkit.Listen(t, func(c *testkit.Conn) {
			buf := make([]byte, 4096)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				if _, err := io.WriteString(c, said); err != nil {
					return
				}
			}
		})
		a, lines := logged(t, "redis://"+strings.TrimPrefix(server.URL, "http://"))
		eventually(t, "the reason is logged", func() bool { return lines.count("cache tier fails") > 0 })
		if _, asked := a.get("/x", cacheable); !asked || a.tier().Up {
			t.Errorf("%.30q: asked %v, up %v", said, asked, a.tier().Up)
		}
	}
}

// TestUpAgain: what a server failed for is over once another one is in its place, though nothing is written.
func TestUpAgain(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	a, l := logged(t, "redis://"+p.addr())
	a.usable()
	p.cli("config", "set", "maxmemory", "1")
	a.get("/x", cacheable)
	eventually(t, "the tier is down", func() bool { return !a.tier().Up })
	p.stop()
	eventually(t, "it is known that the server is gone", func() bool { return l.count("cache tier fails") > 1 })
	p.start()
	eventually(t, "the tier is up", func() bool { return a.tier().Up })
}
