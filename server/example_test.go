package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"

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
