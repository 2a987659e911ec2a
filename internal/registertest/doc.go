// Package registertest runs the command weir register with each registry that it can write to: etcd and ZooKeeper,
// which must be installed, a stand-in for Consul, and a running weir. It has only tests.
package registertest
