package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"weir/config"
	"weir/server"
)

// announce logs where weir listens. Where demo targets answer, it also prints
// commands to try weir with, if this is its first process.
func announce(w io.Writer, log *slog.Logger, cfg *config.Config, s *server.Server, first bool) {
	try := ""
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		name := l.Label()
		a := s.Addr(name)
		log.Info("listening", "listener", name, "address", a.String(), "tls", l.Secure())
		if try == "" && a.Network() == "tcp" {
			try = base(a, l.Secure())
		}
	}
	metrics := s.MetricsAddr()
	if metrics != nil {
		log.Info("metrics and health", "address", metrics.String())
	}
	if a := s.AdminAddr(); a != nil {
		log.Info("admin API", "address", a.String())
	}
	if !first || try == "" || !demonstrates(cfg) || asService(os.Getenv) {
		return
	}
	fmt.Fprintf(w, "\nweir is at %s and answers with its built-in demo targets. Try:\n\n", try)
	line := func(command, does string) { fmt.Fprintf(w, "    %-55s # %s\n", command, does) }
	line("curl "+try+"/", "who answers, and what it got")
	line("curl -d hello "+try+"/echo", "the request as the target got it")
	line("curl -N '"+try+"/events?n=3&every=1s'", "server-sent events, one by one")
	line("curl '"+try+"/slow?d=2s'", "an answer that takes its time")
	line("curl -i '"+try+"/fail?status=503'", "an answer that fails")
	if metrics != nil && metrics.Network() == "tcp" {
		line("curl "+base(metrics, false)+"/metrics", "what weir counts")
	}
	fmt.Fprint(w, "\nEnd it with Ctrl-C.\n\n")
}

// asService says whether a service manager started weir: then its messages go into a
// journal, and no person reads what to try.
func asService(getenv func(string) string) bool {
	return getenv("NOTIFY_SOCKET") != "" || getenv("INVOCATION_ID") != "" // both are systemd's
}

// demonstrates says whether a route that fits every host and path leads to demo targets.
func demonstrates(cfg *config.Config) bool {
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		everything := len(r.Path) == 0 || len(r.Path) == 1 && r.Path[0] == "/"
		if len(r.Host) > 0 || len(r.Method) > 0 || len(r.Header) > 0 || len(r.Query) > 0 || r.Client != nil || !everything {
			continue
		}
		for _, t := range cfg.Upstreams[r.Upstream.String()].Targets {
			if strings.HasPrefix(t.URL, "demo:") {
				return true
			}
		}
	}
	return false
}

// base returns the URL that reaches a listener from this machine.
func base(a net.Addr, tls bool) string {
	if tls {
		return "https://" + reachable(a.String())
	}
	return "http://" + reachable(a.String())
}

// reachable returns address with a host to connect to in place of "any address".
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
