package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"weir/lb"
)

// Memory is a file that keeps what was found, and a registry, over a restart. The file is
// replaced as a whole, so that a process that is killed leaves the old one or the new one. A nil
// Memory keeps nothing.
type Memory struct {
	log   *slog.Logger
	timer *time.Timer

	// writing makes those who write take turns.
	writing sync.Mutex

	mu       sync.Mutex
	path     string                          // empty: nothing is written
	sources  map[string]map[string]foundList // by upstream and source
	registry func() []savedEntry             // nil: none
	restored []savedEntry
	// changes counts changes, and written is how many of them are in the file.
	changes, written uint64
	failed           bool
}

// foundList is what a source found.
type foundList struct {
	seen      time.Time
	endpoints []lb.Endpoint // never changed
}

// savedList is a foundList in the file.
type savedList struct {
	Seen      time.Time         `json:"seen"`
	Endpoints []json.RawMessage `json:"endpoints"`
}

// saved is the content of the file.
type saved struct {
	Registry []savedEntry                    `json:"registry"`
	Sources  map[string]map[string]savedList `json:"sources"`
}

// writeAfter is how long changes are collected before the file is written, unless Sync asks for
// it.
const writeAfter = time.Second

// heading is the first line of the file, with a checksum of the rest.
const heading = "weir discovery 1, crc32 %08x\n"

// OpenMemory reads the file at path, which need not be there; an empty path means that
// nothing is kept until Move. A file that is damaged is moved
// away to path.bad, and the memory begins empty: the error says so, and there is a Memory all
// the same. log gets failures of writing; nil means none.
func OpenMemory(path string, log *slog.Logger) (*Memory, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Memory{path: path, log: log, sources: make(map[string]map[string]foundList)}
	m.timer = time.AfterFunc(time.Hour, func() { m.Sync() })
	m.timer.Stop()
	if path == "" {
		return m, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("cannot read what was found before: %w", err)
	}
	if err := m.Load(text); err != nil {
		return m, errors.Join(fmt.Errorf("cannot use what was found before, %q is kept as %q: %w", path, path+".bad", err), os.Rename(path, path+".bad"))
	}
	return m, nil
}

// Load makes m know what Text of another Memory returned, in place of what it knows. It comes
// before a registry uses m.
func (m *Memory) Load(text []byte) error {
	content, err := unseal(text)
	if err != nil {
		return err
	}
	m.restored = content.Registry
	clear(m.sources)
	for upstream, lists := range content.Sources {
		m.sources[upstream] = make(map[string]foundList, len(lists))
		for source, list := range lists {
			m.sources[upstream][source] = list.found()
		}
	}
	return nil
}

// Text returns what m knows, as it stands in the file.
func (m *Memory) Text() []byte {
	m.mu.Lock()
	sources, registry := m.copySources(), m.registry
	m.mu.Unlock()
	return text(sources, registry)
}

// copySources returns what the sources of each upstream found. m.mu is held.
func (m *Memory) copySources() map[string]map[string]foundList {
	sources := make(map[string]map[string]foundList, len(m.sources))
	for upstream, lists := range m.sources {
		sources[upstream] = maps.Clone(lists)
	}
	return sources
}

// text returns the text of the file.
func text(sources map[string]map[string]foundList, registry func() []savedEntry) []byte {
	content := saved{Sources: make(map[string]map[string]savedList, len(sources))}
	for upstream, lists := range sources {
		content.Sources[upstream] = make(map[string]savedList, len(lists))
		for source, list := range lists {
			content.Sources[upstream][source] = list.saved()
		}
	}
	if registry != nil {
		content.Registry = registry() // locks the registry, which calls changed
	}
	return seal(content)
}

// seal returns the text of the file.
func seal(content saved) []byte {
	body, err := json.Marshal(content)
	if err != nil {
		panic("BUG: cannot encode what was found: " + err.Error())
	}
	return append(fmt.Appendf(nil, heading, crc32.ChecksumIEEE(body)), body...)
}

// unseal reads the text of the file.
func unseal(text []byte) (content saved, err error) {
	first, body, _ := bytes.Cut(text, []byte("\n"))
	if want := fmt.Sprintf(heading, crc32.ChecksumIEEE(body)); string(first)+"\n" != want {
		return content, errors.New("the checksum does not fit")
	}
	return content, json.Unmarshal(body, &content)
}

func (l savedList) found() foundList {
	list := foundList{seen: l.Seen}
	for _, text := range l.Endpoints {
		if e, err := ParseEndpoint(text); err == nil {
			list.endpoints = append(list.endpoints, e)
		}
	}
	return list
}

func (l foundList) saved() savedList {
	list := savedList{Seen: l.seen}
	for _, e := range l.endpoints {
		list.Endpoints = append(list.Endpoints, FormatEndpoint(e))
	}
	return list
}

// recall returns what a source found last, and when.
func (m *Memory) recall(upstream, source string) (found []lb.Endpoint, seen time.Time) {
	if m == nil {
		return nil, seen
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.sources[upstream][source]
	return list.endpoints, list.seen
}

// keep notes what a source found, which must not be changed any more.
func (m *Memory) keep(upstream, source string, found []lb.Endpoint, seen time.Time) {
	if m == nil {
		return
	}
	m.mu.Lock()
	if m.sources[upstream] == nil {
		m.sources[upstream] = make(map[string]foundList)
	}
	m.sources[upstream][source] = foundList{seen, found}
	m.mu.Unlock()
	m.changed()
}

// Retain drops what the sources of upstreams found that are not known any more.
func (m *Memory) Retain(known func(upstream string) bool) {
	m.mu.Lock()
	before := len(m.sources)
	maps.DeleteFunc(m.sources, func(upstream string, _ map[string]foundList) bool { return !known(upstream) })
	dropped := len(m.sources) != before
	m.mu.Unlock()
	if dropped {
		m.changed()
	}
}

// drop drops what a source found that an upstream does not have any more.
func (m *Memory) drop(upstream, source string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	delete(m.sources[upstream], source)
	m.mu.Unlock()
	m.changed()
}

// begin makes the memory keep what entries returns, and returns what it kept of that.
func (m *Memory) begin(entries func() []savedEntry) []savedEntry {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registry = entries
	restored := m.restored
	m.restored = nil
	return restored
}

// changed says that the file is out of date.
func (m *Memory) changed() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	if m.path != "" && m.changes == m.written+1 {
		m.timer.Reset(writeAfter)
	}
}

// Move makes path the file from now on; empty means that nothing is written any more.
func (m *Memory) Move(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if path == m.path {
		return
	}
	m.path, m.failed = path, false
	m.changes++
	if path != "" {
		m.timer.Reset(writeAfter)
	}
}

// Sync returns when all that was found before is in the file, and survives that the
// process is killed. Several callers at once share a write.
func (m *Memory) Sync() error {
	if m == nil {
		return nil
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	path, changes, registry := m.path, m.changes, m.registry
	if changes == m.written || path == "" {
		m.mu.Unlock()
		return nil
	}
	sources := m.copySources()
	m.mu.Unlock()
	err := replaceFile(path, text(sources, registry))
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if !m.failed {
			m.log.Error("cannot write what was found; it will be lost with a restart", "error", err)
		}
		m.failed = true
		m.timer.Reset(10 * writeAfter)
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	m.failed, m.written = false, changes
	if m.changes != changes {
		m.timer.Reset(writeAfter)
	}
	return nil
}

// Close writes what is not in the file yet, and ends writing.
func (m *Memory) Close() error {
	if m == nil {
		return nil
	}
	err := m.Sync()
	m.Move("")
	m.timer.Stop()
	return err
}

// replaceFile writes a file at once or not at all.
func replaceFile(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
