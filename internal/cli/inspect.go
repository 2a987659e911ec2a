package cli

import (
	"fmt"
	"io"
	"net"

	"weir/config"
	"weir/server"
)

// flagInspect is the flag of weir run that records everything.
const flagInspect = "inspect"

// The addresses of weir run --inspect where nothing else is said.
const (
	inspectedAddress = "127.0.0.1:8080"
	inspectorAddress = "127.0.0.1:9091"
)

// free returns an address if nothing listens there, else one on the same host with a port that the
// kernel chooses.
func free(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		host, _, _ := net.SplitHostPort(address)
		return net.JoinHostPort(host, "0")
	}
	l.Close()
	return address
}

// inspected returns read with all exchanges recorded, and an admin API if the configuration has
// none.
func inspected(read func() (*config.Config, error)) func() (*config.Config, error) {
	address := config.Address(free(inspectorAddress))
	return func() (*config.Config, error) {
		cfg, err := read()
		if err != nil {
			return nil, err
		}
		cfg.Inspect.Sample = 1
		if cfg.Admin.Address == "" {
			cfg.Admin.Address = address
		}
		return cfg, nil
	}
}

// announceInspector prints where a developer looks at what passes.
func announceInspector(w io.Writer, cfg *config.Config, s *server.Server) {
	admin := s.AdminAddr()
	if admin == nil || admin.Network() != "tcp" {
		return
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if a := s.Addr(l.Label()); a != nil && a.Network() == "tcp" {
			fmt.Fprintf(w, "\nweir is at %s, and what passes is at %s/ui/\n\n", base(a, l.Secure()), base(admin, len(cfg.Admin.Certificates) > 0))
			return
		}
	}
}
