//go:build etcd

package cli

import (
	"weir/internal/acme"
	"weir/internal/acme/etcd"
)

var openEtcd acme.Opener = etcd.Open
