package server_test

import (
	"net/http"
	"testing"

	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// TestCacheHookPanics: a hook that panics on an answer that is being stored, or is too
// large for that, costs its own exchange; the server can close.
func TestCacheHookPanics(t *testing.T) {
	t.Parallel()
	check := func(name string, size int, fields ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Cache-Control", "max-age=60")
				rw.Header().Set("ETag", `"a"`)
				piece := make([]byte, 64<<10)
				for range size / len(piece) {
					if _, err := rw.Write(piece); err != nil {
						return
					}
					rw.(http.Flusher).Flush()
				}
			})
			w := launch(t, "[cache]\nsize = \"8MiB\"\nmax_object = \"1MiB\"\n[[routes]]\nupstream = \"origin\"\ncache = true\n[upstreams.origin]\ntargets = [\""+origin+"\"]\n",
				server.WithHooks(hook.Hooks{OnReply: func(x hook.Exchange) {
					if x.Request().Get("X-Panic") != "" {
						panic("as the test wants")
					}
				}}))
			status, _, _ := w.get("GET", "/x", append(fields, "X-Panic: 1")...)
			equal(t, "status", status, 500)
			testkit.Eventually(t, "the exchange has ended", func() bool { return w.metric(`weir_upstream_running{upstream="origin"}`) == "0" })
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				w.Close()
			}()
			receive(t, closed)
		})
	}
	check("stored", 256<<10)
	check("too large", 16<<20)
	check("too large, a range", 16<<20, "Range: bytes=0-")
	check("stored, a range", 256<<10, "Range: bytes=0-")
	check("too large, a condition", 16<<20, `If-None-Match: "b"`)
}
