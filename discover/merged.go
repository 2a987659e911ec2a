package discover

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/lb"
)

// reportPause is the least time between two reports of a Merged.
const reportPause = 50 * time.Millisecond

// Merged is a Catalog of parts that run side by side, such as one for each service. A part that fails
// keeps what it reported last, and is run again; it does not hold up the others. Make it with NewMerged.
type Merged struct {
	log *slog.Logger

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before it
	parts   map[string]*part
	running sync.WaitGroup
	// complete says that Set was called.
	complete bool
	// changed has a token when there is something to report.
	changed chan struct{}
}

// part is a Catalog that fills a Merged.
type part struct {
	*runner
	catalog Catalog
	cancel  context.CancelFunc
	// Merged.mu guards the rest. entries are the last report; failing is why the part fails since then.
	entries  []Entry
	reported bool
	failing  error
}

// NewMerged returns a Merged without parts. log gets what happens to single parts; nil means none.
func NewMerged(log *slog.Logger) *Merged {
	return &Merged{log: log, parts: make(map[string]*part), changed: make(chan struct{}, 1)}
}

// Set makes the parts be those of these names, which appear in logs: parts that are there already go on, and make makes
// the others. It is called before Run, or by something that ends before the context of Run does.
func (m *Merged) Set(names []string, make func(name string) Catalog) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete = true
	for name, p := range m.parts {
		if !slices.Contains(names, name) {
			if p.cancel != nil {
				p.cancel()
			}
			delete(m.parts, name)
		}
	}
	for _, name := range names {
		if m.parts[name] == nil {
			p := &part{runner: newRunner(name, m.log, nil), catalog: make(name)}
			m.parts[name] = p
			m.start(p)
		}
	}
	m.touch()
}

// start runs a part if Run has begun. mu is held.
func (m *Merged) start(p *part) {
	if m.ctx == nil {
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	p.cancel = cancel
	m.running.Go(func() {
		defer cancel()
		p.keep(ctx, func(ctx context.Context) error {
			err := p.catalog.Run(ctx, func(entries []Entry) { m.take(p, entries, nil) })
			if err != nil && ctx.Err() == nil {
				m.take(p, nil, err)
			}
			return err
		})
	})
}

// take takes in a report of a part, or its failure.
func (m *Merged) take(p *part, entries []Entry, failed error) {
	if failed == nil {
		p.confirmed(time.Now())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.failing = failed; failed == nil {
		p.entries, p.reported = slices.Clone(entries), true
	}
	m.touch()
}

func (m *Merged) touch() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run implements Catalog. It reports once each part has reported or failed, and fails itself when all
// parts do.
func (m *Merged) Run(ctx context.Context, report func([]Entry)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.stop(cancel)
	m.mu.Lock()
	m.ctx = ctx
	for _, p := range m.parts {
		p.failing = nil // that was in another Run
		m.start(p)
	}
	m.touch()
	m.mu.Unlock()
	for {
		select {
		case <-m.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		all, known, err := m.all()
		if err != nil {
			return err
		}
		if known {
			report(all)
		}
		if err := Sleep(ctx, reportPause); err != nil {
			return err
		}
	}
}

// RunWith is Run beside fill, which calls Set until its context ends. The end of either ends the other, and the
// error is that of the first.
func (m *Merged) RunWith(ctx context.Context, report func([]Entry), fill func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	merging := make(chan error, 1)
	go func() {
		defer cancel()
		merging <- m.Run(ctx, report)
	}()
	filled := fill(ctx)
	cancel()
	if merged := <-merging; !errors.Is(merged, context.Canceled) {
		return merged
	}
	return cmp.Or(filled, ctx.Err())
}

// stop ends all parts, which stay for the next Run with what they reported.
func (m *Merged) stop(cancel context.CancelFunc) {
	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	cancel()
	m.running.Wait()
}

// all returns what all parts have, whether that is all that is to be known now, and an error if every part
// fails.
func (m *Merged) all() (all []Entry, known bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known = m.complete
	failing := 0
	for _, name := range slices.Sorted(maps.Keys(m.parts)) {
		p := m.parts[name]
		all = append(all, p.entries...)
		if p.failing != nil {
			failing++
			err = cmp.Or(err, p.failing)
		} else if !p.reported {
			known = false
		}
	}
	if failing > 0 && failing == len(m.parts) {
		return nil, false, err
	}
	return all, known, nil
}

// ServiceCatalog returns a Catalog of one service, whose endpoints a source finds.
func ServiceCatalog(name, version string, source Source) Catalog {
	return serviceCatalog{name, version, source}
}

type serviceCatalog struct {
	name, version string
	source        Source
}

func (c serviceCatalog) Run(ctx context.Context, report func([]Entry)) error {
	return c.source.Run(ctx, func(list []lb.Endpoint) { report(EntriesOf(c.name, c.version, list)) })
}

// EntriesOf returns the entries of a service that has these endpoints.
func EntriesOf(name, version string, list []lb.Endpoint) []Entry {
	entries := make([]Entry, len(list))
	for i, e := range list {
		entries[i] = Entry{Name: name, Version: version, Endpoint: e}
	}
	return entries
}
