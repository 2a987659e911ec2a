package bench_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"weir/config"
	"weir/server"
)

// startWeir embeds weir as it comes, but without an access log, which the
// baseline does not have either.
func startWeir(tb testing.TB, s setup) (address string, stop func()) {
	text := fmt.Sprintf(`
[[listeners]]
name = "bench"
address = "127.0.0.1:0"
%s
[[routes]]
upstream = "origin"
%s
[upstreams.origin]
targets = ["http://%s"]
[access_log]
output = "off"
`, certificates(s), cache(s), s.origin)
	cfg, err := config.Parse("bench.toml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	srv, err := server.New(cfg, server.WithLog(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		tb.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		tb.Fatal(err)
	}
	return srv.Addr("bench").String(), func() {
		if err := srv.Close(); err != nil {
			tb.Error(err)
		}
	}
}

func certificates(s setup) string {
	if s.cert == "" {
		return ""
	}
	return fmt.Sprintf("[[listeners.certificates]]\ncert = %q\nkey = %q\n", s.cert, s.key)
}

func cache(s setup) string {
	if !s.cache {
		return ""
	}
	return "cache = true\n"
}
