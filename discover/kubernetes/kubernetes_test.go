package kubernetes_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/discover/kubernetes"
	"weir/discover/kubernetes/kubetest"
	"weir/discover/sourcetest"
	"weir/internal/testkit"
	"weir/lb"
)

func start(t *testing.T) *kubetest.Server {
	t.Helper()
	s, err := kubetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

func source(t *testing.T, text string) *sourcetest.Run {
	t.Helper()
	return sourcetest.Source(t, kubernetes.Scheme(), text)
}

func open(text string) (discover.Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	return kubernetes.Scheme().Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
}

func TestSource(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := source(t, "kubernetes:default/shop:http?api=http://"+s.Addr)
	r.Sees("[]")
	s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	s.Put("b", 8081, `{"addresses": ["fd00::1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false}}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0} {http://[fd00::1]:8081 1 0 false 0}]")
	s.Put("a", 8080, `{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 true 0} {http://[fd00::1]:8081 1 0 false 0}]")
	s.Bookmark()
	s.Put("a", 8080, "")
	r.Sees("[{http://[fd00::1]:8081 1 0 false 0}]")
	source(t, "kubernetes:default/shop:8081?scheme=https&api=http://"+s.Addr).Sees("[{https://[fd00::1]:8081 1 0 false 0}]")
	// The server has forgotten what the watch has seen: all is listed again.
	s.Forget()
	s.Put("b", 8082, `{"addresses": ["10.0.0.2"]}`)
	r.Sees("[{http://10.0.0.2:8082 1 0 false 0}]")
	s.Put("b", 8082, "")
	r.Sees("[]")
}

// What is no answer of the API server is an error.
func TestFails(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.SetToken("secret")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
	api := "?api=http://" + s.Addr
	source(t, "kubernetes:default/shop:http"+api+"&token_file="+token).Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	fails := func(text, want string) {
		t.Helper()
		if err := <-source(t, text).Ended; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	fails("kubernetes:default/shop:http"+api, "401")
	fails("kubernetes:default/shop:grpc"+api+"&token_file="+token, `no port "grpc"`)
	fails("kubernetes:other/shop:http"+api+"&token_file="+token, "404")
	fails("kubernetes:default/shop:http?api=http://"+testkit.Reserve(t), "refused")
	s.Break(true)
	fails("kubernetes:default/shop:http"+api+"&token_file="+token, "cannot be read")
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"kubernetes:default/shop:http": "", "kubernetes:a/b:80?scheme=https&api=https://10.0.0.1:6443&ca=/a&token_file=/b": "",
		"kubernetes:shop:80": "want \"kubernetes:NAMESPACE", "kubernetes://a/b:80": "want \"kubernetes:NAMESPACE", "kubernetes:a/b": "want \"kubernetes:NAMESPACE",
		"kubernetes:a/../b:80": "want \"kubernetes:NAMESPACE", "kubernetes:a/b:80?api=ftp://a": "URL of an API server", "kubernetes:a/b:80?x=1": "one of the options",
	} {
		if _, err := open(text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	if err := discovertest.Follow(start(t).Place(kubernetes.Scheme()), nil); err != nil {
		t.Error(err)
	}
}

// A catalog has the services of a namespace that have the port.
func TestCatalog(t *testing.T) {
	t.Parallel()
	s := start(t)
	of := func(service, version string) map[string]string {
		return map[string]string{"kubernetes.io/service-name": service, "version": version}
	}
	s.Put("a", 80, `{"addresses": ["10.0.0.1"]}`)
	s.PutOf(of("cart", "v2"), "b", 81, `{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false}}`)
	r := sourcetest.Catalog(t, kubernetes.Scheme(), "kubernetes:default/*:http?api=http://"+s.Addr)
	versions := sourcetest.Catalog(t, kubernetes.Scheme(), "kubernetes:default/*:http?version_label=version&api=http://"+s.Addr)
	r.Sees("cart http://10.0.0.2:81, shop http://10.0.0.1:80")
	versions.Sees("cart/v2 http://10.0.0.2:81, shop http://10.0.0.1:80")
	s.PutOf(of("not good", ""), "c", 80, `{"addresses": ["10.0.0.9"]}`)
	s.PutOf(of("cart", "v3"), "d", 82, `{"addresses": ["10.0.0.4"]}`)
	versions.Sees("cart/v2 http://10.0.0.2:81, cart/v3 http://10.0.0.4:82, shop http://10.0.0.1:80")
	s.Forget()
	s.Put("a", 80, "")
	versions.Sees("cart/v2 http://10.0.0.2:81, cart/v3 http://10.0.0.4:82")
	sourcetest.Catalog(t, kubernetes.Scheme(), "kubernetes:default/*:82?api=http://"+s.Addr).Sees("cart http://10.0.0.4:82")
	for _, wrong := range []string{"kubernetes:default/shop:http", "kubernetes:default/*", "kubernetes:/*:http", "kubernetes:default/*:http?x=1"} {
		u, err := url.Parse(wrong)
		if err == nil {
			_, err = kubernetes.Scheme().Catalog(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}

// Another token and another authority in the files are used without a restart.
func TestRotation(t *testing.T) {
	t.Parallel()
	s, err := kubetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	var certificate atomic.Pointer[tls.Certificate]
	ca, token := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "token")
	write := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	issue := func() {
		t.Helper()
		authority := testkit.NewAuthority(t)
		pem, err := os.ReadFile(authority.File)
		if err != nil {
			t.Fatal(err)
		}
		pair := authority.Issue("127.0.0.1")
		certificate.Store(&pair.Certificate)
		write(ca, pem)
	}
	issue()
	var version atomic.Int32
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version.Store(int32(r.ProtoMajor))
		s.ServeHTTP(w, r)
	}))
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*certificate.Load()}, NextProtos: []string{"h2"}}, nil
	}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	t.Cleanup(secure.CloseClientConnections)
	s.SetToken("one")
	write(token, []byte("one"))
	s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
	from := sourcetest.Open(t, kubernetes.Scheme().Source, "kubernetes:default/shop:http?api="+secure.URL+"&ca="+ca+"&token_file="+token)
	r := sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
		for ctx.Err() == nil { // as weir runs it
			from.Run(ctx, func(list []lb.Endpoint) { r.Report(fmt.Sprint(list)) })
		}
		return nil
	})
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	s.SetToken("two")
	write(token, []byte("two\n"))
	secure.CloseClientConnections()
	s.Put("a", 8080, `{"addresses": ["10.0.0.2"]}`)
	r.Sees("[{http://10.0.0.2:8080 1 0 false 0}]")
	issue()
	secure.CloseClientConnections()
	s.Put("a", 8080, `{"addresses": ["10.0.0.3"]}`)
	r.Sees("[{http://10.0.0.3:8080 1 0 false 0}]")
	if version.Load() != 2 {
		t.Errorf("HTTP/%d is used, want HTTP/2, as with real servers", version.Load())
	}
}

const (
	httpPort = `{"name": "http", "port": 8080}`
	shopOnly = "kubernetes:default/shop:http?api=http://"
)

var ofShop = map[string]string{"kubernetes.io/service-name": "shop"}

// What slices say together is what kube-proxy makes of them, too.
func TestMergedSlices(t *testing.T) {
	t.Parallel()
	s := start(t)
	put := func(name, family, ports, endpoints string) { s.PutSlice(ofShop, name, family, ports, endpoints, false) }
	r := source(t, shopOnly+s.Addr)
	other := source(t, shopOnly+s.Addr+"&zone=b&family=ipv6")
	r.Sees("[]")
	// The slice of a Service without pods has neither endpoints nor ports.
	s.PutSlice(ofShop, "empty", "IPv4", "", "", false)
	put("a", "IPv4", `{"name": "http", "port": 53, "protocol": "UDP"}, {"port": 1}, {"name": "all"}, `+httpPort, `{"addresses": ["10.0.0.1", "10.0.0.11"], "targetRef": {"uid": "1"}}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	other.Sees("[]")
	// A pod with addresses of two families is one target.
	put("b", "IPv6", httpPort, `{"addresses": ["fd00::1"], "targetRef": {"uid": "1"}}, {"addresses": ["fd00::2"], "targetRef": {"uid": "2"}}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0} {http://[fd00::2]:8080 1 0 false 0}]")
	other.Sees("[{http://[fd00::1]:8080 1 0 false 0} {http://[fd00::2]:8080 1 0 false 0}]")
	// An endpoint moves to another slice: for a while both have it.
	put("a", "IPv4", httpPort, `{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}}`)
	put("c", "IPv4", httpPort, `{"addresses": ["10.0.0.1"]}`)
	s.Put("b", 0, "")
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	// Endpoints that go away get requests if no other one serves.
	const leaving = `"conditions": {"ready": false, "serving": true, "terminating": true}`
	put("c", "IPv4", httpPort, `{"addresses": ["10.0.0.3"], `+leaving+`}, {"addresses": ["10.0.0.4"], "conditions": {"ready": false, "serving": false, "terminating": true}}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0} {http://10.0.0.3:8080 1 0 false 0}]")
	put("d", "IPv4", httpPort, `{"addresses": ["10.0.0.5"], "conditions": {"ready": true, "serving": true, "terminating": true}}`)
	r.Sees("[{http://10.0.0.1:8080 1 0 true 0} {http://10.0.0.3:8080 1 0 true 0} {http://10.0.0.5:8080 1 0 false 0}]")
}

// Endpoints that are meant for weir's zone come first if all that are ready say for which zones they are meant.
func TestZone(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := source(t, shopOnly+s.Addr+"&zone=b")
	c := source(t, shopOnly+s.Addr+"&zone=c")
	without := source(t, shopOnly+s.Addr)
	hint := func(zone string) string { return `, "hints": {"forZones": [{"name": "` + zone + `"}]}}` }
	s.Put("a", 80, `{"addresses": ["10.0.0.1"]`+hint("a")+`, {"addresses": ["10.0.0.2"]`+hint("b"))
	r.Sees("[{http://10.0.0.1:80 1 1 false 0} {http://10.0.0.2:80 1 0 false 0}]")
	c.Sees("[{http://10.0.0.1:80 1 0 false 0} {http://10.0.0.2:80 1 0 false 0}]")
	without.Sees("[{http://10.0.0.1:80 1 0 false 0} {http://10.0.0.2:80 1 0 false 0}]")
	s.Put("b", 80, `{"addresses": ["10.0.0.3"]}`)
	r.Sees("[{http://10.0.0.1:80 1 0 false 0} {http://10.0.0.2:80 1 0 false 0} {http://10.0.0.3:80 1 0 false 0}]")
}

// A watch goes on where the last one has ended: nothing is listed again, unless the server has forgotten that version.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := source(t, shopOnly+s.Addr)
	r.Sees("[]")
	for i := range 3 {
		s.Put("a", 8080+i, `{"addresses": ["10.0.0.1"]}`)
		r.Sees(fmt.Sprintf("[{http://10.0.0.1:%d 1 0 false 0}]", 8080+i))
		s.EndWatches()
	}
	s.Put("a", 9090, `{"addresses": ["10.0.0.1"]}`)
	r.Sees("[{http://10.0.0.1:9090 1 0 false 0}]")
	if n := s.Lists(); n != 1 {
		t.Errorf("%d lists, want 1", n)
	}
	// The versions of other changes, which a bookmark tells, count too.
	s.Bookmark()
	s.Forget()
	s.Put("a", 9091, `{"addresses": ["10.0.0.1"]}`)
	r.Sees("[{http://10.0.0.1:9091 1 0 false 0}]")
	if n := s.Lists(); n != 2 {
		t.Errorf("%d lists, want 2", n)
	}
}

// Long lists come in parts; if the server forgets one before its end, all is listed at once.
func TestListInParts(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i := range 1100 {
		s.Put(fmt.Sprint("slice-", i), 8080, fmt.Sprintf(`{"addresses": ["10.1.%d.%d"]}`, i/256, i%256))
	}
	run := func() *sourcetest.Run {
		from := sourcetest.Open(t, kubernetes.Scheme().Source, shopOnly+s.Addr)
		return sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
			return from.Run(ctx, func(list []lb.Endpoint) { r.Report(fmt.Sprint(len(list))) })
		})
	}
	run().Sees("1100")
	if n := s.Lists(); n != 3 {
		t.Errorf("%d parts, want 3", n)
	}
	s.Refuse(func(r *http.Request) *kubetest.Refusal {
		if r.FormValue("continue") != "" {
			return &kubetest.Refusal{Code: http.StatusGone, Message: "the provided continue parameter is too old"}
		}
		return nil
	})
	run().Sees("1100")
	if n := s.Lists(); n != 5 {
		t.Errorf("%d lists, want 5: a part, and all at once", n)
	}
}

// The server says why it refuses a request.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
	const why = `endpointslices.discovery.k8s.io is forbidden: User "shop" cannot watch resource "endpointslices"`
	s.Refuse(func(r *http.Request) *kubetest.Refusal {
		if r.FormValue("watch") != "" {
			return &kubetest.Refusal{Code: http.StatusForbidden, Message: why}
		}
		return nil
	})
	r := source(t, shopOnly+s.Addr)
	if err := <-r.Ended; err == nil || !strings.Contains(err.Error(), "403 Forbidden: "+why) {
		t.Errorf("got %v", err)
	}
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	s.Refuse(func(*http.Request) *kubetest.Refusal {
		return &kubetest.Refusal{Code: http.StatusTooManyRequests, Message: "later", RetryAfter: "7"}
	})
	if err := <-source(t, shopOnly+s.Addr).Ended; err == nil || !strings.Contains(err.Error(), "429 Too Many Requests: later") {
		t.Errorf("got %v", err)
	}
}

// An event that is nonsense ends the watch, and changes nothing.
func TestNonsenseEvents(t *testing.T) {
	t.Parallel()
	for _, object := range []any{
		map[string]any{}, map[string]any{"kind": "Pod", "metadata": map[string]any{"name": "a", "resourceVersion": "5"}}, "text",
		map[string]any{"kind": "EndpointSlice", "metadata": map[string]any{"name": "a"}}, map[string]any{"kind": "EndpointSlice", "metadata": map[string]any{"resourceVersion": "5"}},
	} {
		s := start(t)
		s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
		r := source(t, shopOnly+s.Addr)
		r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
		s.Send("MODIFIED", object)
		if err := <-r.Ended; err == nil || !strings.Contains(err.Error(), "event of the") {
			t.Errorf("%v: got %v", object, err)
		}
		r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	}
}
