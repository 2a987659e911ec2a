// Package etcdtest starts a real etcd for tests.
package etcdtest

import (
	"context"
	"os"
	"os/exec"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/lb"
)

// Server is an etcd of one member, with a relay before it.
type Server struct {
	discovertest.Process
	*discovertest.Relay
	// Client talks to it without the relay.
	Client *clientv3.Client

	folder string
}

// Start starts etcd, which must be installed.
func Start() (*Server, error) {
	addr, err := discovertest.FreeAddress()
	if err != nil {
		return nil, err
	}
	peers, err := discovertest.FreeAddress()
	if err != nil {
		return nil, err
	}
	s := &Server{}
	if s.folder, err = os.MkdirTemp("", "etcd"); err != nil {
		return nil, err
	}
	s.Make = func() *exec.Cmd {
		return exec.Command("etcd", "--data-dir", s.folder, "--listen-client-urls", "http://"+addr, "--advertise-client-urls", "http://"+addr,
			"--listen-peer-urls", "http://"+peers, "--initial-advertise-peer-urls", "http://"+peers, "--initial-cluster", "default=http://"+peers,
			"--heartbeat-interval", "20", "--election-timeout", "200")
	}
	s.Ready = s.ready
	if s.Client, err = clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()}); err != nil {
		return nil, err
	}
	if s.Relay, err = discovertest.StartRelay(addr); err != nil {
		return nil, err
	}
	if err := s.Process.Start(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := s.Client.Get(ctx, "ready")
	return err
}

// Restart starts it anew, without its data.
func (s *Server) Restart() error {
	if err := s.Process.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.folder); err != nil {
		return err
	}
	return s.Process.Start()
}

// Close ends it and removes its data.
func (s *Server) Close() {
	s.Client.Close()
	s.Relay.Close()
	s.Process.Stop()
	os.RemoveAll(s.folder)
}

// Set makes these the endpoints of a service below /services.
func (s *Server) Set(list []lb.Endpoint) error {
	const prefix = "/services/"
	ops := []clientv3.Op{}
	keep := make(map[string]bool)
	for _, e := range list {
		key := prefix + discover.FormatKey(discover.Entry{Name: "shop", Version: "v1", Endpoint: e})
		keep[key] = true
		ops = append(ops, clientv3.OpPut(key, string(discover.FormatEndpoint(e))))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	now, err := s.Client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for _, kv := range now.Kvs {
		if !keep[string(kv.Key)] {
			ops = append(ops, clientv3.OpDelete(string(kv.Key)))
		}
	}
	_, err = s.Client.Txn(ctx).Then(ops...).Commit()
	return err
}

// putKey gives a key a value; an empty one removes it.
func (s *Server) putKey(key, value string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if value == "" {
		_, err = s.Client.Delete(ctx, key)
	} else {
		_, err = s.Client.Put(ctx, key, value)
	}
	return err
}

// Place returns what the scheme follows.
func (s *Server) Place(scheme discover.Scheme) discovertest.Place {
	return discovertest.Place{
		URL:     func(string) string { return "etcd://" + s.Addr + "/services/shop/v1" },
		Schemes: []discover.Scheme{scheme},
		Set:     s.Set,
		Stop:    s.Process.Stop,
		Start:   s.Process.Start,
		Cut:     s.Cut,
		Break:   func() error { s.Break(true); return nil },
		Mend:    func() error { s.Break(false); return nil },
		Documents: &discovertest.Documents{
			URL: "etcd://" + s.Addr + "/weir/config",
			Put: func(text string) error { return s.putKey("/weir/config", text) },
		},
	}
}
