// Package zookeeper finds endpoints and parts of the configuration in ZooKeeper, and registers endpoints
// there: "zookeeper://HOST:PORT,HOST:PORT/PATH". An endpoint is what a child of the path has.
package zookeeper

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"weir/discover"
	"weir/lb"
)

const (
	// session is how long a server may be silent, unless the URL says otherwise.
	session = 10 * time.Second
	// firstWithin bounds the wait for a server's first answer, or a third of the session if that is more. The library would wait
	// for several times the session, which a server that is just starting makes it do: who asks too early gets no answer.
	firstWithin = 2 * time.Second
	// longest is how many bytes an answer may have.
	longest = 16 << 20
)

// Scheme is what weir can do with ZooKeeper.
func Scheme() discover.Scheme {
	return discover.Scheme{
		Name: "zookeeper",
		Source: func(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
			p, err := newPlace(u)
			return &source{place: p, complaints: o.Complaints(u.String())}, err
		},
		Catalog: func(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
			p, err := newPlace(u)
			return &catalog{place: p, url: u.String(), log: o.Log}, err
		},
		Documents: func(u *url.URL, _ discover.SchemeOptions) (discover.Documents, error) {
			p, err := newPlace(u)
			return &documents{place: p}, err
		},
		Registrar: func(u *url.URL, _ discover.SchemeOptions) (discover.Registrar, error) {
			p, err := newPlace(u)
			return &registrar{place: p, turn: make(chan struct{}, 1)}, err
		},
	}
}

// place is where the nodes are.
type place struct {
	servers  []string
	path     string
	session  time.Duration
	user     string
	password discover.Secret
	secure   bool
	tls      discover.TLSFiles
}

func newPlace(u *url.URL) (place, error) {
	p := place{path: strings.TrimRight(u.Path, "/")}
	if u.Host == "" || u.User != nil || p.path == "" || strings.Contains(p.path, "//") || u.Fragment != "" {
		return p, errors.New(`found a URL without a host or a path, or with a user: want "zookeeper://HOST:PORT/PATH", perhaps with several hosts, joined by ","`)
	}
	p.servers = discover.Servers(u.Host, "2181")
	q := discover.ParseQuery(u.RawQuery)
	p.session = q.Duration("session", session, time.Second, time.Minute)
	p.tls = q.TLS()
	p.secure = q.Flag("tls", p.tls.Given())
	p.user, p.password = q.Login()
	return p, q.Err()
}

// open connects, in the background, for a session of this length. login comes before anything else.
func (p *place) open(length time.Duration) (_ *zk.Conn, _ <-chan zk.Event, err error) {
	var secure *tls.Config
	if p.secure {
		if secure, err = p.tls.Load(); err != nil {
			return nil, nil, err
		}
	}
	first := max(firstWithin, length/3)
	dial := func(network, address string, within time.Duration) (net.Conn, error) {
		d := net.Dialer{Timeout: within}
		if secure != nil {
			c, err := tls.DialWithDialer(&d, network, address, secure)
			return &guarded{Conn: c, within: first}, err
		}
		c, err := d.Dial(network, address)
		return &guarded{Conn: c, within: first}, err
	}
	return zk.Connect(p.servers, length, zk.WithDialer(dial), zk.WithMaxBufferSize(longest), zk.WithLogger(silence{}), zk.WithLogInfo(false))
}

// login says who the user is, if there is one. It waits for a server, until the connection is closed.
func (p *place) login(c *zk.Conn) error {
	if p.user == "" {
		return nil
	}
	secret, err := p.password.Read()
	if err != nil {
		return err
	}
	return c.AddAuth("digest", []byte(p.user+":"+secret))
}

// silence takes what the library logs; errors come from its functions, too.
type silence struct{}

func (silence) Printf(string, ...any) {}

// guarded is a connection whose first answer comes soon and has a length that can be: the library would
// make room for any, such as the gigabyte that "HTTP" is.
type guarded struct {
	net.Conn
	within time.Duration // of the first answer
	head   []byte        // of the first answer: what was read and not yet given
	read   bool
}

// Read reads as the connection does.
func (g *guarded) Read(b []byte) (int, error) {
	if !g.read {
		if err := g.SetReadDeadline(time.Now().Add(g.within)); err != nil {
			return 0, err
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(g.Conn, head); err != nil {
			return 0, err
		}
		if n := binary.BigEndian.Uint32(head); n > longest {
			return 0, fmt.Errorf("the server's first answer would have %d bytes, so it is not ZooKeeper's", n)
		}
		g.head, g.read = head, true
	}
	if len(g.head) > 0 {
		n := copy(b, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	return g.Conn.Read(b)
}

type source struct {
	place
	complaints *discover.Complaints
}

// Run reports the endpoints that the children of the path have.
func (s *source) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.watch(ctx, func(found *node) error {
		list, bad := discover.Usable(found.sorted(), func(c child) (lb.Endpoint, error) {
			e, err := discover.ParseEndpoint(c.data)
			if err != nil {
				err = fmt.Errorf("node %q: %w", c.name, err)
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

type documents struct {
	place
	// version is the highest that was reported.
	version int64
}

// Run reports what the node at the path has, and its children.
func (d *documents) Run(ctx context.Context, report func(int64, []discover.Document)) error {
	return d.watch(ctx, func(found *node) error {
		var list []discover.Document
		if len(found.data) > 0 {
			list = append(list, discover.Document{Name: "zookeeper:" + d.path, Text: found.data})
		}
		for _, c := range found.sorted() {
			list = append(list, discover.Document{Name: "zookeeper:" + d.path + "/" + c.name, Text: c.data})
		}
		d.version = max(d.version, found.changed)
		report(d.version, list)
		return nil
	})
}
