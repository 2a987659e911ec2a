package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"weir/config"
)

// Scheme is what a program can do with URLs of one scheme. A function that is nil says that
// it cannot do that. The functions only read the URL: they connect to nothing, so that a
// configuration can be checked anywhere. Their errors say what was found in the URL and
// what is allowed, without secrets.
type Scheme struct {
	// Name is the part of the URL before the first colon, such as "etcd".
	Name string
	// Source finds the endpoints of one upstream, for a URL among its targets.
	Source func(u *url.URL, o SchemeOptions) (Source, error)
	// Catalog finds the endpoints of many services, for discovery.catalogs.
	Catalog func(u *url.URL, o SchemeOptions) (Catalog, error)
	// Documents finds parts of the configuration, for include.
	Documents func(u *url.URL, o SchemeOptions) (Documents, error)
	// Registrar writes to a registry, for weir register.
	Registrar func(u *url.URL, o SchemeOptions) (Registrar, error)
}

// SchemeOptions are what the functions of a Scheme are told.
type SchemeOptions struct {
	// Log gets what is wrong with single entries. It is never nil.
	Log *slog.Logger
	// Rejected is told with each report of a source how many endpoints were left out of it because they cannot be
	// used; nil if that is of no interest.
	Rejected func(n int)
}

// Catalog finds the endpoints of many services.
type Catalog interface {
	// Run is as that of Source, with all entries of all services.
	Run(ctx context.Context, report func(entries []Entry)) error
}

// Document is a part of a configuration that is kept elsewhere.
type Document struct {
	// Name is the document's name in messages: a key, a path or a URL, without secrets.
	Name string
	// Text is TOML.
	Text []byte
}

// Documents finds parts of a configuration.
type Documents interface {
	// Run is as that of Source, with all documents in the order in which they count.
	// version is a number that grows with each change; 0 means that there is none, and
	// then changes are counted.
	Run(ctx context.Context, report func(version int64, documents []Document)) error
}

// Registrar writes to a registry. Its methods are called one at a time.
type Registrar interface {
	// Put makes the registry have e, known by its service and URL, until ttl has passed. It is
	// called again about every third of ttl, and at once when weight or drain of e have
	// changed; it mends what was lost in between, such as a lease, a session or the
	// server's memory. ctx bounds it.
	Put(ctx context.Context, e Entry, ttl time.Duration) error
	// Withdraw removes e. It is no error that e is not there.
	Withdraw(ctx context.Context, e Entry) error
	// Close ends connections. What was put stays until its ttl has passed.
	Close() error
}

// Schemes are the schemes that a program has.
type Schemes []Scheme

// Source opens the source at a URL.
func (s Schemes) Source(text string, o SchemeOptions) (Source, error) {
	return open(s, text, o, "targets", func(s *Scheme) func(*url.URL, SchemeOptions) (Source, error) { return s.Source })
}

// Catalog opens the catalog at a URL.
func (s Schemes) Catalog(text string, o SchemeOptions) (Catalog, error) {
	return open(s, text, o, "catalogs", func(s *Scheme) func(*url.URL, SchemeOptions) (Catalog, error) { return s.Catalog })
}

// Documents opens the documents at a URL.
func (s Schemes) Documents(text string, o SchemeOptions) (Documents, error) {
	return open(s, text, o, "parts of the configuration", func(s *Scheme) func(*url.URL, SchemeOptions) (Documents, error) { return s.Documents })
}

// Registrar opens the registry at a URL for writing.
func (s Schemes) Registrar(text string, o SchemeOptions) (Registrar, error) {
	return open(s, text, o, "registration", func(s *Scheme) func(*url.URL, SchemeOptions) (Registrar, error) { return s.Registrar })
}

// open calls the function of a scheme that of returns, for the URL in text.
func open[T any](schemes Schemes, text string, o SchemeOptions, use string, of func(*Scheme) func(*url.URL, SchemeOptions) (T, error)) (none T, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return none, errors.New("found a URL that cannot be parsed: want one such as \"etcd://127.0.0.1:2379/services\"")
	}
	var able []string
	for i := range schemes {
		if f := of(&schemes[i]); f != nil && schemes[i].Name == u.Scheme {
			if o.Log == nil {
				o.Log = slog.New(slog.DiscardHandler)
			}
			return f(u, o)
		} else if f != nil {
			able = append(able, schemes[i].Name+":")
		}
	}
	if len(able) == 0 {
		return none, fmt.Errorf("found a URL of the scheme %q: this program has no scheme for %s (server.WithSchemes)", u.Scheme, use)
	}
	slices.Sort(able)
	return none, fmt.Errorf("found a URL of the scheme %q: want, for %s, %s", u.Scheme, use, config.OneOf(able))
}
