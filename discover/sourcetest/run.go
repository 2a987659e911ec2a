// Package sourcetest watches in tests what sources, catalogs and documents report.
package sourcetest

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/discover"
	"weir/internal/testkit"
	"weir/lb"
)

// Run is something that runs and reports.
type Run struct {
	testing.TB
	// Ended gets the error with which it ended.
	Ended chan error

	mu      sync.Mutex
	last    string
	reports int
}

// Open returns what f, of a scheme, makes of a URL.
func Open[S any](t testing.TB, f func(*url.URL, discover.SchemeOptions) (S, error), text string) S {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Follow runs f, which reports, until it fails or the test ends.
func Follow(t testing.TB, f func(context.Context, *Run) error) *Run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{TB: t, Ended: make(chan error, 1)}
	over := make(chan struct{})
	t.Cleanup(func() { cancel(); <-over })
	go func() {
		defer close(over)
		r.Ended <- f(ctx, r)
	}()
	return r
}

// Source runs the source of a scheme at a URL, and reports its endpoints as fmt.Sprint has them.
func Source(t testing.TB, s discover.Scheme, text string) *Run {
	t.Helper()
	from := Open(t, s.Source, text)
	return Follow(t, func(ctx context.Context, r *Run) error {
		return from.Run(ctx, func(list []lb.Endpoint) { r.Report(fmt.Sprint(list)) })
	})
}

// Catalog runs the catalog of a scheme at a URL, and reports its entries as "NAME/VERSION ENDPOINT", or "wrong" in
// place of an endpoint, sorted and joined by ", ".
func Catalog(t testing.TB, s discover.Scheme, text string) *Run {
	t.Helper()
	from := Open(t, s.Catalog, text)
	return Follow(t, func(ctx context.Context, r *Run) error {
		return from.Run(ctx, func(list []discover.Entry) {
			var texts []string
			for _, e := range list {
				text := e.URL
				if e.Wrong != nil {
					text = "wrong"
				}
				texts = append(texts, fmt.Sprint(discover.UpstreamName(e.Name, e.Version), " ", text))
			}
			slices.Sort(texts)
			r.Report(strings.Join(texts, ", "))
		})
	})
}

// Report notes what was reported.
func (r *Run) Report(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = text
	r.reports++
}

// Sees waits until this was reported last.
func (r *Run) Sees(want string) {
	r.Helper()
	var last string
	defer func() {
		if r.Failed() {
			r.Logf("reported last: %s", last)
		}
	}()
	testkit.Eventually(r, want+" is reported", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		last = r.last
		return r.reports > 0 && r.last == want
	})
}
