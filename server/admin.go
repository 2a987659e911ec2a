package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"

	"weir/admin"
	"weir/config"
	"weir/internal/listener"
)

// checkAdmin returns what is wrong with the tokens of the admin API. Credentials of the service
// manager are there only when it has started weir.
func checkAdmin(cfg *config.Admin) (problems config.Errors) {
	for i := range cfg.Tokens {
		t := &cfg.Tokens[i]
		if t.File == "" || t.Credential != "" {
			continue
		}
		if _, err := admin.ReadToken(t); err != nil {
			problems = append(problems, config.Problem{Key: config.Key("tokens", i, "file"), Message: err.Error()})
		}
	}
	return problems
}

// adminDoor says who may use the admin API, and how the API speaks TLS.
type adminDoor struct {
	access *admin.Access
	tls    *tls.Config // nil: without
}

func newAdminDoor(cfg *config.Admin) (d adminDoor, err error) {
	clientCAs, err := listener.LoadClientCA(cfg.ClientCA)
	if err != nil {
		return d, fmt.Errorf("admin: %w", err)
	}
	if d.access, err = admin.NewAccess(cfg, clientCAs); err != nil || len(cfg.Certificates) == 0 {
		return d, err
	}
	if d.tls, err = listener.NewTLS(cfg.Certificates); err != nil {
		return d, fmt.Errorf("admin: %w", err)
	}
	if clientCAs != nil {
		d.tls.ClientCAs, d.tls.ClientAuth = clientCAs, tls.VerifyClientCertIfGiven
	}
	return d, nil
}

// adminSocket accepts the clients of the admin API, by TLS if the configuration in force says so.
type adminSocket struct {
	net.Listener
	tls func() *tls.Config
}

func (s adminSocket) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if cfg := s.tls(); cfg != nil {
		return tls.Server(c, cfg), nil
	}
	return c, nil
}

// peerOf notes the user at the other end of a unix socket, for the log of changes.
func peerOf(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	peer := "unix socket"
	raw.Control(func(fd uintptr) {
		if user, process, ok := credentials(int(fd)); ok {
			peer += " (user " + strconv.Itoa(user) + ", process " + strconv.Itoa(process) + ")"
		}
	})
	return admin.WithPeer(ctx, peer)
}
