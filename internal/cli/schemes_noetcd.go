//go:build !etcd

package cli

import "weir/discover"

func etcdScheme() discover.Scheme { return without("etcd") }
