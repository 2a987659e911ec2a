package server_test

import (
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/lb"
	"weir/server"
	"weir/server/hook"
)

// A program of its own embeds weir: it builds a configuration in Go, adds a hook,
// and serves a listener that it opened itself.
func Example() {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from the origin, team %s", r.Header.Get("X-Team"))
	}))
	defer origin.Close()

	cfg := config.Default()
	cfg.AccessLog.Output = "off"
	upstream := config.DefaultUpstream()
	upstream.Targets = []config.Target{config.DefaultTarget(origin.URL)}
	cfg.Upstreams = map[string]config.Upstream{"origin": upstream}
	route := config.DefaultRoute()
	route.Upstream = config.MustTemplate("origin")
	cfg.Routes = []config.Route{route}

	srv, err := server.New(cfg, server.WithHooks(hook.Hooks{
		OnRequest: func(x hook.Exchange) { x.Request().Set("X-Team", "blue") },
		OnDone:    func(x hook.Exchange) { fmt.Println("done:", x.Info().Status, x.Info().Cause) },
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go srv.Serve(ln)

	resp, err := http.Get("http://" + ln.Addr().String() + "/")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	srv.Close() // waits for the exchange to be settled
	fmt.Println(string(body))
	// Output:
	// done: 200 ok
	// hello from the origin, team blue
}

// Handlers of the program are targets: "handler:shop" and "handler:health" in the configuration.
func ExampleWithHandler() {
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "the shop has no %s\n", r.URL.Path)
	})
	health := func(ctx *fasthttp.RequestCtx) { ctx.WriteString("all is well\n") }

	cfg, err := config.Parse("example.toml", []byte(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"

[[routes]]
path = "/health"
upstream = "health"

[[routes]]
upstream = "shop"
cache = true

[upstreams.shop]
targets = ["handler:shop"]

[upstreams.health]
targets = ["handler:health"]

[access_log]
output = "off"
`))
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.New(cfg, server.WithHandler("shop", shop), server.WithFastHTTP("health", health))
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	for _, path := range []string{"/tea", "/health"} {
		resp, err := http.Get("http://" + srv.Addr("main").String() + path)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(os.Stdout, resp.Body)
		resp.Body.Close()
	}
	// Output:
	// the shop has no /tea
	// all is well
}

// A tap counts the bytes of each response as they pass.
func ExampleWithHooks() {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Repeat("ten bytes ", 1000))
	}))
	defer origin.Close()
	cfg := forwardTo(origin.URL)

	srv, err := server.New(cfg, server.WithHooks(hook.Hooks{
		OnResponse: func(x hook.Exchange) {
			sum := 0
			x.Tap(hook.ToClient, math.MaxInt64, func(piece []byte, end bool) {
				if sum += len(piece); end {
					fmt.Println(sum, "bytes have passed")
				}
			})
		},
	}))
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln)
	resp, err := http.Get("http://" + ln.Addr().String() + "/")
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	srv.Close()
	// Output: 10000 bytes have passed
}

// services starts a server whose route leads to services, and registers two versions of one.
func services(opts ...server.Option) (srv *server.Server, stop func()) {
	v1 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "v1", r.URL.Path) }))
	v2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "v2", r.URL.Path) }))
	cfg, err := config.Parse("example.toml", []byte(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"

[[routes]]
path = "/{service}/{version}/"
upstream = "{service}/{version}"
strip_prefix = true

[access_log]
output = "off"
`))
	if err != nil {
		log.Fatal(err)
	}
	if srv, err = server.New(cfg, opts...); err != nil {
		log.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		log.Fatal(err)
	}
	for version, url := range map[string]string{"v1": v1.URL, "v2": v2.URL} {
		if err := srv.Registry().Add("shop", version, lb.Endpoint{URL: url}); err != nil {
			log.Fatal(err)
		}
	}
	return srv, func() {
		srv.Close()
		v1.Close()
		v2.Close()
	}
}

// ask prints what the server answers.
func ask(srv *server.Server, path string, header ...string) {
	r, err := http.NewRequest("GET", "http://"+srv.Addr("main").String()+path, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, field := range header {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Print(resp.StatusCode, " ", string(body))
}

// The program registers the endpoints of services; the path of a request names service and
// version.
func ExampleServer_Registry() {
	srv, stop := services()
	defer stop()
	ask(srv, "/shop/v1/tea")
	ask(srv, "/shop/v2/tea")
	ask(srv, "/shop/v3/tea")
	// Output:
	// 200 v1 /tea
	// 200 v2 /tea
	// 404 404 Not Found: no_upstream
}

// A field of the request names the version, and else its path does.
func ExampleWithExtractNameVersion() {
	srv, stop := services(server.WithExtractNameVersion(func(x hook.Exchange) (name, version string, ok bool) {
		version = x.Request().Get("X-Version")
		return "shop", version, version != ""
	}))
	defer stop()
	ask(srv, "/shop/v1/tea")
	ask(srv, "/shop/v1/tea", "X-Version: v2")
	// Output:
	// 200 v1 /tea
	// 200 v2 /tea
}

// The program chooses among the targets: the one with the largest weight.
func ExampleWithLoadBalance() {
	srv, stop := services(server.WithLoadBalance(func(p *lb.Pick, targets []*lb.Target) (best *lb.Target) {
		for _, t := range targets {
			if p.Admits(t) && (best == nil || t.Weight() > best.Weight()) {
				best = t
			}
		}
		return best
	}))
	defer stop()
	list, _ := srv.Registry().Lookup("shop", "v2")
	for i, e := range list {
		e.Weight = 5 + i
		if err := srv.Registry().Add("cart", "v1", e); err != nil {
			log.Fatal(err)
		}
	}
	ask(srv, "/cart/v1/tea")
	// Output: 200 v2 /tea
}

// byOrder is a balancing algorithm: the target at the place that its option names, and the ones behind it while that
// one admits nothing.
type byOrder struct {
	first   int
	targets []*lb.Target
}

func (b byOrder) Pick(p *lb.Pick) *lb.Target {
	for i := range b.targets {
		if t := b.targets[(b.first+i)%len(b.targets)]; p.Admits(t) {
			return t
		}
	}
	return nil
}

// The program has a balancing algorithm of its own, with an option.
func ExampleWithAlgorithms() {
	type options struct {
		First int `toml:"first"`
	}
	algorithm := lb.Algorithm{
		Name:    "by_order",
		Options: func() any { return &options{First: 0} },
		New: func(in lb.Input) (lb.Picker, error) {
			return byOrder{in.Options.(*options).First, in.Targets}, nil
		},
	}
	cfg, err := config.Parse("example.toml", []byte(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"

[[routes]]
upstream = "numbers"

[upstreams.numbers]
targets = ["handler:one", "handler:two"]
balance = "by_order"
balance_options = { first = 1 }

[access_log]
output = "off"
`))
	if err != nil {
		log.Fatal(err)
	}
	number := func(name string) server.Option {
		return server.WithHandler(name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, name) }))
	}
	srv, err := server.New(cfg, number("one"), number("two"), server.WithAlgorithms(algorithm))
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ask(srv, "/")
	ask(srv, "/")
	// Output:
	// 200 two
	// 200 two
}

// forwardTo is a configuration that sends everything to one target.
func forwardTo(target string) *config.Config {
	cfg := config.Default()
	cfg.AccessLog.Output = "off"
	upstream := config.DefaultUpstream()
	upstream.Targets = []config.Target{config.DefaultTarget(target)}
	cfg.Upstreams = map[string]config.Upstream{"origin": upstream}
	route := config.DefaultRoute()
	route.Upstream = config.MustTemplate("origin")
	cfg.Routes = []config.Route{route}
	return cfg
}
