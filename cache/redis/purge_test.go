package redis_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/disk"
	"weir/cache/redis"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/testkit"
)

// purges is how many purges each test of them makes; WEIR_SOAK_PURGES changes it.
func purges(t *testing.T) int { return testkit.Soak(t, "WEIR_SOAK_PURGES", 10) }

// link is a way to a server that can be cut, and lead to another one.
type link struct {
	t      *testing.T
	l      net.Listener
	came   atomic.Int32 // connections
	mu     sync.Mutex
	to     string // empty while it is cut
	frozen bool
	up     map[net.Conn]bool
}

func newLink(t *testing.T, p *process) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{t: t, l: l, to: p.addr(), up: make(map[net.Conn]bool)}
	t.Cleanup(func() {
		l.Close()
		k.cut()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			k.came.Add(1)
			go k.pass(c)
		}
	}()
	return k
}

func (k *link) url() string { return "redis://" + k.l.Addr().String() }

// pass moves bytes between a client and the server until either ends.
func (k *link) pass(c net.Conn) {
	defer c.Close()
	k.mu.Lock()
	to := k.to
	k.up[c] = true
	k.mu.Unlock()
	if to == "" {
		return
	}
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		io.Copy(k.melted(c), s)
		c.Close()
	}()
	io.Copy(s, c)
}

// melted is w, which takes nothing as long as k is frozen.
func (k *link) melted(w io.Writer) io.Writer { return frozenWriter{k, w} }

type frozenWriter struct {
	*link
	to io.Writer
}

func (f frozenWriter) Write(p []byte) (int, error) {
	f.mu.Lock()
	frozen := f.frozen
	f.mu.Unlock()
	if frozen {
		return len(p), nil
	}
	return f.to.Write(p)
}

// freeze keeps all answers, until lead.
func (k *link) freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = true
}

// lead ends all connections; new ones go to p, or nowhere if that is nil.
func (k *link) lead(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.to, k.frozen = "", false
	if p != nil {
		k.to = p.addr()
	}
	for c := range k.up {
		c.Close()
	}
	clear(k.up)
}

func (k *link) cut() { k.lead(nil) }

// withFolder is a node that keeps entries and notes on disk as well.
func withFolder(t *testing.T, url, folder string) *weir {
	t.Helper()
	c := config.Default().Cache
	c.Size, c.MaxObject = 64<<20, 1<<20
	c.Persist.Folder, c.Far.URL = folder, url
	c.Far.Timeout = timeout
	store, err := cache.NewStore(&c)
	if err != nil {
		t.Fatal(err)
	}
	local, err := disk.New(&c.Persist)
	if err != nil {
		t.Fatal(err)
	}
	far, err := redis.New(&c.Far, c.MaxObject)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Attach(local, 100, 0, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := store.Attach(far, c.Far.Queue, 0, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	w := &weir{t: t, store: store}
	if w.policy, err = rule.NewPolicy(config.DefaultRouteCache()); err != nil {
		t.Fatal(err)
	}
	w.close = sync.OnceFunc(func() { store.Close() })
	t.Cleanup(w.close)
	return w
}

func page(i int) string { return fmt.Sprintf("/page/%d", i) }

// fill makes nodes have the same n pages, in memory and in Redis.
func fill(t *testing.T, n int, nodes ...*weir) {
	t.Helper()
	for _, w := range nodes {
		w.usable()
	}
	for i := range n {
		// Again if a new epoch began meanwhile: what came in before that is not written.
		eventually(t, page(i)+" is in Redis", func() bool {
			before := nodes[0].far().Written
			nodes[0].get(page(i), cacheable, "Cache-Control: no-cache\r\n")
			for end := time.Now().Add(time.Second); nodes[0].far().Written == before && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			return nodes[0].far().Written > before
		})
		for _, w := range nodes[1:] {
			w.get(page(i), cacheable)
		}
	}
}

// onDisk waits until the disk of w has n pages. It asks for them again if that takes long: some may not have been written, as in fill.
func onDisk(t *testing.T, w *weir, n int) {
	t.Helper()
	has := func() bool { return w.store.TierStats()[0].Written >= uint64(n) }
	eventually(t, "the disk has it", func() bool {
		for end := time.Now().Add(time.Second); !has() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		for i := 0; i < n && !has(); i++ {
			w.get(page(i), cacheable, "Cache-Control: no-cache\r\n")
		}
		return has()
	})
}

// purgeAll purges n pages at once; each must be pending where want says.
func purgeAll(t *testing.T, w *weir, n int, want string) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			done := w.store.Purge(cache.Purge{URL: "http://h" + page(i)}, time.Now().UnixNano())
			if got := strings.Join(done.Pending, " "); got != want {
				t.Errorf("%s: pending %q, want %q", page(i), got, want)
			}
		})
	}
	all.Wait()
}

// stay counts the pages that do not come back on a node.
func stay(w *weir, n int) (purged int) {
	for i := range n {
		if _, asked := w.get(page(i), "Cache-Control: no-store\r\n"); asked {
			purged++
		}
	}
	return purged
}

// check says that what was purged has ended on nodes that have heard everything, and reports
// the figures.
func check(t *testing.T, n int, nodes map[string]*weir) {
	t.Helper()
	for name, w := range nodes {
		w.usable()
		if got := stay(w, n); got != n {
			t.Errorf("%s: %d of %d stay purged", name, got, n)
		} else {
			t.Logf("%s: %d of %d stay purged", name, got, n)
		}
	}
}

// TestPurgeFull: a server that has used up its memory takes purges all the same.
func TestPurgeFull(t *testing.T) {
	t.Parallel()
	n := purges(t)
	p := newProcess(t, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
	a, b := newWeir(t, "redis://"+p.addr()), newWeir(t, "redis://"+p.addr())
	fill(t, n, a, b)
	p.cli("config", "set", "maxmemory", "1000000")
	if out := p.cli("set", "more", "x"); !strings.HasPrefix(out, "OOM") {
		t.Fatalf("the server is not full: %s", out)
	}
	purgeAll(t, a, n, "")
	if out := p.cli("exists", "weir:GET http://h"+page(0)); out != "0" {
		t.Errorf("the purged value is still there: %s", out)
	}
	eventually(t, "the other node has heard of it", func() bool { return b.store.Stats().Entries == 0 })
	check(t, n, map[string]*weir{"the node that purged": a, "the other": b, "a new one": newWeir(t, "redis://"+p.addr())})
}

// TestPurgeStopped: while the server is away a purge is pending, and is told after a restart
// of weir, when the server comes back with what it had.
func TestPurgeStopped(t *testing.T) {
	t.Parallel()
	n, folder := purges(t), t.TempDir()
	p := newProcess(t, "--dir", t.TempDir())
	a, b := withFolder(t, "redis://"+p.addr(), folder), newWeir(t, "redis://"+p.addr())
	fill(t, n, a, b)
	p.cli("save")
	p.stop()
	purgeAll(t, a, n, "redis")
	a.close()
	a = withFolder(t, "redis://"+p.addr(), folder)
	if got := stay(a, n); got != n {
		t.Errorf("restarted without the server: %d of %d stay purged", got, n)
	}
	p.start()
	eventually(t, "the other node has heard of it", func() bool { return b.store.Stats().Entries == 0 })
	check(t, n, map[string]*weir{"the node that purged": a, "the other": b, "a new one": newWeir(t, "redis://"+p.addr())})
}

// TestPurgeEmpty: a node that was cut off when another purged, and finds a server without
// data when it is back, validates what it has.
func TestPurgeEmpty(t *testing.T) {
	t.Parallel()
	n, folder := purges(t), t.TempDir()
	p := newProcess(t)
	k := newLink(t, p)
	a, b, c := newWeir(t, "redis://"+p.addr()), newWeir(t, k.url()), withFolder(t, k.url(), folder)
	fill(t, n, a, b, c)
	onDisk(t, c, n)
	eventually(t, "progress is noted", func() bool {
		_, err := os.Stat(folder + "/redis.progress.note")
		return err == nil
	})
	k.cut()
	c.close()
	purgeAll(t, a, n, "")
	a.close()
	p.stop()
	p.start()
	k.lead(p)
	// Another node has begun the stream anew meanwhile.
	newWeir(t, "redis://"+p.addr()).usable()
	check(t, n, map[string]*weir{"the node that was cut off": b, "the node that was down": withFolder(t, k.url(), folder)})
}

// TestPurgeFailover: a replica becomes the primary without the last writes. What only the old
// primary had was pending.
func TestPurgeFailover(t *testing.T) {
	t.Parallel()
	n := purges(t)
	p, r := newProcess(t), newProcess(t)
	k := newLink(t, p)
	p.replicate(r)
	a, b := newWeir(t, k.url()), newWeir(t, k.url())
	fill(t, 2*n, a, b)
	// The first half reaches the replica, the second half does not.
	purgeAll(t, a, n, "")
	r.cmd.Process.Signal(syscall.SIGSTOP)
	var all sync.WaitGroup
	for i := n; i < 2*n; i++ {
		all.Go(func() {
			if done := a.store.Purge(cache.Purge{URL: "http://h" + page(i)}, time.Now().UnixNano()); len(done.Pending) != 1 {
				t.Errorf("%s: pending %q although no replica has it", page(i), done.Pending)
			}
		})
	}
	all.Wait()
	k.cut()
	p.stop()
	r.cmd.Process.Signal(syscall.SIGCONT)
	r.cli("replicaof", "no", "one")
	k.lead(r)
	a.usable()
	b.usable()
	eventually(t, "all is announced", func() bool { return a.far().Unannounced == 0 })
	check(t, 2*n, map[string]*weir{"the node that purged": a, "the other": b, "a new one": newWeir(t, k.url())})
}

// TestPurgeStreamGone: the stream of purges was evicted or deleted, and what was purged is
// still there.
func TestPurgeStreamGone(t *testing.T) {
	t.Parallel()
	n := purges(t)
	p := newProcess(t)
	k := newLink(t, p)
	a, b := newWeir(t, "redis://"+p.addr()), newWeir(t, k.url())
	fill(t, n, a, b)
	k.cut()
	// Softly, so that the values stay in Redis.
	for i := range n {
		a.store.Purge(cache.Purge{URL: "http://h" + page(i), Soft: true}, time.Now().UnixNano())
	}
	a.close()
	p.cli("del", "weir:marks")
	k.lead(p)
	check(t, n, map[string]*weir{"the node that was cut off": b, "a new one": newWeir(t, "redis://"+p.addr())})
}

// TestPurgeOnDisk: what another node purges ends on the disk of a node that is down meanwhile,
// and of one that has heard of it and finds no server after a restart.
func TestPurgeOnDisk(t *testing.T) {
	t.Parallel()
	n, downFolder, upFolder := purges(t), t.TempDir(), t.TempDir()
	p := newProcess(t)
	a, down, up := newWeir(t, "redis://"+p.addr()), withFolder(t, "redis://"+p.addr(), downFolder), withFolder(t, "redis://"+p.addr(), upFolder)
	fill(t, n, a, down, up)
	up.get("/kept", cacheable)
	for _, w := range []*weir{down, up} {
		onDisk(t, w, n)
	}
	down.close()
	purgeAll(t, a, n, "")
	eventually(t, "the other node has heard of it", func() bool {
		list := up.store.TierStats()
		return up.store.Stats().Entries == 1 && list[0].Unannounced == 0
	})
	up.close()
	check(t, n, map[string]*weir{"the node that was down": withFolder(t, "redis://"+p.addr(), downFolder)})
	p.stop()
	up = withFolder(t, "redis://"+p.addr(), upFolder)
	// It uses what is on its disk after a while without the server.
	eventually(t, "it uses its disk", func() bool { _, asked := up.get("/kept", "Cache-Control: no-store\r\n"); return !asked })
	if got := stay(up, n); got != n {
		t.Errorf("restarted without the server: %d of %d stay purged", got, n)
	}
}

// TestPurgePartition: who is cut off hears of purges when it is back; a purge of its own is
// pending until then.
func TestPurgePartition(t *testing.T) {
	t.Parallel()
	n := purges(t)
	p := newProcess(t)
	k := newLink(t, p)
	a, b := newWeir(t, "redis://"+p.addr()), newWeir(t, k.url())
	fill(t, 2*n, a, b)
	k.cut()
	eventually(t, "the node notices", func() bool { return !b.far().Up })
	purgeAll(t, a, n, "")
	for i := n; i < 2*n; i++ {
		if done := b.store.Purge(cache.Purge{URL: "http://h" + page(i)}, time.Now().UnixNano()); len(done.Pending) != 1 {
			t.Errorf("%s: pending %q", page(i), done.Pending)
		}
	}
	k.lead(p)
	for _, w := range []*weir{a, b} {
		eventually(t, "both have heard of it", func() bool { return w.store.Stats().Entries == 0 })
	}
	check(t, 2*n, map[string]*weir{"one side": a, "the other": b, "a new one": newWeir(t, "redis://"+p.addr())})
}
