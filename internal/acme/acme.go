// Package acme gets certificates by itself and renews them: from a CA that speaks ACME (RFC
// 8555), or from a CA of weir's own for development. certmagic does the work; this package
// says for which names, keeps trying, and tells what came of it. Only main imports it, through
// server.WithIssuer.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/caddyserver/certmagic"

	"weir/admin"
	"weir/config"
)

// Opener opens the storage at a URL. It connects to nothing yet.
type Opener func(u *url.URL) (certmagic.Storage, error)

// Options are what a Manager needs besides the configuration.
type Options struct {
	// Log gets what the operator should know; nil means nothing.
	Log *slog.Logger
	// Folder is the storage if the configuration names none.
	Folder string
	// Openers open storages by the scheme of their URL. Folders are always there.
	Openers map[string]Opener
	// Retry is how long to wait after the first failure to reach a CA; 0 means 5 s. It doubles
	// each time. What a CA has refused waits 12 times as long.
	Retry time.Duration
	// Look is how often certificates are looked at for renewal; 0 means 10 minutes.
	Look time.Duration
}

// loadWithin bounds how long Use waits for certificates that the storage has.
const loadWithin = 10 * time.Second

// closeWithin bounds how long Close waits for the end of what runs.
const closeWithin = 5 * time.Second

// Manager is the issuer of a server. Its methods may be called from any goroutine.
type Manager struct {
	options Options
	log     *slog.Logger

	obtained, renewed, failures atomic.Uint64

	// kinds are the sources of certificates by the value of tls. The map is never changed.
	kinds atomic.Pointer[map[string]*source]
	// handed is what the last configuration says of listeners.
	handed atomic.Pointer[[]served]

	mu       sync.Mutex // makes Use and Close take turns
	storages map[string]certmagic.Storage
	closed   bool
}

// served are the names of a listener.
type served struct {
	address config.Address
	label   string
	tls     string
	names   []string
}

// New makes a manager, which does nothing until Use.
func New(o Options) *Manager {
	m := &Manager{options: o, log: o.Log, storages: make(map[string]certmagic.Storage)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.options.Retry == 0 {
		m.options.Retry = 5 * time.Second
	}
	m.kinds.Store(&map[string]*source{})
	m.handed.Store(&[]served{})
	return m
}

// Use puts a configuration into force. It returns when the certificates that the storage has
// are loaded, or after 10 seconds; what is lacking is got in the background, again and again until it is
// there. Names that the configuration does not have any more are served until drop is called, so that no
// handshake is lost meanwhile. On an error nothing has changed.
func (m *Manager) Use(cfg *config.Config) (drop func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errors.New("cannot get certificates: the manager is closed")
	}
	var listeners []served
	names := make(map[string][]string)
	for i := range cfg.Listeners {
		if l := &cfg.Listeners[i]; l.Issuer != "" {
			list := cfg.Domains(l)
			listeners = append(listeners, served{l.Address, l.Label(), l.Issuer, list})
			names[l.Issuer] = append(names[l.Issuer], list...)
		}
	}
	before := *m.kinds.Load()
	setups := make(map[string]*setup)
	for kind := range names {
		if s := before[kind]; s != nil && s.setup.Load().fits(cfg) {
			continue
		}
		if setups[kind], err = m.newSetup(kind, cfg); err != nil {
			return nil, err
		}
	}
	// Nothing below can fail.
	next, all := make(map[string]*source), maps.Clone(before)
	var drops []func()
	var loading sync.WaitGroup
	for kind, list := range names {
		s := before[kind]
		if s == nil {
			s = m.newSource(kind)
		}
		drops = append(drops, s.use(setups[kind], list, &loading))
		next[kind], all[kind] = s, s
	}
	m.kinds.Store(&all)
	m.handed.Store(&listeners)
	awaitAll(&loading, loadWithin)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.kinds.Store(&next)
		for _, drop := range drops {
			drop()
		}
		for kind, s := range all {
			if next[kind] == nil {
				go s.close() // what runs may have to clean up first
			}
		}
	}, nil
}

// awaitAll waits for all of a group, but not longer than limit.
func awaitAll(group *sync.WaitGroup, limit time.Duration) {
	all := make(chan struct{})
	go func() {
		group.Wait()
		close(all)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-all:
	case <-timer.C:
	}
}

// storage opens the storage that a configuration names, or returns the one that is open. m.mu is held.
func (m *Manager) storage(where string) (certmagic.Storage, error) {
	if s := m.storages[where]; s != nil {
		return s, nil
	}
	s, err := Open(where, m.options.Folder, m.options.Openers)
	if err == nil {
		m.storages[where] = s
	}
	return s, err
}

// Open opens a storage of certificates: the folder or URL in where, or else folder. It connects to
// nothing yet.
func Open(where, folder string, openers map[string]Opener) (certmagic.Storage, error) {
	if scheme, _, isURL := strings.Cut(where, "://"); isURL {
		open := openers[scheme]
		if open == nil {
			return nil, fmt.Errorf("found storage %q: want a folder, or a URL with one of %s", config.DisplayURL(where), config.OneOf(slices.Sorted(maps.Keys(openers))))
		}
		u, err := url.Parse(where)
		if err != nil {
			return nil, fmt.Errorf("cannot use storage %q: it is no URL", config.DisplayURL(where))
		}
		return open(u)
	}
	if where == "" {
		where = folder
	}
	if where == "" {
		return nil, errors.New("there is no folder for certificates: set certificates.storage")
	}
	return &certmagic.FileStorage{Path: where}, nil
}

// Certificate implements listener.Issuer.
func (m *Manager) Certificate(l *config.Listener, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := (*m.kinds.Load())[l.Issuer]
	if s == nil {
		return nil, nil
	}
	return s.certificate(m.first(l), hello, l.Timeouts.Handshake.D())
}

// first returns the name whose certificate is for clients that ask for none, or for one that the
// listener does not have; empty for none.
func (m *Manager) first(l *config.Listener) string {
	if l.StrictSNI || len(l.Certificates) > 0 {
		return ""
	}
	for _, s := range *m.handed.Load() {
		if s.address == l.Address && len(s.names) > 0 {
			return s.names[0]
		}
	}
	return ""
}

// Challenge returns what a CA wants to get for a path below "/.well-known/acme-challenge/" of a host
// (RFC 8555 section 8.3); ok is false if no weir with this storage has asked for that.
func (m *Manager) Challenge(host, path string) (answer string, ok bool) {
	if s := (*m.kinds.Load())[config.IssuerACME]; s != nil {
		return s.challenge(host, path)
	}
	return "", false
}

// Revoked renews a certificate that is revoked, if it is one in use.
func (m *Manager) Revoked(leaf *x509.Certificate) {
	for _, s := range *m.kinds.Load() {
		s.replaceRevoked(leaf)
	}
}

// Certificates returns the names of all listeners with tls, and how their certificates are.
func (m *Manager) Certificates() []admin.Certificate {
	list := []admin.Certificate{}
	kinds := *m.kinds.Load()
	for _, l := range *m.handed.Load() {
		s := kinds[l.tls]
		if s == nil {
			continue
		}
		for _, name := range append(slices.Clip(l.names), s.demandedNames()...) {
			c := s.state(name)
			c.Listener = l.label
			list = append(list, c)
		}
	}
	return list
}

// WriteMetrics writes how often certificates were asked for, in the format of Prometheus.
func (m *Manager) WriteMetrics(w io.Writer) {
	const name = "weir_certificates_issued_total"
	metrics.WriteCounterUint64(w, name+`{result="obtained"}`, m.obtained.Load())
	metrics.WriteCounterUint64(w, name+`{result="renewed"}`, m.renewed.Load())
	metrics.WriteCounterUint64(w, name+`{result="failed"}`, m.failures.Load())
}

// Close ends what runs in the background. Certificates that are there are still served. Calling it
// again does nothing.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	var ends sync.WaitGroup
	for _, s := range *m.kinds.Load() {
		ends.Go(s.close)
	}
	awaitAll(&ends, closeWithin)
	for _, s := range m.storages {
		if c, ok := s.(io.Closer); ok {
			c.Close()
		}
	}
}

// fits says whether a setup is right for a configuration.
func (s *setup) fits(cfg *config.Config) bool {
	return reflect.DeepEqual(s.settings, cfg.Certificates) && slices.Equal(s.challenges, cfg.Challenges())
}

// within returns a context for one question to the storage that a client waits for.
func within(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}
