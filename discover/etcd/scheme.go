// Package etcd finds endpoints, services and parts of the configuration in etcd, and registers
// endpoints there: "etcd://HOST:PORT,HOST:PORT/PREFIX". An endpoint is a key below the prefix.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"weir/discover"
	"weir/lb"
)

const (
	// dialWithin bounds connecting to a server.
	dialWithin = 2 * time.Second
	// redialMost is the longest time between two attempts to connect.
	redialMost = 500 * time.Millisecond
	// pingAfter is how long a connection may be silent before the server is asked whether it is there.
	pingAfter = 10 * time.Second
)

// Scheme is what weir can do with etcd.
func Scheme() discover.Scheme {
	return discover.Scheme{
		Name: "etcd",
		Source: func(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
			p, err := newPlace(u)
			return &source{place: p, complaints: o.Complaints(u.String())}, err
		},
		Catalog: func(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
			p, err := newPlace(u)
			return &catalog{place: p, complaints: o.Complaints(u.String())}, err
		},
		Documents: func(u *url.URL, _ discover.SchemeOptions) (discover.Documents, error) {
			p, err := newPlace(u)
			return &documents{place: p}, err
		},
		Registrar: func(u *url.URL, _ discover.SchemeOptions) (discover.Registrar, error) {
			p, err := newPlace(u)
			return &registrar{place: p}, err
		},
	}
}

// place is where the keys are.
type place struct {
	servers []string
	// prefix has no slash at its end.
	prefix   string
	user     string
	password discover.Secret
	secure   bool
	tls      discover.TLSFiles
}

func newPlace(u *url.URL) (place, error) {
	p := place{prefix: strings.TrimRight(u.Path, "/")}
	if u.Host == "" || u.User != nil || p.prefix == "" || u.Fragment != "" {
		return p, errors.New(`found a URL without a host or a prefix, or with a user: want "etcd://HOST:PORT/PREFIX", perhaps with several hosts, joined by ","`)
	}
	p.servers = discover.Servers(u.Host, "2379")
	q := discover.ParseQuery(u.RawQuery)
	p.tls = q.TLS()
	p.secure = q.Flag("tls", p.tls.Given())
	p.user, p.password = q.Login()
	return p, q.Err()
}

// open makes a client, which connects when it is used. It ends with ctx.
func (p *place) open(ctx context.Context) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints:            p.servers,
		Context:              ctx,
		DialTimeout:          dialWithin,
		DialKeepAliveTime:    pingAfter,
		DialKeepAliveTimeout: dialWithin,
		Logger:               zap.NewNop(),
		Username:             p.user,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: redialMost},
			MinConnectTimeout: dialWithin,
		})},
	}
	if p.secure {
		secure, err := p.tls.Load()
		if err != nil {
			return nil, err
		}
		c.TLS = secure
	}
	var err error
	if c.Password, err = p.password.Read(); err != nil {
		return nil, err
	}
	return clientv3.New(c)
}

// source finds the endpoints of one service.
type source struct {
	place
	complaints *discover.Complaints
}

// Run reports the endpoints below the prefix.
func (s *source) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.watch(ctx, s.prefix+"/", func(found *keys) error {
		list, bad := discover.Usable(found.sorted(), func(kv pair) (lb.Endpoint, error) {
			e, err := discover.ParseEndpoint(kv.value)
			if err != nil {
				err = fmt.Errorf("key %q: %w", kv.key, err)
			}
			return e, err
		})
		if err := s.complaints.Judge("endpoints", len(list), bad); err != nil {
			return err
		}
		report(list)
		return nil
	})
}

// catalog finds the endpoints of many services.
type catalog struct {
	place
	complaints *discover.Complaints
}

// Run reports all entries below the prefix.
func (c *catalog) Run(ctx context.Context, report func([]discover.Entry)) error {
	return c.watch(ctx, c.prefix+"/", func(found *keys) error {
		list, bad := discover.Usable(found.sorted(), func(kv pair) (discover.Entry, error) {
			return discover.ParseEntry(kv.key[len(c.prefix)+1:], kv.value)
		})
		if err := c.complaints.JudgeEntries(list, bad); err != nil {
			return err
		}
		report(list)
		return nil
	})
}

// documents finds parts of the configuration.
type documents struct {
	place
	// version is the highest that was reported.
	version int64
}

// Run reports what the prefix itself, and the keys below it, have.
func (d *documents) Run(ctx context.Context, report func(int64, []discover.Document)) error {
	return d.watch(ctx, d.prefix, func(found *keys) error {
		var list []discover.Document
		for _, kv := range found.sorted() {
			if kv.key == d.prefix || strings.HasPrefix(kv.key, d.prefix+"/") {
				list = append(list, discover.Document{Name: "etcd:" + kv.key, Text: kv.value})
			}
		}
		d.version = max(d.version, found.changed)
		report(d.version, list)
		return nil
	})
}

// Open makes a client for the URL of a source, which connects when it is used and ends with ctx. prefix has no
// slash at its end.
func Open(ctx context.Context, u *url.URL) (client *clientv3.Client, prefix string, err error) {
	p, err := newPlace(u)
	if err != nil {
		return nil, "", err
	}
	client, err = p.open(ctx)
	return client, p.prefix, err
}
