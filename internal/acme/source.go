package acme

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"weir/admin"
	"weir/config"
)

// source gets and keeps the certificates of one value of tls.
type source struct {
	manager *Manager
	kind    string
	cache   *certmagic.Cache
	setup   atomic.Pointer[setup]
	ctx     context.Context // ends with the source
	stop    context.CancelFunc
	once    sync.Once

	// running are the goroutines of background. They begin under mu.
	running sync.WaitGroup

	// names are those that are got without being asked for; the map is never changed. naming guards the
	// choice of the next map, and what is forgotten because it is not in it.
	names  atomic.Pointer[map[string]*managed]
	naming sync.Mutex

	mu       sync.Mutex
	demanded recent           // names that were got on demand
	errs     map[string]error // why the last attempt for a name failed
}

// managed is a name that is got without being asked for.
type managed struct {
	stop context.CancelFunc
	done chan struct{} // closed when no goroutine tries any more
	mu   sync.Mutex
	next time.Time // of the next attempt; zero if none is to come
}

// newSource makes a source, which does nothing until use.
func (m *Manager) newSource(kind string) *source {
	s := &source{manager: m, kind: kind, demanded: recent{at: make(map[string]*list.Element)}, errs: make(map[string]error)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.names.Store(&map[string]*managed{})
	o := certmagic.CacheOptions{
		GetConfigForCert: func(c certmagic.Certificate) (*certmagic.Config, error) {
			return s.setup.Load().configFor(c.Names, s), nil
		},
		Logger: quiet(m.log),
	}
	if m.options.Look > 0 {
		o.RenewCheckInterval = m.options.Look
	}
	s.cache = certmagic.NewCache(o)
	return s
}

// use puts a setup and a list of names into force. A nil setup means that it stays. loading is done when all
// new names are loaded that the storage has. Other names stay until drop is called.
func (s *source) use(next *setup, list []string, loading *sync.WaitGroup) (drop func()) {
	anew := next != nil
	if anew {
		next.bind(s)
		if before := s.setup.Swap(next); before != nil {
			before.close()
		}
	}
	before := *s.names.Load()
	names := make(map[string]*managed, len(list))
	var begin []string
	for _, name := range list {
		switch known := before[name]; {
		case names[name] != nil:
		case known != nil && !anew:
			names[name] = known
		default:
			names[name] = &managed{done: make(chan struct{})}
			begin = append(begin, name)
		}
	}
	all := maps.Clone(names)
	for name, n := range before {
		if names[name] != n {
			n.stop()
		}
		if names[name] == nil {
			all[name] = n
		}
	}
	s.naming.Lock()
	s.names.Store(&all)
	s.naming.Unlock()
	for _, name := range begin {
		n := names[name]
		var ctx context.Context
		ctx, n.stop = context.WithCancel(s.ctx)
		loading.Add(1)
		go s.manage(ctx, name, n, before[name], sync.OnceFunc(loading.Done))
	}
	return func() { s.drop(all, names) }
}

// drop lets go of all names but those that are to stay. An attempt that is under way for one of them may
// have to clean up first, which nobody waits for.
func (s *source) drop(all, stay map[string]*managed) {
	s.naming.Lock()
	s.names.Store(&stay)
	s.naming.Unlock()
	for name, n := range all {
		if stay[name] != nil {
			continue
		}
		s.forget(name)
		select {
		case <-n.done:
		default:
			go func() {
				<-n.done
				s.forget(name)
			}()
		}
	}
	if s.setup.Load().onDemand == nil {
		for _, name := range s.demandedNames() {
			s.forget(name)
		}
	}
}

// forget drops what is known of a name, if it is not one of those that are got without being asked for.
func (s *source) forget(name string) {
	s.naming.Lock()
	defer s.naming.Unlock()
	if (*s.names.Load())[name] != nil {
		return
	}
	s.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demanded.remove(name)
	delete(s.errs, name)
}

// manage tries until there is a certificate for a name, which the cache then renews. loaded is
// called as soon as it is known whether the storage has one. before tried by an older setup.
func (s *source) manage(ctx context.Context, name string, n, before *managed, loaded func()) {
	defer close(n.done)
	defer loaded()
	if before != nil {
		<-before.done
	}
	for tries := 0; ; tries++ {
		err := s.get(ctx, name, loaded)
		loaded()
		if err == nil || ctx.Err() != nil {
			n.setNext(time.Time{})
			return
		}
		wait := s.manager.wait(err, tries)
		s.note(name, err)
		n.setNext(time.Now().Add(wait))
		s.manager.log.Warn("cannot get a certificate, clients that ask for this name cannot connect", "name", name, "tls", s.kind, "error", err, "again_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// get takes the certificate for a name from the storage, or from the CA.
func (s *source) get(ctx context.Context, name string, loaded func()) error {
	setup := s.setup.Load()
	cert, err := s.load(ctx, setup, name)
	if errors.Is(err, fs.ErrNotExist) {
		if s.kind == config.IssuerACME { // the local CA answers at once, and is waited for
			loaded()
		}
		err = s.obtain(ctx, setup, name)
		if isAccountForgotten(err) {
			s.manager.log.Info("the CA does not know the account any more, a new one is used", "name", name)
			err = s.obtain(ctx, setup, name)
		}
		if err == nil {
			cert, err = s.load(ctx, setup, name)
		}
	}
	if err != nil {
		return err
	}
	if cert.NeedsRenewal(setup.config) {
		return s.cache.RenewManagedCertificates(s.ctx)
	}
	return nil
}

// obtain asks the CA once.
func (s *source) obtain(ctx context.Context, setup *setup, name string) error {
	ctx, a := newAttempt(ctx, false)
	defer a.cancel()
	return a.result(setup.config.ObtainCertAsync(ctx, name))
}

// load takes the certificate for a name from the storage into memory, in place of others for the name.
func (s *source) load(ctx context.Context, setup *setup, name string) (certmagic.Certificate, error) {
	cert, err := setup.config.CacheManagedCertificate(ctx, name)
	if err != nil {
		return cert, err
	}
	s.note(name, nil)
	for _, old := range s.cache.AllMatchingCertificates(name) {
		if old.Hash() != cert.Hash() && slices.Equal(old.Names, cert.Names) {
			s.cache.Remove([]string{old.Hash()}) // of another CA, or older
		}
	}
	return cert, nil
}

// background runs f until the source is closed, which waits for it.
func (s *source) background(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		s.running.Go(f)
	}
}

// wait returns how long to wait after an error.
func (m *Manager) wait(err error, tries int) time.Duration {
	first, most := m.options.Retry, 120*m.options.Retry // 10 minutes
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		first, most = 12*first, 4320*first                                                                  // 1 minute, 6 hours: the CA counts what it has refused
		if problem.Type == acme.ProblemTypeRateLimited && problem.Status != http.StatusServiceUnavailable { // which says that it is busy
			first *= 60
		}
	}
	return min(first<<min(tries, 12), most)
}

// note remembers why the last attempt for a name failed; nil if it worked.
func (s *source) note(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.errs, name)
	} else {
		s.errs[name] = err
	}
}

func (n *managed) setNext(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = at
}

// isManaged says whether a name is got without being asked for, by itself or by a wildcard.
func (s *source) isManaged(name string) bool {
	names := *s.names.Load()
	if names[name] != nil {
		return true
	}
	_, parent, ok := strings.Cut(name, ".")
	return ok && names["*."+parent] != nil
}

// certificate returns the certificate for a handshake, which may take limit. fallback is the name
// that stands for any other; empty for none.
func (s *source) certificate(fallback string, hello *tls.ClientHelloInfo, limit time.Duration) (*tls.Certificate, error) {
	setup := s.setup.Load()
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmez.ACMETLS1Protocol {
		ctx, done := within(challengeWithin)
		defer done()
		return setup.config.GetCertificateWithContext(ctx, hello)
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" && hello.Conn != nil { // clients of addresses send no name
		if host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String()); err == nil {
			name = host
		}
	}
	switch {
	case s.isManaged(name):
	case setup.onDemand != nil && hello.ServerName != "":
		return setup.demand(hello, limit), nil
	case fallback == "":
		return nil, nil
	default:
		name = fallback
	}
	asked := *hello
	asked.ServerName = strings.Replace(name, "*", "any", 1)
	found, err := setup.config.GetCertificateWithContext(hello.Context(), &asked)
	if err != nil {
		return nil, nil // it is not there yet, which the log has
	}
	return found, nil
}

// demandedNames returns the names that were got on demand and are still there.
func (s *source) demandedNames() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.demanded.at {
		if len(s.cache.AllMatchingCertificates(name)) == 0 {
			s.demanded.remove(name)
			continue
		}
		list = append(list, name)
	}
	return list
}

// state returns how the certificate of a name is.
func (s *source) state(name string) admin.Certificate {
	c := admin.Certificate{Name: name, Source: s.kind}
	for _, cert := range s.cache.AllMatchingCertificates(name) {
		if leaf := cert.Leaf; leaf != nil && slices.Contains(cert.Names, name) && (c.NotAfter == nil || leaf.NotAfter.After(*c.NotAfter)) {
			c.NotBefore, c.NotAfter, c.Issuer = &leaf.NotBefore, &leaf.NotAfter, leaf.Issuer.CommonName
		}
	}
	s.mu.Lock()
	if err := s.errs[name]; err != nil {
		c.Error = err.Error()
	}
	s.mu.Unlock()
	if n := (*s.names.Load())[name]; n != nil {
		n.mu.Lock()
		if !n.next.IsZero() {
			next := n.next
			c.Retry = &next
		}
		n.mu.Unlock()
	}
	return c
}

// close ends all attempts and the renewal. Certificates that are there stay.
func (s *source) close() {
	s.once.Do(func() {
		s.mu.Lock() // background begins nothing after this
		s.stop()
		s.mu.Unlock()
		for _, n := range *s.names.Load() {
			<-n.done
		}
		s.running.Wait()
		s.cache.Stop()
		s.setup.Load().close()
	})
}
