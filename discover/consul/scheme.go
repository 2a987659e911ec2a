// Package consul finds endpoints of services and parts of the configuration in Consul, and registers
// endpoints there: "consul://HOST:PORT/SERVICE".
package consul

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"weir/discover"
)

const (
	// wait is how long a blocking query waits for a change; when it has passed, the server has
	// confirmed that there was none.
	wait = 20 * time.Second
	// grace is how much longer than that an answer may take.
	grace = 10 * time.Second
	// pause is the least time between two queries, for services that change all the time.
	pause = 50 * time.Millisecond
)

// Scheme is what weir can do with Consul.
func Scheme() discover.Scheme {
	return discover.Scheme{
		Name:      "consul",
		Source:    newSource,
		Catalog:   newCatalog,
		Documents: newDocuments,
		Registrar: newRegistrar,
	}
}

// place is where Consul is, and what is asked for there.
type place struct {
	server string
	// name is that of a service, or a key.
	name       string
	datacenter string
	token      discover.Secret
	stale      bool
	secure     bool
	tls        discover.TLSFiles
}

// read reads a URL up to the options in q that all uses of it have.
func (p *place) read(u *url.URL, q *discover.Query) error {
	p.server, p.name = u.Host, strings.Trim(u.Path, "/")
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New(`found a URL without a host, or with a user: want "consul://HOST:PORT/SERVICE"`)
	}
	if u.Port() == "" {
		p.server += ":8500"
	}
	p.datacenter = q.Text("dc")
	p.token = q.Secret("token_file")
	p.stale = q.Flag("stale", true)
	p.tls = q.TLS()
	p.secure = q.Flag("tls", p.tls.Given())
	return nil
}

// open makes a client and returns how to end its connections.
func (p *place) open() (*api.Client, func(), error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	c := &api.Config{Address: p.server, Scheme: "http", Datacenter: p.datacenter, HttpClient: &http.Client{Transport: t}}
	if p.secure {
		secure, err := p.tls.Load()
		if err != nil {
			return nil, nil, err
		}
		c.Scheme, t.TLSClientConfig = "https", secure
	}
	client, err := api.NewClient(c)
	return client, t.CloseIdleConnections, err
}

// query asks until ctx ends: ask gets what a question needs, and returns what the server said about the
// answer. The first question is answered at once, each later one when something has changed or the
// wait is over.
func (p *place) query(ctx context.Context, ask func(*api.QueryOptions) (*api.QueryMeta, error)) error {
	index := uint64(0)
	for {
		token, err := p.token.Read()
		if err != nil {
			return err
		}
		within, cancel := context.WithTimeout(ctx, wait+grace)
		o := &api.QueryOptions{WaitIndex: index, WaitTime: wait, AllowStale: p.stale, Token: token}
		meta, err := ask(o.WithContext(within))
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case !meta.KnownLeader && meta.LastIndex == 0:
			return errors.New("the answer has no index, so it is not Consul's")
		case meta.LastIndex < index:
			index = 0 // the server was reset: its next answer comes at once
		default:
			index = max(meta.LastIndex, 1)
		}
		if err := discover.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
