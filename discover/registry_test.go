package discover_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/config"
	"weir/discover"
	"weir/discover/sourcetest"
	"weir/lb"
)

// newRegistry returns a registry with these settings, which must run in a synctest bubble.
func newRegistry(t *testing.T, settings config.Discovery) *discover.Registry {
	r := discover.NewRegistry(settings, discover.RegistryOptions{})
	t.Cleanup(r.Close)
	return r
}

// urls returns the URLs of a service, and whether it is known.
func urls(r *discover.Registry, name, version string) string {
	list, known := r.Lookup(name, version)
	all := []string{fmt.Sprint(known)}
	for _, e := range list {
		all = append(all, e.URL)
	}
	return strings.Join(all, " ")
}

// An endpoint that is registered in another spelling is the same one.
func TestOneEndpointInSeveralSpellings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, config.Discovery{ForgetAfter: config.Duration(time.Hour)})
		for _, url := range []string{"http://app", "http://App:80", "HTTP://app:080/"} {
			if err := r.Add("shop", "v1", lb.Endpoint{URL: url}); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "added", urls(r, "shop", "v1"), "true http://app")
		equal(t, "failures", r.Failure("shop", "v1", "http://APP"), 1)
		equal(t, "deleted", r.Delete("shop", "v1", "http://app:80"), true)
		equal(t, "empty", urls(r, "shop", "v1"), "true")
	})
}

// A sign of life is no attempt that went well: failures go on to count.
func TestFailuresBetweenHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, config.Discovery{RemoveAfter: 3, ForgetAfter: config.Duration(time.Hour)})
		beat := func() {
			t.Helper()
			if err := r.AddFor("shop", "v1", lb.Endpoint{URL: "http://a"}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			beat()
			equal(t, "failures in a row", r.Failure("shop", "v1", "http://a"), i+1)
		}
		r.Judged("shop/v1", "http://a", false)
		for i := range 3 {
			beat()
			equal(t, "failures in a row, after a success", r.Failure("shop", "v1", "http://a"), i+1)
		}
		equal(t, "after too many", urls(r, "shop", "v1"), "true")
		beat()
		equal(t, "registered again", urls(r, "shop", "v1"), "true http://a")
		equal(t, "failures begin anew", r.Failure("shop", "v1", "http://a"), 1)
	})
}

// A time to live that is too short to be kept is refused.
func TestShortTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, config.Discovery{ForgetAfter: config.Duration(time.Hour)})
		for _, ttl := range []time.Duration{-time.Second, 1, 99 * time.Millisecond} {
			if err := r.AddFor("shop", "", lb.Endpoint{URL: "http://a"}, ttl); err == nil || !strings.Contains(err.Error(), "want 100ms or more") {
				t.Errorf("a ttl of %v: got %v", ttl, err)
			}
		}
		if err := r.AddFor("shop", "", lb.Endpoint{URL: "http://a"}, 100*time.Millisecond); err != nil {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		equal(t, "its time has passed", urls(r, "shop", ""), "true")
	})
}

// A service without endpoints stays known over a restart, for forget_after from then on.
func TestEmptyServiceAfterRestart(t *testing.T) {
	settings := config.Discovery{ForgetAfter: config.Duration(time.Hour)}
	memory := func() *discover.Memory {
		m, err := discover.OpenMemory("", nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	var text []byte
	synctest.Test(t, func(t *testing.T) {
		m := memory()
		r := discover.NewRegistry(settings, discover.RegistryOptions{Memory: m})
		defer r.Close()
		for _, name := range []string{"empty", "shop"} {
			if err := r.Add(name, "v1", lb.Endpoint{URL: "http://a"}); err != nil {
				t.Fatal(err)
			}
		}
		r.Delete("empty", "v1", "http://a")
		time.Sleep(59 * time.Minute)
		text = m.Text()
	})
	synctest.Test(t, func(t *testing.T) {
		m := memory()
		if err := m.Load(text); err != nil {
			t.Fatal(err)
		}
		r := discover.NewRegistry(settings, discover.RegistryOptions{Memory: m})
		defer r.Close()
		equal(t, "one with an endpoint", urls(r, "shop", "v1"), "true http://a")
		time.Sleep(59 * time.Minute)
		equal(t, "one without", urls(r, "empty", "v1"), "true")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		equal(t, "one without, later", urls(r, "empty", "v1"), "false")
	})
}

// A service of which a catalog has nothing that can be used keeps what it had.
func TestCatalogOfNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		empty := config.Discovery{EmptyAfter: config.Duration(30 * time.Second), ForgetAfter: config.Duration(time.Hour)}
		r := newRegistry(t, empty)
		entries := func(url string) []discover.Entry {
			return []discover.Entry{{Name: "shop", Endpoint: lb.Endpoint{URL: url}}, {Name: "cart", Endpoint: lb.Endpoint{URL: "http://c"}}}
		}
		equal(t, "rejected", len(r.Replace("catalog", entries("http://a"))), 0)
		equal(t, "rejected", len(r.Replace("catalog", entries("ftp://a"))), 1)
		time.Sleep(time.Hour)
		equal(t, "nonsense", urls(r, "shop", ""), "true http://a")
		r.Replace("catalog", entries("http://b"))
		equal(t, "another one", urls(r, "shop", ""), "true http://b")
		r.Replace("catalog", entries("http://b")[1:])
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "nothing", urls(r, "shop", ""), "true")
	})
}

// That a catalog has nothing of a service is not believed when it then fails, or has what cannot be used: the time begins
// anew when it says so again.
func TestCatalogEmptyThenFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entry := func(name, url string) discover.Entry {
			return discover.Entry{Name: name, Endpoint: lb.Endpoint{URL: url}}
		}
		wrong := discover.Entry{Name: "shop", Wrong: errors.New("found nonsense")}
		cart := entry("cart", "http://c")
		for what, interrupt := range map[string]func(c sourcetest.FakeCatalog){
			"fails":    func(c sourcetest.FakeCatalog) { c <- nil; time.Sleep(time.Second) },
			"nonsense": func(c sourcetest.FakeCatalog) { c <- []discover.Entry{entry("shop", "ftp://a"), cart} },
			"wrong":    func(c sourcetest.FakeCatalog) { c <- []discover.Entry{wrong, cart} },
		} {
			r := newRegistry(t, config.Discovery{EmptyAfter: config.Duration(30 * time.Second), ForgetAfter: config.Duration(time.Hour)})
			c := make(sourcetest.FakeCatalog)
			f := r.FollowCatalog("catalog", c, discover.Options{})
			c <- []discover.Entry{entry("shop", "http://a"), cart}
			c <- []discover.Entry{cart}
			interrupt(c)
			time.Sleep(time.Hour)
			synctest.Wait()
			equal(t, what, urls(r, "shop", ""), "true http://a")
			equal(t, what+": rejected", f.Status().Rejected, map[string]int{"fails": 0, "nonsense": 1, "wrong": 1}[what])
			c <- []discover.Entry{cart}
			time.Sleep(29 * time.Second)
			synctest.Wait()
			equal(t, what+", nothing again", urls(r, "shop", ""), "true http://a")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			equal(t, what+", nothing for long", urls(r, "shop", ""), "true")
			f.Stop()
		}
	})
}

// One catalog in place of another: what the old one found stays until the new one has reported.
func TestCatalogIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := func(catalogs ...string) config.Discovery {
			return config.Discovery{ForgetAfter: config.Duration(time.Hour), Catalogs: catalogs}
		}
		entry := func(name, url string) discover.Entry {
			return discover.Entry{Name: name, Endpoint: lb.Endpoint{URL: url}}
		}
		check := func(r *discover.Registry, what, shop, cart string) {
			t.Helper()
			synctest.Wait()
			equal(t, what+": shop", urls(r, "shop", ""), shop)
			equal(t, what+": cart", urls(r, "cart", ""), cart)
		}
		one, two := make(sourcetest.FakeCatalog), make(sourcetest.FakeCatalog)
		r := newRegistry(t, settings("file:/one"))
		first := r.FollowCatalog("file:/one", one, discover.Options{})
		one <- []discover.Entry{entry("shop", "http://a"), entry("cart", "http://c")}
		check(r, "one has reported", "true http://a", "true http://c")

		r.Configure(settings("file:/two"))
		check(r, "two does not run yet", "true http://a", "true http://c")
		second := r.FollowCatalog("file:/two", two, discover.Options{})
		defer second.Stop()
		first.Stop()
		two <- nil
		check(r, "two fails", "true http://a", "true http://c")
		time.Sleep(time.Second)
		two <- []discover.Entry{entry("shop", "http://a"), entry("shop", "http://b")}
		check(r, "two has reported", "true http://a http://b", "true")
		r.Configure(settings())
		check(r, "no catalog is left", "true", "true")
	})
}
