package zookeeper_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/discover/zookeeper"
	"weir/discover/zookeeper/zookeepertest"
	"weir/internal/testkit"
	"weir/lb"
)

// begin starts a server that somebody else ends.
func begin(t *testing.T) *zookeepertest.Server {
	t.Helper()
	if _, err := os.Stat(zookeepertest.Program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s, err := zookeepertest.Start()
	must(t, err)
	return s
}

var shared struct {
	sync.Mutex
	*zookeepertest.Server
}

// TestMain ends the server that tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if shared.Server != nil {
		shared.Close()
	}
	os.Exit(code)
}

// server returns the server that tests share; each uses nodes of its own.
func server(t *testing.T) *zookeepertest.Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.Server == nil {
		shared.Server = begin(t)
	}
	return shared.Server
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open returns what f does with a URL.
func open[S any](t *testing.T, f func(*url.URL, discover.SchemeOptions) (S, error), text string) S {
	t.Helper()
	u, err := url.Parse(text)
	must(t, err)
	s, err := f(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return s
}

// run is something that runs and reports.
type run struct {
	*testing.T
	ended chan error

	mu      sync.Mutex
	last    string
	reports int
}

// follow runs f until it fails or the test ends.
func follow(t *testing.T, f func(context.Context, *run) error) *run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{T: t, ended: make(chan error, 1)}
	over := make(chan struct{})
	t.Cleanup(func() { cancel(); <-over })
	go func() {
		defer close(over)
		r.ended <- f(ctx, r)
	}()
	return r
}

func (r *run) report(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = text
	r.reports++
}

// sees waits until this was reported last.
func (r *run) sees(want string) {
	r.Helper()
	testkit.Eventually(r, want+" is reported", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.reports > 0 && r.last == want
	})
}

func source(t *testing.T, text string) *run {
	t.Helper()
	from := open(t, zookeeper.Scheme().Source, text)
	return follow(t, func(ctx context.Context, r *run) error {
		return from.Run(ctx, func(list []lb.Endpoint) { r.report(fmt.Sprint(list)) })
	})
}

func TestSource(t *testing.T) {
	t.Parallel()
	s := server(t)
	r := source(t, "zookeeper://"+s.Addr+"/a/shop")
	r.sees("[]") // the node is not there
	must(t, s.Put("/a/shop/one", "http://one"))
	r.sees("[{http://one 1 0 false}]")
	must(t, s.Put("/a/shop/two", `{"url":"http://two","weight":5,"priority":1,"drain":true}`))
	r.sees("[{http://one 1 0 false} {http://two 5 1 true}]")
	must(t, s.Put("/a/shop/three", "nonsense"))
	must(t, s.Put("/a/shop/one", `{"url":"http://one","weight":3}`))
	r.sees("[{http://one 3 0 false} {http://two 5 1 true}]")
	must(t, s.Conn.Delete("/a/shop/two", -1))
	r.sees("[{http://one 3 0 false}]")
	// A node that ends with its session.
	c, _, err := zk.Connect([]string{s.Addr}, 10*time.Second, zk.WithLogInfo(false))
	must(t, err)
	_, err = c.Create("/a/shop/four", []byte("http://four"), zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	must(t, err)
	r.sees("[{http://four 1 0 false} {http://one 3 0 false}]")
	c.Close()
	r.sees("[{http://one 3 0 false}]")
	for _, name := range []string{"/one", "/three", ""} {
		must(t, s.Conn.Delete("/a/shop"+name, -1))
	}
	r.sees("[]")
	must(t, s.Put("/a/shop/one", "http://one"))
	r.sees("[{http://one 1 0 false}]")
}

// All nodes are nonsense, or there is no server: that is an error, and no empty answer.
func TestFails(t *testing.T) {
	t.Parallel()
	s := server(t)
	must(t, s.Put("/b/one", "nonsense"))
	if err := <-source(t, "zookeeper://"+s.Addr+"/b").ended; err == nil || !strings.Contains(err.Error(), "none of the endpoints") {
		t.Errorf("nonsense: got %v", err)
	}
	if err := <-source(t, "zookeeper://"+testkit.Reserve(t)+"/b").ended; err == nil {
		t.Error("no server: no error")
	}
	web, err := discovertest.StartRelay(testkit.Reserve(t))
	must(t, err)
	t.Cleanup(web.Close)
	web.Break(true)
	if err := <-source(t, "zookeeper://"+web.Addr+"/b").ended; err == nil {
		t.Error("a server of something else: no error")
	}
	must(t, s.Put("/c/one", "http://one"))
	source(t, "zookeeper://"+testkit.Reserve(t)+","+s.Addr+"/c").sees("[{http://one 1 0 false}]")
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	s := server(t)
	must(t, s.Put("/f/weir", "one = 1"))
	must(t, s.Put("/f/weir/b", "two = 2"))
	must(t, s.Put("/f/weird", "odd = 1"))
	d := open(t, zookeeper.Scheme().Documents, "zookeeper://"+s.Addr+"/f/weir")
	var version int64
	r := follow(t, func(ctx context.Context, r *run) error {
		return d.Run(ctx, func(v int64, list []discover.Document) {
			if v < version || v == 0 {
				t.Errorf("version %d after %d", v, version)
			}
			version = v
			r.report(fmt.Sprintf("%s", list))
		})
	})
	r.sees("[{zookeeper:/f/weir one = 1} {zookeeper:/f/weir/b two = 2}]")
	must(t, s.Conn.Delete("/f/weir/b", -1))
	must(t, s.Put("/f/weir/a", "three = 3"))
	must(t, s.Put("/f/weir", "one = 2"))
	r.sees("[{zookeeper:/f/weir one = 2} {zookeeper:/f/weir/a three = 3}]")
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	s := server(t)
	seen := source(t, "zookeeper://"+s.Addr+"/g/shop/v1")
	e := discover.Entry{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: "http://10.0.0.1:80", Weight: 1}}
	const path = "/g/shop/v1/http:%2F%2F10.0.0.1:80"
	r := open(t, zookeeper.Scheme().Registrar, "zookeeper://"+s.Addr+"/g")
	put := func() {
		t.Helper()
		must(t, r.Put(t.Context(), e, 10*time.Second))
	}
	put()
	seen.sees("[{http://10.0.0.1:80 1 0 false}]")
	e.Weight, e.Drain = 5, true
	put()
	seen.sees("[{http://10.0.0.1:80 5 0 true}]")
	// What was lost, or is somebody else's, is mended.
	must(t, s.Conn.Delete(path, -1))
	seen.sees("[]")
	put()
	seen.sees("[{http://10.0.0.1:80 5 0 true}]")
	must(t, s.Conn.Delete(path, -1))
	must(t, s.Put(path, "http://10.0.0.1:80"))
	seen.sees("[{http://10.0.0.1:80 1 0 false}]")
	put()
	seen.sees("[{http://10.0.0.1:80 5 0 true}]")
	must(t, r.Withdraw(t.Context(), e))
	seen.sees("[]")
	must(t, r.Withdraw(t.Context(), e))
	put()
	seen.sees("[{http://10.0.0.1:80 5 0 true}]")
	must(t, r.Close())
	seen.sees("[]")
	// The context bounds the wait for a server.
	r = open(t, zookeeper.Scheme().Registrar, "zookeeper://"+testkit.Reserve(t)+"/g")
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
