package discover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"weir/config"
)

// Reader reads parts of a configuration by the URLs of their sources, and follows them from then
// on. Its methods may be called by many goroutines at once. Close it.
type Reader struct {
	schemes Schemes
	log     *slog.Logger
	wait    time.Duration
	changed chan struct{}

	mu       sync.Mutex
	followed map[string]*shelf // by URL
}

// keptWait bounds the wait for a source whose documents are known from before the start.
const keptWait = 2 * time.Second

// shelf is the documents at one URL.
type shelf struct {
	cancel context.CancelFunc
	runner *runner
	ended  chan struct{} // closed when the source runs no more
	ready  chan struct{} // closed at the first report

	// Reader.mu guards the rest.

	reported  bool
	stale     bool // Read has returned documents from before the start
	version   int64
	documents []Document
}

// NewReader returns a Reader. wait is how long Read waits for the first report of a source. log gets
// what is wrong with sources; nil means none.
func NewReader(schemes Schemes, wait time.Duration, log *slog.Logger) *Reader {
	return &Reader{schemes: schemes, log: log, wait: wait, changed: make(chan struct{}, 1), followed: make(map[string]*shelf)}
}

// Changed receives after documents have changed that Read has returned.
func (r *Reader) Changed() <-chan struct{} { return r.changed }

// Read returns the documents at a URL, at least one, and the version of all of them. If the source does
// not report in time, Read returns those that Keep wrote to the file kept, whose name may be empty, or
// an error.
func (r *Reader) Read(url, kept string) (version int64, documents []Document, err error) {
	s, err := r.follow(url)
	if err != nil {
		return 0, nil, err
	}
	before, _ := readKept(kept)
	last := before[config.DisplayURL(url)]
	wait := r.wait
	if len(last.Documents) > 0 {
		wait = min(wait, keptWait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.ready:
	case <-timer.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.reported {
		if len(s.documents) == 0 {
			return 0, nil, errors.New("there are no documents")
		}
		return s.version, s.documents, nil
	}
	reason := fmt.Sprintf("nothing was heard for %s", wait)
	if status := s.runner.status(); status.Failing != "" {
		reason = status.Failing
	}
	if len(last.Documents) > 0 {
		s.stale = true
		s.runner.log.Warn("a source of the configuration fails, what it had before the start is used", "source", s.runner.name, "error", reason)
		return last.Version, last.Documents, nil
	}
	return 0, nil, errors.New(reason)
}

// ReadKept is Read of what Keep wrote, whatever the source has now. Later changes are told by Changed.
func (r *Reader) ReadKept(url, kept string) (version int64, documents []Document, err error) {
	if _, err := r.follow(url); err != nil {
		return 0, nil, err
	}
	all, err := readKept(kept)
	last := all[config.DisplayURL(url)]
	if err == nil && len(last.Documents) == 0 {
		err = errors.New("there are no documents from before the start")
	}
	return last.Version, last.Documents, err
}

// follow begins to follow a URL, unless that is done already.
func (r *Reader) follow(url string) (*shelf, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.followed[url]; s != nil {
		return s, nil
	}
	log := r.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	source, err := r.schemes.Documents(url, SchemeOptions{Log: log})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &shelf{cancel: cancel, runner: newRunner(config.DisplayURL(url), log, nil), ended: make(chan struct{}), ready: make(chan struct{})}
	r.followed[url] = s
	go func() {
		defer close(s.ended)
		s.runner.keep(ctx, func(ctx context.Context) error {
			return source.Run(ctx, func(version int64, documents []Document) { r.report(s, version, documents) })
		})
	}()
	return s, nil
}

// report takes in what a source found. That there is nothing any more is not believed, because it
// would end all that the documents had.
func (r *Reader) report(s *shelf, version int64, documents []Document) {
	s.runner.confirmed(time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	same := slices.EqualFunc(s.documents, documents, func(a, b Document) bool { return a.Name == b.Name && string(a.Text) == string(b.Text) })
	switch {
	case s.reported && same:
		return
	case len(documents) == 0 && len(s.documents) > 0:
		s.runner.log.Warn("a source of the configuration has no documents any more, the last ones stay", "source", s.runner.name)
		return
	}
	if version == 0 {
		version = s.version + 1
	}
	s.version, s.documents = version, slices.Clone(documents)
	if !s.reported {
		s.reported = true
		close(s.ready)
		if !s.stale {
			return
		}
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Retain ends the following of all URLs that are not in versions.
func (r *Reader) Retain(versions map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for url, s := range r.followed {
		if _, used := versions[url]; !used {
			s.cancel()
			delete(r.followed, url)
		}
	}
}

// Close ends all following, and waits until nothing runs any more.
func (r *Reader) Close() {
	r.mu.Lock()
	all := r.followed
	r.followed = make(map[string]*shelf)
	r.mu.Unlock()
	for _, s := range all {
		s.cancel()
	}
	for _, s := range all {
		<-s.ended
	}
}

// keptDocuments are the documents at a URL, in a file.
type keptDocuments struct {
	Version   int64      `json:"version"`
	Documents []Document `json:"documents"`
}

// Keep writes the documents of these versions, by URL, to a file, for Read after a restart. Of a URL
// whose documents are others by now the file keeps what it has. Nothing is written if path is empty.
func (r *Reader) Keep(path string, versions map[string]int64) error {
	if path == "" || len(versions) == 0 {
		return nil
	}
	before, _ := readKept(path)
	all := make(map[string]keptDocuments)
	r.mu.Lock()
	for url, version := range versions {
		name := config.DisplayURL(url)
		if k, ok := before[name]; ok {
			all[name] = k
		}
		if s := r.followed[url]; s != nil && s.reported && s.version == version {
			all[name] = keptDocuments{version, s.documents}
		}
	}
	r.mu.Unlock()
	text, err := json.Marshal(all)
	if err != nil {
		panic("BUG: cannot encode documents: " + err.Error())
	}
	if err := replaceFile(path, text); err != nil {
		return fmt.Errorf("cannot keep the documents of the configuration: %w", err)
	}
	return nil
}

func readKept(path string) (all map[string]keptDocuments, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}
