//go:build !etcd

package cli

import "weir/internal/acme"

var openEtcd acme.Opener = withoutEtcd
