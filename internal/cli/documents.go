package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"weir/config"
	"weir/discover"
	"weir/server"
)

// documentsWait is how long a source of parts of the configuration may take to report.
const documentsWait = 10 * time.Second

// documents reads the configuration, with parts that are kept elsewhere, and follows those.
type documents struct {
	*discover.Reader
	log lateLog
	// asKept says that what is kept is loaded, whatever sources have now.
	asKept atomic.Bool
}

// newDocuments returns documents whose log is standard error until there is another one.
func newDocuments() *documents {
	d := new(documents)
	d.log.use(slog.NewTextHandler(os.Stderr, nil))
	d.Reader = discover.NewReader(schemes(), documentsWait, slog.New(&d.log))
	return d
}

// load reads the file at path, and what it includes. The error has everything that is wrong with
// it.
func (d *documents) load(path string) (*config.Config, error) {
	l := config.Loader{Environ: os.Environ(), Optional: path == defaultConfig, Fetch: func(url, kept string) (version int64, list []config.Document, err error) {
		read := d.Read
		if d.asKept.Load() {
			read = d.ReadKept
		}
		version, found, err := read(url, keptDocuments(kept))
		for _, document := range found {
			list = append(list, config.Document(document))
		}
		return version, list, err
	}}
	cfg, err := l.Load(path, server.CheckParts, server.CheckSources(schemes()...), server.CheckFiles, checkTiers, checkPlaces, checkCertificates, checkTracing)
	if problems, ok := errors.AsType[config.Errors](err); ok {
		return nil, fmt.Errorf("%s has %s:\n%w", path, count(len(problems), "problem"), problems)
	}
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// start calls read, which loads the configuration for a start. If that fails and there are documents from
// before the start, it is loaded with those: a mistake in a document must not keep weir from starting.
func (d *documents) start(read func() (*config.Config, error)) (*config.Config, error) {
	cfg, wrong := read()
	if wrong == nil {
		return cfg, nil
	}
	d.asKept.Store(true)
	defer d.asKept.Store(false)
	cfg, err := read()
	if err != nil || len(cfg.Documents()) == 0 {
		return nil, wrong
	}
	slog.New(&d.log).Error("documents of the configuration cannot be used, those of before the start are", "error", wrong)
	return cfg, nil
}

// keptDocuments is the file that keeps documents beside what discovery.persist names.
func keptDocuments(persist string) string {
	if persist == "" {
		return ""
	}
	return persist + ".config"
}

// used goes on with the documents of a configuration that is in force now, and keeps them.
func (d *documents) used(cfg *config.Config) {
	versions := make(map[string]int64)
	for _, document := range cfg.Documents() {
		versions[document.URL] = document.Version
	}
	d.Retain(versions)
	if err := d.Keep(keptDocuments(cfg.Discovery.Persist), versions); err != nil {
		slog.New(&d.log).Warn("the configuration works, but a restart may not", "error", err)
	}
}

// load reads the configuration at path once.
func load(path string) (*config.Config, error) {
	d := newDocuments()
	defer d.Close()
	return d.load(path)
}

// lateLog is the handler of a log that may be replaced.
type lateLog struct{ to atomic.Pointer[slog.Handler] }

func (l *lateLog) use(h slog.Handler) { l.to.Store(&h) }

func (l *lateLog) Enabled(ctx context.Context, level slog.Level) bool {
	return (*l.to.Load()).Enabled(ctx, level)
}

func (l *lateLog) Handle(ctx context.Context, r slog.Record) error {
	return (*l.to.Load()).Handle(ctx, r)
}

func (l *lateLog) WithAttrs(attrs []slog.Attr) slog.Handler { return (*l.to.Load()).WithAttrs(attrs) }

func (l *lateLog) WithGroup(name string) slog.Handler { return (*l.to.Load()).WithGroup(name) }
