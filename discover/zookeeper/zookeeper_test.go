package zookeeper_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/discover/sourcetest"
	"weir/discover/zookeeper"
	"weir/discover/zookeeper/zookeepertest"
	"weir/internal/testkit"
	"weir/lb"
)

// begin starts a server; the caller ends it.
func begin(t *testing.T) *zookeepertest.Server {
	t.Helper()
	testkit.Program(t, zookeepertest.Program)
	s, err := zookeepertest.Start()
	testkit.Must(t, err)
	return s
}

var shared testkit.Shared[*zookeepertest.Server]

func TestMain(m *testing.M) { shared.Main(m) }

// server returns the server that tests share; each uses nodes of its own.
func server(t *testing.T) *zookeepertest.Server {
	t.Helper()
	return shared.Get(t, begin)
}

func source(t *testing.T, text string) *sourcetest.Run {
	t.Helper()
	return sourcetest.Source(t, zookeeper.Scheme(), text)
}

func TestSource(t *testing.T) {
	t.Parallel()
	s := server(t)
	r := source(t, "zookeeper://"+s.Addr+"/a/shop")
	r.Sees("[]") // the node is not there
	testkit.Must(t, s.Put("/a/shop/one", "http://one"))
	r.Sees("[{http://one 1 0 false 0}]")
	testkit.Must(t, s.Put("/a/shop/two", `{"url":"http://two","weight":5,"priority":1,"drain":true}`))
	r.Sees("[{http://one 1 0 false 0} {http://two 5 1 true 0}]")
	testkit.Must(t, s.Put("/a/shop/three", "nonsense"))
	testkit.Must(t, s.Put("/a/shop/one", `{"url":"http://one","weight":3}`))
	r.Sees("[{http://one 3 0 false 0} {http://two 5 1 true 0}]")
	testkit.Must(t, s.Conn.Delete("/a/shop/two", -1))
	r.Sees("[{http://one 3 0 false 0}]")
	// A node that ends with its session.
	c, _, err := zk.Connect([]string{s.Addr}, 10*time.Second, zk.WithLogInfo(false))
	testkit.Must(t, err)
	_, err = c.Create("/a/shop/four", []byte("http://four"), zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	testkit.Must(t, err)
	r.Sees("[{http://four 1 0 false 0} {http://one 3 0 false 0}]")
	c.Close()
	r.Sees("[{http://one 3 0 false 0}]")
	for _, name := range []string{"/one", "/three", ""} {
		testkit.Must(t, s.Conn.Delete("/a/shop"+name, -1))
	}
	r.Sees("[]")
	testkit.Must(t, s.Put("/a/shop/one", "http://one"))
	r.Sees("[{http://one 1 0 false 0}]")
}

// All nodes are nonsense, or there is no server: that is an error, and no empty answer.
func TestFails(t *testing.T) {
	t.Parallel()
	s := server(t)
	testkit.Must(t, s.Put("/b/one", "nonsense"))
	if err := <-source(t, "zookeeper://"+s.Addr+"/b").Ended; err == nil || !strings.Contains(err.Error(), "none of the endpoints") {
		t.Errorf("nonsense: got %v", err)
	}
	if err := <-source(t, "zookeeper://"+testkit.Reserve(t)+"/b").Ended; err == nil {
		t.Error("no server: no error")
	}
	web, err := discovertest.StartRelay(testkit.Reserve(t))
	testkit.Must(t, err)
	t.Cleanup(web.Close)
	web.Break(true)
	if err := <-source(t, "zookeeper://"+web.Addr+"/b").Ended; err == nil {
		t.Error("a server of something else: no error")
	}
	testkit.Must(t, s.Put("/c/one", "http://one"))
	source(t, "zookeeper://"+testkit.Reserve(t)+","+s.Addr+"/c").Sees("[{http://one 1 0 false 0}]")
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	s := server(t)
	testkit.Must(t, s.Put("/f/weir", "one = 1"))
	testkit.Must(t, s.Put("/f/weir/b", "two = 2"))
	testkit.Must(t, s.Put("/f/weird", "odd = 1"))
	d := sourcetest.Open(t, zookeeper.Scheme().Documents, "zookeeper://"+s.Addr+"/f/weir")
	var version int64
	r := sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
		return d.Run(ctx, func(v int64, list []discover.Document) {
			if v < version || v == 0 {
				t.Errorf("version %d after %d", v, version)
			}
			version = v
			r.Report(fmt.Sprintf("%s", list))
		})
	})
	r.Sees("[{zookeeper:/f/weir one = 1} {zookeeper:/f/weir/b two = 2}]")
	testkit.Must(t, s.Conn.Delete("/f/weir/b", -1))
	testkit.Must(t, s.Put("/f/weir/a", "three = 3"))
	testkit.Must(t, s.Put("/f/weir", "one = 2"))
	r.Sees("[{zookeeper:/f/weir one = 2} {zookeeper:/f/weir/a three = 3}]")
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	s := server(t)
	seen := source(t, "zookeeper://"+s.Addr+"/g/shop/v1")
	e := discover.Entry{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: "http://10.0.0.1:8080", Weight: 1}}
	const path = "/g/shop/v1/http:%2F%2F10.0.0.1:8080"
	r := sourcetest.Open(t, zookeeper.Scheme().Registrar, "zookeeper://"+s.Addr+"/g")
	put := func() {
		t.Helper()
		testkit.Must(t, r.Put(t.Context(), e, 10*time.Second))
	}
	put()
	seen.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	e.Weight, e.Drain = 5, true
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	// What was lost, or is another session's, is mended.
	testkit.Must(t, s.Conn.Delete(path, -1))
	seen.Sees("[]")
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	testkit.Must(t, s.Conn.Delete(path, -1))
	testkit.Must(t, s.Put(path, "http://10.0.0.1:8080"))
	seen.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	testkit.Must(t, r.Withdraw(t.Context(), e))
	seen.Sees("[]")
	testkit.Must(t, r.Withdraw(t.Context(), e))
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	testkit.Must(t, r.Close())
	seen.Sees("[]")
	// The context bounds the wait for a server.
	r = sourcetest.Open(t, zookeeper.Scheme().Registrar, "zookeeper://"+testkit.Reserve(t)+"/g")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Put(ctx, e, time.Second); err == nil {
		t.Error("no server: no error")
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"zookeeper://a/b": "", "zookeeper://a:1,b:2/c/d/?session=5s": "", "zookeeper:/a": "without a host", "zookeeper://a": "without a host or a path",
		"zookeeper://a//b": "without a host or a path", "zookeeper://u:p@a/b": "with a user", "zookeeper://a/b?user=x": "belong together",
		"zookeeper://a/b?session=1ms": "1s to 1m0s", "zookeeper://a/b?x=1": "one of the options",
	} {
		u, err := url.Parse(text)
		if err == nil {
			_, err = zookeeper.Scheme().Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	s := begin(t)
	t.Cleanup(s.Close)
	if err := discovertest.Follow(s.Place(zookeeper.Scheme()), nil); err != nil {
		t.Error(err)
	}
}

// A catalog has the tree of names and versions.
func TestCatalog(t *testing.T) {
	t.Parallel()
	s := server(t)
	r := sourcetest.Catalog(t, zookeeper.Scheme(), "zookeeper://"+s.Addr+"/h/all")
	r.Sees("") // there is no such node yet
	for _, path := range []string{"/h", "/h/all", "/h/all/shop", "/h/all/shop/v1", "/h/all/shop/-", "/h/all/cart", "/h/all/cart/v2"} {
		testkit.Must(t, s.Put(path, ""))
	}
	testkit.Must(t, s.Put("/h/all/shop/v1/one", "http://one"))
	testkit.Must(t, s.Put("/h/all/shop/-/two", "http://two"))
	r.Sees("shop http://two, shop/v1 http://one")
	testkit.Must(t, s.Put("/h/all/cart/v2/three", "http://three"))
	testkit.Must(t, s.Put("/h/all/cart/v2/odd", "nonsense"))
	testkit.Must(t, s.Put("/h/all/shop/v1/one", "http://another"))
	r.Sees("cart/v2 http://three, cart/v2 wrong, shop http://two, shop/v1 http://another")
	testkit.Must(t, s.Conn.Delete("/h/all/shop/v1/one", -1))
	testkit.Must(t, s.Conn.Delete("/h/all/shop/v1", -1))
	r.Sees("cart/v2 http://three, cart/v2 wrong, shop http://two")
	testkit.Must(t, s.Put("/h/all/shop/v1", ""))
	testkit.Must(t, s.Put("/h/all/shop/v1/one", "http://again"))
	r.Sees("cart/v2 http://three, cart/v2 wrong, shop http://two, shop/v1 http://again")

	// What a registrar writes is in it.
	registrar := sourcetest.Open(t, zookeeper.Scheme().Registrar, "zookeeper://"+s.Addr+"/h/all")
	testkit.Must(t, registrar.Put(t.Context(), discover.Entry{Name: "till", Endpoint: lb.Endpoint{URL: "http://10.0.0.1:80", Weight: 1}}, 10*time.Second))
	r.Sees("cart/v2 http://three, cart/v2 wrong, shop http://two, shop/v1 http://again, till http://10.0.0.1")
	testkit.Must(t, registrar.Close())
	r.Sees("cart/v2 http://three, cart/v2 wrong, shop http://two, shop/v1 http://again")
}

// While the network passes nothing on, nothing is lost.
func TestHeld(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	s := begin(t)
	t.Cleanup(s.Close)
	place := s.Place(zookeeper.Scheme())
	place.URL = func(string) string { return "zookeeper://" + s.Addr + "/services/shop/v1?session=2s" }
	if err := discovertest.Held(place, s.Hold, nil); err != nil {
		t.Error(err)
	}
}

// A node that may not be read is a failure, which names it.
func TestDenied(t *testing.T) {
	t.Parallel()
	s := server(t)
	testkit.Must(t, s.Put("/i/one", "http://one"))
	_, err := s.Conn.Create("/i/two", []byte("http://two"), 0, zk.DigestACL(zk.PermAll, "user", "secret"))
	testkit.Must(t, err)
	if err := <-source(t, "zookeeper://"+s.Addr+"/i").Ended; err == nil || !strings.Contains(err.Error(), `cannot read node "/i/two": zk: not authenticated`) {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(t.TempDir(), "password")
	testkit.Must(t, os.WriteFile(file, []byte("secret"), 0o600))
	source(t, "zookeeper://"+s.Addr+"/i?user=user&password_file="+url.QueryEscape(file)).Sees("[{http://one 1 0 false 0} {http://two 1 0 false 0}]")
}

// What is registered is there again after whatever happens to the registry.
func TestRegisteredAgain(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	s := begin(t)
	t.Cleanup(s.Close)
	present := func() bool {
		list, _, err := s.Conn.Children("/r/shop/v1")
		return err == nil && len(list) == 1
	}
	registrar := sourcetest.Open(t, zookeeper.Scheme().Registrar, "zookeeper://"+s.Addr+"/r")
	registry := discovertest.Registry{Hold: s.Hold, Cut: s.Cut, Stop: s.Process.Stop, Start: s.Process.Start}
	if err := discovertest.Registered(registrar, registry, present); err != nil {
		t.Error(err)
	}
}
