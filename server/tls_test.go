package server_test

import (
	"crypto/tls"

	"weir/internal/testkit"
)

func tlsServer(p testkit.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.Certificate}}
}
