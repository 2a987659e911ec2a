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
