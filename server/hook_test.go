package server_test

import (
	"testing"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// A hook that changes what a response is does not make the connection lose step.
func TestHookChangesStatus(t *testing.T) {
	t.Parallel()
	check := func(answer string, status int) {
		t.Helper()
		origin := testkit.Listen(t, testkit.Answer(answer))
		cfg := config.Default()
		l := config.DefaultListener()
		l.Name, l.Address = "main", "127.0.0.1:0"
		cfg.Listeners = []config.Listener{l}
		cfg.AccessLog.Output = "off"
		u := config.DefaultUpstream()
		u.Targets = []config.Target{config.DefaultTarget(origin.URL)}
		cfg.Upstreams = map[string]config.Upstream{"o": u}
		r := config.DefaultRoute()
		r.Upstream = config.MustTemplate("o")
		cfg.Routes = []config.Route{r}
		srv, err := server.New(cfg, server.WithHooks(hook.Hooks{
			OnReply: func(x hook.Exchange) { x.Response().SetStatus(status) },
		}))
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Close() })
		c := testkit.Dial(t, srv.Addr("main"))
		for range 3 {
			equal(t, "status", c.Get("/").Status(), status)
		}
	}
	for _, status := range []int{200, 204, 304, 500} {
		check(ok, status)
		check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", status)
		check("HTTP/1.1 204 No Content\r\n\r\n", status)
	}
}
