package etcd_test

import (
	"net/url"
	"testing"

	"github.com/caddyserver/certmagic"

	"weir/discover/etcd/etcdtest"
	"weir/internal/acme/acmetest"
	"weir/internal/acme/etcd"
	"weir/internal/testkit"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "etcd")
	s, err := etcdtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	open := func() certmagic.Storage {
		storage, err := etcd.Open(&url.URL{Scheme: "etcd", Host: s.Addr, Path: "/weir"})
		if err != nil {
			t.Fatal(err)
		}
		return storage
	}
	acmetest.Storage(t, open(), open())
}
