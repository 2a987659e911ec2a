//go:build etcd

package cli

import (
	"weir/discover"
	"weir/discover/etcd"
)

func etcdScheme() discover.Scheme { return etcd.Scheme() }
