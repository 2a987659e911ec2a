package consul_test

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

	"github.com/hashicorp/consul/api"

	"weir/discover"
	"weir/discover/consul"
	"weir/discover/consul/consultest"
	"weir/discover/discovertest"
	"weir/discover/sourcetest"
	"weir/internal/testkit"
	"weir/lb"
)

func start(t *testing.T) *consultest.Server {
	t.Helper()
	s, err := consultest.Start()
	testkit.Must(t, err)
	t.Cleanup(func() { s.Stop() })
	return s
}

func source(t *testing.T, text string) *sourcetest.Run {
	t.Helper()
	return sourcetest.Source(t, consul.Scheme(), text)
}

func service(id string, port int, tags ...string) api.AgentServiceRegistration {
	return api.AgentServiceRegistration{ID: id, Name: "shop", Address: "10.0.0.1", Port: port, Tags: tags}
}

func TestSource(t *testing.T) {
	t.Parallel()
	s := start(t)
	one := service("one", 1)
	s.Register(one, api.HealthPassing)
	r := source(t, "consul://"+s.Addr+"/shop")
	r.Sees("[{http://10.0.0.1:1 1 0 false 0}]")
	two := service("two", 2)
	two.Address = "" // that of the node
	two.Weights = &api.AgentWeights{Passing: 5, Warning: 2}
	two.Meta = map[string]string{"scheme": "https", "priority": "3", "drain": "true"}
	s.Register(two, api.HealthPassing)
	r.Sees("[{http://10.0.0.1:1 1 0 false 0} {https://10.255.0.1:2 5 3 true 0}]")
	s.Register(two, api.HealthWarning)
	r.Sees("[{http://10.0.0.1:1 1 0 false 0} {https://10.255.0.1:2 2 3 true 0}]")
	s.Register(two, api.HealthCritical)
	r.Sees("[{http://10.0.0.1:1 1 0 false 0}]")
	s.Register(service("bad", 0), api.HealthPassing)
	one.Weights = &api.AgentWeights{Passing: 0}
	s.Register(one, api.HealthPassing)
	r.Sees("[{http://10.0.0.1:1 1 0 true 0}]")
	s.Deregister("bad")
	s.Deregister("one")
	r.Sees("[]")
}

// After a reset of the index a question is asked without one.
func TestReset(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Register(service("one", 1), api.HealthPassing)
	r := source(t, "consul://"+s.Addr+"/shop")
	r.Sees("[{http://10.0.0.1:1 1 0 false 0}]")
	s.Reset()
	s.Register(service("two", 2), api.HealthPassing)
	r.Sees("[{http://10.0.0.1:1 1 0 false 0} {http://10.0.0.1:2 1 0 false 0}]")
	s.Deregister("one")
	r.Sees("[{http://10.0.0.1:2 1 0 false 0}]")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Token = "secret"
	token := filepath.Join(t.TempDir(), "token")
	testkit.Must(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	s.Register(service("one", 1, "a"), api.HealthPassing)
	s.Register(service("two", 2, "a", "b"), api.HealthPassing)
	v := service("three", 3, "a", "b")
	v.Meta = map[string]string{"version": "v2"}
	s.Register(v, api.HealthPassing)
	source(t, "consul://"+s.Addr+"/shop?tag=a&tag=b&dc=dc2&stale=false&token_file="+token).Sees("[{http://10.0.0.1:3 1 0 false 0} {http://10.0.0.1:2 1 0 false 0}]")
	source(t, "consul://"+s.Addr+"/shop?version=v2&scheme=https&token_file="+token).Sees("[{https://10.0.0.1:3 1 0 false 0}]")
	found := false
	for _, q := range s.Queries() {
		found = found || q.Get("dc") == "dc2" && q.Has("wait") && !q.Has("stale")
	}
	if !found {
		t.Errorf("questions: %v", s.Queries())
	}
	if err := <-source(t, "consul://"+s.Addr+"/shop").Ended; err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("without a token: got %v", err)
	}
}

// What is no answer of Consul is an error.
func TestFails(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Register(service("bad", 0), api.HealthPassing)
	for _, test := range []struct{ text, want string }{
		{"consul://" + s.Addr + "/shop", "none of the endpoints"}, {"consul://" + testkit.Reserve(t) + "/shop", "refused"},
	} {
		if err := <-source(t, test.text).Ended; err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.text, err, test.want)
		}
	}
	s.Break(true)
	if err := <-source(t, "consul://"+s.Addr+"/shop").Ended; err == nil {
		t.Error("nonsense is no error")
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetKey("weir/config", "one = 1")
	s.SetKey("weir/config/b", "two = 2")
	s.SetKey("weir/configs", "odd = 1")
	d := sourcetest.Open(t, consul.Scheme().Documents, "consul://"+s.Addr+"/weir/config")
	r := sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
		return d.Run(ctx, func(version int64, list []discover.Document) {
			if version == 0 {
				t.Error("there is no version")
			}
			r.Report(fmt.Sprintf("%s", list))
		})
	})
	r.Sees("[{consul:weir/config one = 1} {consul:weir/config/b two = 2}]")
	s.SetKey("weir/config/b", "")
	s.SetKey("weir/config", "")
	s.SetKey("weir/configs", "")
	r.Sees("[]")
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	s := start(t)
	seen := source(t, "consul://"+s.Addr+"/shop?version=v1")
	r := sourcetest.Open(t, consul.Scheme().Registrar, "consul://"+s.Addr)
	t.Cleanup(func() { r.Close() })
	e := discover.Entry{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: "https://10.0.0.1:8443", Weight: 3, Priority: 1}}
	testkit.Must(t, r.Put(t.Context(), e, time.Minute))
	seen.Sees("[{https://10.0.0.1:8443 3 1 false 0}]")
	e.Drain = true
	testkit.Must(t, r.Put(t.Context(), e, time.Minute))
	seen.Sees("[{https://10.0.0.1:8443 3 1 true 0}]")
	s.Forget()
	seen.Sees("[]")
	testkit.Must(t, r.Put(t.Context(), e, time.Minute))
	seen.Sees("[{https://10.0.0.1:8443 3 1 true 0}]")
	testkit.Must(t, r.Put(t.Context(), e, time.Minute)) // a heartbeat
	testkit.Must(t, r.Withdraw(t.Context(), e))
	seen.Sees("[]")
	testkit.Must(t, r.Withdraw(t.Context(), e))
	testkit.Must(t, r.Put(t.Context(), e, 100*time.Millisecond)) // with no other one after it
	testkit.Eventually(t, "the check is critical", func() bool { return s.Status("shop%2Fv1%2Fhttps:%252F%252F10.0.0.1:8443") == api.HealthCritical })
	seen.Sees("[]")
	e.URL = "unix:/socket"
	if err := r.Put(t.Context(), e, time.Minute); err == nil || !strings.Contains(err.Error(), "http or https") {
		t.Errorf("a socket: got %v", err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"consul://a/b": "", "consul://a:1/b?tag=x&tag=y&dc=z&tls=true": "", "consul:/a": "without a host", "consul://a": `found the path ""`, "consul://a/b/c": `found the path "/b/c"`,
		"consul://u:p@a/b": "with a user", "consul://a/b?x=1": "one of the options",
	} {
		u, err := url.Parse(text)
		if err == nil {
			_, err = consul.Scheme().Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	if err := discovertest.Follow(start(t).Place(consul.Scheme()), nil); err != nil {
		t.Error(err)
	}
}

// A catalog has the instances of all services, each with its version.
func TestCatalog(t *testing.T) {
	t.Parallel()
	s := start(t)
	instance := func(id, name, version string, port int, tags ...string) api.AgentServiceRegistration {
		r := service(id, port, tags...)
		r.Name, r.Meta = name, map[string]string{"version": version}
		return r
	}
	s.Register(instance("one", "shop", "v1", 1, "web"), api.HealthPassing)
	s.Register(instance("two", "shop", "v2", 2, "web"), api.HealthPassing)
	s.Register(instance("three", "cart", "", 3), api.HealthPassing)
	all := sourcetest.Catalog(t, consul.Scheme(), "consul://"+s.Addr)
	web := sourcetest.Catalog(t, consul.Scheme(), "consul://"+s.Addr+"/?tag=web")
	all.Sees("cart http://10.0.0.1:3, shop/v1 http://10.0.0.1:1, shop/v2 http://10.0.0.1:2")
	web.Sees("shop/v1 http://10.0.0.1:1, shop/v2 http://10.0.0.1:2")
	s.Register(instance("four", "till", "", 4, "web"), api.HealthPassing)
	s.Register(instance("one", "shop", "v1", 1, "web"), api.HealthCritical)
	web.Sees("shop/v2 http://10.0.0.1:2, till http://10.0.0.1:4")
	s.Deregister("three")
	s.Register(instance("odd", "not good", "", 5, "web"), api.HealthPassing)
	all.Sees("shop/v2 http://10.0.0.1:2, till http://10.0.0.1:4")
	s.Reset()
	s.Register(instance("five", "till", "", 5, "web"), api.HealthPassing)
	web.Sees("shop/v2 http://10.0.0.1:2, till http://10.0.0.1:4, till http://10.0.0.1:5")

	// Nonsense, and too many services, are failures.
	s.Break(true)
	if err := <-all.Ended; err == nil {
		t.Error("nonsense: no error")
	}
	s.Break(false)
	for i := range 200 {
		s.Register(instance(fmt.Sprint("many", i), fmt.Sprint("many", i), "", 1000+i), api.HealthPassing)
	}
	many := sourcetest.Catalog(t, consul.Scheme(), "consul://"+s.Addr)
	if err := <-many.Ended; err == nil || !strings.Contains(err.Error(), "at most 150") {
		t.Errorf("many services: got %v", err)
	}
	for _, wrong := range []string{"consul://a/shop", "consul:a", "consul://a?version=v1"} {
		u, err := url.Parse(wrong)
		if err == nil {
			_, err = consul.Scheme().Catalog(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}

// While the network passes nothing on, nothing is lost.
func TestHeld(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	s := start(t)
	relay, err := discovertest.StartRelay(s.Addr)
	testkit.Must(t, err)
	t.Cleanup(relay.Close)
	place := s.Place(consul.Scheme())
	direct := place.URL
	place.URL = func(port string) string { return strings.Replace(direct(port), s.Addr, relay.Addr, 1) }
	if err := discovertest.Held(place, relay.Hold, nil); err != nil {
		t.Error(err)
	}
}
