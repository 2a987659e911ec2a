// Package list finds endpoints in a document that a web server has: "list+http://host/path". It asks
// for the document again and again, with its entity tag, so that one that has not changed is not sent.
package list

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"weir/discover"
	"weir/lb"
)

const (
	// every is the time between two requests, unless the URL says otherwise.
	every = time.Second
	// within bounds a request, unless the URL says otherwise.
	within = 5 * time.Second
	// longest is how many bytes the document may have.
	longest = 16 << 20
	// prefix makes a scheme of a web server's.
	prefix = "list+"
)

// Schemes is what weir can do with web servers.
func Schemes() []discover.Scheme {
	var all []discover.Scheme
	for _, name := range []string{"http", "https"} {
		all = append(all, discover.Scheme{
			Name: prefix + name,
			Source: func(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
				p, err := newPage(u)
				return &found[lb.Endpoint]{p, discover.ParseEndpoints, o.Complaints(u.String())}, err
			},
			Catalog: func(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
				p, err := newPage(u)
				return &found[discover.Entry]{p, discover.ParseEntries, o.Complaints(u.String())}, err
			},
			Documents: func(u *url.URL, o discover.SchemeOptions) (discover.Documents, error) {
				p, err := newPage(u)
				return &documents{p}, err
			},
		})
	}
	return all
}

// page is a document at a URL.
type page struct {
	url    string
	every  time.Duration
	within time.Duration
	tls    discover.TLSFiles
	token  discover.Secret
}

func newPage(u *url.URL) (page, error) {
	place := *u
	place.Scheme = strings.TrimPrefix(u.Scheme, prefix)
	place.Fragment, place.RawFragment = "", ""
	if u.Host == "" || u.User != nil {
		return page{}, fmt.Errorf(`found a URL without a host, or with a user: want "%s://HOST/PATH", with options behind "#"`, u.Scheme)
	}
	q := discover.ParseQuery(u.EscapedFragment())
	p := page{
		url:    place.String(),
		every:  q.Duration("every", every, 100*time.Millisecond, 30*time.Second),
		within: q.Duration("timeout", within, 100*time.Millisecond, time.Minute),
		token:  q.Secret("token_file"),
	}
	if place.Scheme == "https" {
		p.tls = q.TLS()
	}
	return p, q.Err()
}

// follow calls changed with the document when it is there and each time that it has changed, and
// same each time that the server says that it has not.
func (p *page) follow(ctx context.Context, changed func(text []byte) error, same func()) error {
	secure, err := p.tls.Load()
	if err != nil {
		return err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = secure
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t, Timeout: p.within, CheckRedirect: checkRedirect}
	ticks := time.NewTicker(p.every)
	defer ticks.Stop()
	var known http.Header // of the last answer
	for {
		answer, text, err := p.get(ctx, client, known)
		if err != nil {
			return err
		}
		if answer.StatusCode == http.StatusNotModified {
			same()
		} else {
			if err := changed(text); err != nil {
				return err
			}
			known = answer.Header
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// redirects is how many are followed, one after the other.
const redirects = 10

// checkRedirect refuses what would send the token, and get the document, without TLS.
func checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > redirects:
		return fmt.Errorf("the server redirects more than %d times", redirects)
	case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
		return fmt.Errorf("the server redirects from https to %s", r.URL.Redacted())
	}
	return nil
}

// get asks for the document, if it is not the one that known belongs to.
func (p *page) get(ctx context.Context, client *http.Client, known http.Header) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Accept", "application/json, application/toml")
	r.Header.Set("User-Agent", "weir")
	for condition, field := range map[string]string{"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"} {
		if value := known.Get(field); value != "" {
			r.Header.Set(condition, value)
		}
	}
	token, err := p.token.Read()
	if err != nil {
		return nil, nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, longest+1))
	switch {
	case answer.StatusCode == http.StatusNotModified && known != nil:
		return answer, nil, nil
	case answer.StatusCode != http.StatusOK:
		return nil, nil, discover.RetryAfter(errors.New("the server answers "+answer.Status), answer.Header.Get("Retry-After"))
	case err != nil:
		return nil, nil, err
	case len(text) > longest:
		return nil, nil, fmt.Errorf("the document has more than %d bytes", longest)
	}
	return answer, text, nil
}

// found is a document with endpoints, or entries.
type found[T any] struct {
	page
	parse      func(text []byte) (good []T, bad []error, err error)
	complaints *discover.Complaints
}

// Run reports what the document has.
func (s *found[T]) Run(ctx context.Context, report func([]T)) error {
	var last []T
	return s.follow(ctx, func(text []byte) error {
		good, bad, err := s.parse(text)
		if err != nil {
			return err
		}
		s.complaints.Tell(bad)
		last = good
		report(last)
		return nil
	}, func() { report(last) })
}

type documents struct{ page }

// Run reports the document as a part of the configuration.
func (d *documents) Run(ctx context.Context, report func(int64, []discover.Document)) error {
	var last []discover.Document
	return d.follow(ctx, func(text []byte) error {
		last = []discover.Document{{Name: d.url, Text: text}}
		report(0, last)
		return nil
	}, func() { report(0, last) })
}
