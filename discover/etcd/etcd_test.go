package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/discover/etcd"
	"weir/discover/etcd/etcdtest"
	"weir/discover/sourcetest"
	"weir/internal/testkit"
	"weir/lb"
)

// start starts a server of the test's own.
func start(t *testing.T) *etcdtest.Server {
	t.Helper()
	s := begin(t)
	t.Cleanup(s.Close)
	return s
}

// begin starts a server; the caller ends it.
func begin(t *testing.T) *etcdtest.Server {
	t.Helper()
	testkit.Program(t, "etcd")
	s, err := etcdtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var shared testkit.Shared[*etcdtest.Server]

func TestMain(m *testing.M) { shared.Main(m) }

// server returns the server that tests share; each uses keys of its own.
func server(t *testing.T) *etcdtest.Server {
	t.Helper()
	return shared.Get(t, begin)
}

func source(t *testing.T, s *etcdtest.Server, prefix string) *sourcetest.Run {
	t.Helper()
	return sourcetest.Source(t, etcd.Scheme(), "etcd://"+s.Addr+prefix)
}

func put(t *testing.T, s *etcdtest.Server, key, value string, o ...clientv3.OpOption) {
	t.Helper()
	if _, err := s.Client.Put(t.Context(), key, value, o...); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, s *etcdtest.Server, key string) {
	t.Helper()
	if _, err := s.Client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	s := server(t)
	put(t, s, "/a/shop/v1/one", "http://one")
	put(t, s, "/a/shop/v10/ten", "http://ten") // another version whose name begins the same
	r := source(t, s, "/a/shop/v1")
	r.Sees("[{http://one 1 0 false 0}]")
	put(t, s, "/a/shop/v1/two", `{"url":"http://two","weight":5,"priority":1,"drain":true}`)
	r.Sees("[{http://one 1 0 false 0} {http://two 5 1 true 0}]")
	put(t, s, "/a/shop/v1/three", "nonsense")
	put(t, s, "/a/shop/v1/one", `{"url":"http://one","weight":3}`)
	r.Sees("[{http://one 3 0 false 0} {http://two 5 1 true 0}]")
	remove(t, s, "/a/shop/v1/two")
	r.Sees("[{http://one 3 0 false 0}]")
	lease, err := s.Client.Grant(t.Context(), 60)
	testkit.Must(t, err)
	put(t, s, "/a/shop/v1/four", "http://four", clientv3.WithLease(lease.ID))
	r.Sees("[{http://four 1 0 false 0} {http://one 3 0 false 0}]")
	_, err = s.Client.Revoke(t.Context(), lease.ID) // as if it had run out
	testkit.Must(t, err)
	r.Sees("[{http://one 3 0 false 0}]")
	remove(t, s, "/a/shop/v1/three")
	remove(t, s, "/a/shop/v1/one")
	r.Sees("[]")
}

// All keys are nonsense: that is an error, and no empty answer.
func TestNonsense(t *testing.T) {
	t.Parallel()
	s := server(t)
	put(t, s, "/b/shop/v1/one", "nonsense")
	if err := <-source(t, s, "/b/shop/v1").Ended; err == nil || !strings.Contains(err.Error(), "none of the endpoints") {
		t.Errorf("got %v", err)
	}
}

// A server that does not answer is an error, soon.
func TestNoServer(t *testing.T) {
	t.Parallel()
	s := server(t)
	from := sourcetest.Open(t, etcd.Scheme().Source, "etcd://"+testkit.Reserve(t)+"/c")
	if err := from.Run(t.Context(), func([]lb.Endpoint) { t.Error("something was reported") }); err == nil {
		t.Error("no error")
	}
	// The next server of the list does.
	r := source(t, s, "/c")
	r.Sees("[]")
	from = sourcetest.Open(t, etcd.Scheme().Source, "etcd://"+testkit.Reserve(t)+","+s.Addr+"/c")
	sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
		return from.Run(ctx, func(list []lb.Endpoint) { r.Report(fmt.Sprint(list)) })
	}).Sees("[]")
}

// What a source has missed while its connection was cut is forgotten by the server: it reads all keys.
func TestCompaction(t *testing.T) {
	t.Parallel()
	s := start(t)
	put(t, s, "/d/one", "http://one")
	r := source(t, s, "/d")
	r.Sees("[{http://one 1 0 false 0}]")
	s.Break(true)
	for i := range 10 {
		put(t, s, "/d/two", fmt.Sprintf("http://two%d", i))
	}
	remove(t, s, "/d/one")
	now, err := s.Client.Get(t.Context(), "/d")
	testkit.Must(t, err)
	_, err = s.Client.Compact(t.Context(), now.Header.Revision)
	testkit.Must(t, err)
	s.Break(false)
	r.Sees("[{http://two9 1 0 false 0}]")
	put(t, s, "/d/two", "http://two")
	r.Sees("[{http://two 1 0 false 0}]")
}

// A server that begins empty, or from a backup, has another history: what was there before is gone, whether the new one is
// shorter than the old one or longer.
func TestAnotherHistory(t *testing.T) {
	t.Parallel()
	for what, changes := range map[string]int{"shorter": 0, "longer": 50} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for i := range 20 {
				put(t, s, "/h/one", fmt.Sprintf("http://one%d", i))
			}
			put(t, s, "/h/two", "http://two")
			r := source(t, s, "/h")
			r.Sees("[{http://one19 1 0 false 0} {http://two 1 0 false 0}]")
			s.Break(true)
			testkit.Must(t, s.Restart())
			for i := range changes {
				put(t, s, "/other", fmt.Sprint(i))
			}
			put(t, s, "/h/three", "http://three")
			s.Break(false)
			r.Sees("[{http://three 1 0 false 0}]")
			put(t, s, "/h/four", "http://four")
			r.Sees("[{http://four 1 0 false 0} {http://three 1 0 false 0}]")
		})
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	s := server(t)
	put(t, s, "/e/shop/v1/one", "http://one")
	put(t, s, "/e/shop/-/two", "http://two")
	put(t, s, "/e/odd", "http://odd")
	c := sourcetest.Open(t, etcd.Scheme().Catalog, "etcd://"+s.Addr+"/e")
	r := sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
		return c.Run(ctx, func(list []discover.Entry) { r.Report(fmt.Sprintf("%+v", list)) })
	})
	const two = "{Name:shop Version: Endpoint:{URL:http://two Weight:1 Priority:0 Drain:false Sharers:0} Wrong:<nil>}"
	r.Sees("[" + two + " {Name:shop Version:v1 Endpoint:{URL:http://one Weight:1 Priority:0 Drain:false Sharers:0} Wrong:<nil>}]")
	remove(t, s, "/e/shop/v1/one")
	r.Sees("[" + two + "]")
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	s := server(t)
	put(t, s, "/f/weir", "one = 1")
	put(t, s, "/f/weir/b", "two = 2")
	put(t, s, "/f/weird", "odd = 1")
	d := sourcetest.Open(t, etcd.Scheme().Documents, "etcd://"+s.Addr+"/f/weir")
	var version int64
	r := sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
		return d.Run(ctx, func(v int64, list []discover.Document) {
			if v < version {
				t.Errorf("version %d after %d", v, version)
			}
			version = v
			r.Report(fmt.Sprintf("%s", list))
		})
	})
	r.Sees("[{etcd:/f/weir one = 1} {etcd:/f/weir/b two = 2}]")
	remove(t, s, "/f/weir/b")
	put(t, s, "/f/weir/a", "three = 3")
	r.Sees("[{etcd:/f/weir one = 1} {etcd:/f/weir/a three = 3}]")
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	s := server(t)
	seen := source(t, s, "/g/shop/v1")
	r := sourcetest.Open(t, etcd.Scheme().Registrar, "etcd://"+s.Addr+"/g")
	t.Cleanup(func() { r.Close() })
	e := discover.Entry{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: "http://10.0.0.1:8080", Weight: 1}}
	put := func() {
		t.Helper()
		testkit.Must(t, r.Put(t.Context(), e, time.Minute))
	}
	lease := func() int64 {
		t.Helper()
		now, err := s.Client.Get(t.Context(), "/g/shop/v1/http:%2F%2F10.0.0.1:8080")
		testkit.Must(t, err)
		if len(now.Kvs) != 1 {
			t.Fatalf("there are %d keys", len(now.Kvs))
		}
		return now.Kvs[0].Lease
	}
	put()
	seen.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	first := lease()
	e.Weight, e.Drain = 5, true
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	if lease() != first || first == 0 {
		t.Errorf("lease %d became %d", first, lease())
	}
	// What was lost is mended.
	remove(t, s, "/g/shop/v1/http:%2F%2F10.0.0.1:8080")
	seen.Sees("[]")
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	if _, err := s.Client.Revoke(t.Context(), clientv3.LeaseID(first)); err != nil {
		t.Fatal(err)
	}
	seen.Sees("[]")
	put()
	seen.Sees("[{http://10.0.0.1:8080 5 0 true 0}]")
	testkit.Must(t, r.Withdraw(t.Context(), e))
	seen.Sees("[]")
	testkit.Must(t, r.Withdraw(t.Context(), e))
	testkit.Must(t, r.Put(t.Context(), e, 2*time.Minute))
	left, err := s.Client.TimeToLive(t.Context(), clientv3.LeaseID(lease()))
	testkit.Must(t, err)
	if left.GrantedTTL != 120 {
		t.Errorf("granted %d s, want 120", left.GrantedTTL)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"etcd://a/b": "", "etcd://a:1,b:2/c/d/?tls=true&user=weir&password_file=/p": "", "etcd:/a": "without a host", "etcd://a": "without a host or a prefix",
		"etcd://a/": "without a host or a prefix", "etcd://u:p@a/b": "with a user", "etcd://a/b?user=x": "belong together", "etcd://a/b?x=1": "one of the options",
	} {
		u, err := url.Parse(text)
		if err == nil {
			_, err = etcd.Scheme().Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	if err := discovertest.Follow(start(t).Place(etcd.Scheme()), nil); err != nil {
		t.Error(err)
	}
}

// While the network passes nothing on, nothing is lost.
func TestHeld(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	s := begin(t)
	t.Cleanup(s.Close)
	place := s.Place(etcd.Scheme())
	if err := discovertest.Held(place, s.Hold, nil); err != nil {
		t.Error(err)
	}
}

// What is registered is there again after whatever happens to the registry.
func TestRegisteredAgain(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	s := begin(t)
	t.Cleanup(s.Close)
	present := func() bool {
		ctx, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		found, err := s.Client.Get(ctx, "/r/shop/v1/", clientv3.WithPrefix())
		return err == nil && len(found.Kvs) == 1
	}
	registrar := sourcetest.Open(t, etcd.Scheme().Registrar, "etcd://"+s.Addr+"/r")
	registry := discovertest.Registry{Hold: s.Hold, Cut: s.Cut, Stop: s.Process.Stop, Start: s.Process.Start}
	if err := discovertest.Registered(registrar, registry, present); err != nil {
		t.Error(err)
	}
}
