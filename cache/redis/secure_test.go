package redis_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/redis"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/testkit"
)

// trusts makes a tier trust an authority.
func trusts(file string) func(*config.CacheFar) {
	return func(c *config.CacheFar) { c.CA = file }
}

// TestTLS: entries and purges are shared over TLS, with a password.
func TestTLS(t *testing.T) {
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	p := newProcess(t, "--port", "0", "--tls-port", "PORT", "--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key,
		"--tls-ca-cert-file", authority.File, "--tls-auth-clients", "no", "--requirepass", "secret")
	url := "rediss://:secret@" + p.addr()
	a, b := newWeir(t, url, trusts(authority.File)), newWeir(t, url, trusts(authority.File))
	a.usable()
	b.usable()
	body, _ := a.get("/x", cacheable)
	a.written(1)
	if got, asked := b.get("/x", cacheable); asked || got != body {
		t.Errorf("asked %v, %.40q, want %.40q", asked, got, body)
	}
	b.store.Purge(cache.Purge{URL: "http://h/x"}, time.Now().UnixNano())
	eventually(t, "the purge reaches the other", func() bool { return a.store.Stats().Entries == 0 })
}

// TestTrust: who is trusted. The tier's peer tells how the handshake ended.
func TestTrust(t *testing.T) {
	authority, stranger := testkit.NewAuthority(t), testkit.NewAuthority(t)
	check := func(pair testkit.Pair, ca string, trusted bool) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		newWeir(t, "rediss://"+l.Addr().String(), trusts(ca))
		l.(*net.TCPListener).SetDeadline(time.Now().Add(limit))
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(limit))
		// With TLS 1.3 the server's handshake ends before the client has judged: the
		// first byte tells.
		_, err = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}).Read(make([]byte, 1))
		if (err == nil) != trusted {
			t.Errorf("%v, trusted should be %v", err, trusted)
		}
	}
	good := authority.Issue("127.0.0.1")
	check(good, authority.File, true)
	check(good, stranger.File, false)
	check(good, "", false)
	check(authority.Issue("elsewhere.test"), authority.File, false)

	// Files that are none.
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{empty: "no certificate in it", empty + "x": "no such file"} {
		if _, err := redis.New(&config.CacheFar{URL: "rediss://a", CA: file}, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}

// TestNarrow: the purge of a URL ends what a route's key rules made narrower,
// in the tier too.
func TestNarrow(t *testing.T) {
	p := newProcess(t)
	rules := config.DefaultRouteCache()
	rules.Key.Headers = []string{"Tenant"}
	policy, err := rule.NewPolicy(rules)
	if err != nil {
		t.Fatal(err)
	}
	start := func() *weir {
		w := newWeir(t, "redis://"+p.addr())
		w.policy = policy
		w.usable()
		return w
	}
	a := start()
	a.get("/x", cacheable, "Tenant: one\r\n")
	a.get("/x", cacheable, "Tenant: two\r\n")
	a.get("/xx", cacheable, "Tenant: two\r\n")
	a.written(3)
	if n := a.store.Purge(cache.Purge{URL: "http://h/x"}, time.Now().UnixNano()).Entries; n != 2 {
		t.Errorf("purged %d", n)
	}
	// A node that starts afterwards has but the tier.
	b := start()
	for path, want := range map[string]bool{"/x": true, "/xx": false} {
		if _, asked := b.get(path, cacheable, "Tenant: two\r\n"); asked != want {
			t.Errorf("%s: asked %v, want %v", path, asked, want)
		}
	}
}

// newCluster starts three servers that share the slots.
func newCluster(t *testing.T) []*process {
	t.Helper()
	nodes := make([]*process, 3)
	for i := range nodes {
		nodes[i] = newProcess(t, "--dir", t.TempDir(), "--cluster-enabled", "yes", "--cluster-port", "BUS", "--cluster-node-timeout", "2000")
	}
	const slots = 16384
	for i, p := range nodes {
		p.cli("cluster", "addslotsrange", fmt.Sprint(i*slots/3), fmt.Sprint((i+1)*slots/3-1))
		p.cli("cluster", "set-config-epoch", fmt.Sprint(i+1))
	}
	for _, p := range nodes[1:] {
		nodes[0].cli("cluster", "meet", "127.0.0.1", fmt.Sprint(p.port), fmt.Sprint(p.bus))
	}
	for _, p := range nodes {
		p.joined()
	}
	return nodes
}

// joined waits until p takes the cluster for whole.
func (p *process) joined() {
	p.t.Helper()
	eventually(p.t, "the cluster is whole", func() bool {
		info := p.cli("cluster", "info")
		return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
	})
}

// TestCluster: entries lie on all nodes of a cluster, and purges reach every
// weir, whatever node has the entry; a node that is gone costs misses.
func TestCluster(t *testing.T) {
	nodes := newCluster(t)
	// The third node is found by asking the others.
	url := "redis://" + nodes[0].addr() + "," + nodes[1].addr()
	a, b := newWeir(t, url), newWeir(t, url)
	a.usable()
	b.usable()
	const pages = 30
	share := func(dir string) {
		t.Helper()
		before := a.tier().Written
		for i := range pages {
			a.get(fmt.Sprintf("/%s/%d", dir, i), cacheable+"Cache-Groups: \""+dir+"\"\r\n")
		}
		a.written(before + pages)
		for i := range pages {
			if _, asked := b.get(fmt.Sprintf("/%s/%d", dir, i), cacheable); asked {
				t.Errorf("/%s/%d is not shared", dir, i)
			}
		}
	}
	gone := func(what string) {
		t.Helper()
		eventually(t, what+" reaches the other", func() bool { return b.store.Stats().Entries == 0 })
		for i := range pages {
			if _, asked := b.get(fmt.Sprintf("/%s/%d", what, i), "Cache-Control: no-store\r\n"); !asked {
				t.Errorf("/%s/%d came back", what, i)
			}
		}
	}
	share("prefix")
	for i, p := range nodes {
		if p.cli("dbsize") == "0" {
			t.Errorf("node %d has no entry", i)
		}
	}
	a.store.Purge(cache.Purge{Prefix: "http://h/prefix/"}, time.Now().UnixNano())
	gone("prefix")
	share("group")
	a.store.Purge(cache.Purge{Group: "group"}, time.Now().UnixNano())
	gone("group")
	share("url")
	for i := range pages {
		a.store.Purge(cache.Purge{URL: fmt.Sprintf("http://h/url/%d", i)}, time.Now().UnixNano())
	}
	gone("url")
	// What an unsafe request changes is invalid everywhere.
	share("post")
	for i := range pages {
		a.post(fmt.Sprintf("/post/%d", i))
	}
	gone("post")

	// The node with the announcements is the one that hurts most.
	announcing := nodes[0]
	for _, p := range nodes {
		if p.cli("exists", "weir:marks") == "1" {
			announcing = p
		}
	}
	announcing.stop()
	for i := range pages {
		if _, asked := b.get(fmt.Sprintf("/dead/%d", i), "Cache-Control: no-store\r\n"); !asked {
			t.Error("an answer from nowhere")
		}
	}
	announcing.start()
	for _, p := range nodes {
		p.joined()
	}
	a.usable()
	b.usable()
	share("again")
	a.store.Purge(cache.Purge{All: true}, time.Now().UnixNano())
	gone("again")
}
