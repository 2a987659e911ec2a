package listener

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/config"
	"weir/internal/secure"
)

// Accept errors such as a used-up descriptor table (EMFILE) pass when a
// descriptor is closed: the loop waits this long, doubling, and retries. It also
// retries when one of the listener's own connections ends.
const (
	minAcceptWait = 5 * time.Millisecond
	maxAcceptWait = time.Second
)

// Listener accepts the clients of one address. Its methods may be called from
// any goroutine.
type Listener struct {
	address  config.Address
	options  Options
	sockets  []net.Listener
	settings atomic.Pointer[settings]
	// tls is the Config of every handshake. It stays the same across updates,
	// because it owns the session ticket keys; the settings' own Config is
	// chosen by its GetConfigForClient.
	tls *tls.Config
	// tickets has those keys.
	tickets *secure.Tickets
	// rotation is when they change.
	rotation *time.Timer
	staples  *secure.Staples
	// updating makes Update and the certificate watch take turns.
	updating sync.Mutex

	accepted     atomic.Uint64
	paused       atomic.Uint64
	acceptErrors atomic.Uint64

	// visitor is the address of the running visit; nil if there is none.
	visitor  atomic.Pointer[netip.AddrPort]
	visiting sync.Mutex
	visited  bool         // a visit came through; guarded by visiting
	waits    atomic.Int32 // accept loops that wait for room

	// freed has a token when a connection ended: a descriptor may be free.
	freed chan struct{}
	// done is closed by Close, which sets closed before, with mu held.
	done   chan struct{}
	closed atomic.Bool
	// background are the accept loops and the certificate watch.
	background sync.WaitGroup
	// cutting are the closings that Abort began, with mu held.
	cutting sync.WaitGroup

	mu sync.Mutex
	// changed is signalled, if waiting is not 0, when a connection
	// ends, the settings change or the listener closes.
	changed   *sync.Cond
	waiting   int
	shared    bool // another process accepts from the sockets, too
	aborted   bool
	handle    func(*Conn) // nil until Serve
	conns     map[*Conn]struct{}
	lingering int // how many of conns have had their last answer
	perClient map[netip.Addr]int
	refused   map[Reason]uint64
}

// settings are what Update replaces as a whole.
type settings struct {
	config       config.Listener
	tls          *tls.Config               // nil: no TLS
	old          *tls.Config               // for clients of TLS 1.1 and older; nil: none may be so old
	certificates *certificates             // nil: none in files
	issuer       Issuer                    // nil: none
	staples      *secure.Staples           // nil: none are shown
	secrets      *secure.Watched[[][]byte] // of session tickets
	trust        *secure.Watched[*clientTrust]
	trusted      *clientTrust // what trust had when tls was made, by which handshakes verify clients; nil: no TLS
	ech          *secure.Watched[[]tls.EncryptedClientHelloKey]
}

// Open starts to listen on cfg.Address and reads cfg's certificates; from then
// on the kernel queues clients until Serve takes them. cfg must have passed the
// checks of package config; it is copied.
//
// A socket file on which no process answers is replaced; one on which a running process
// answers, and any other file, is an error. An address that is in use is an
// error that errors.Is finds as syscall.EADDRINUSE.
func Open(cfg *config.Listener, options Options) (*Listener, error) {
	l := &Listener{
		address:   cfg.Address,
		options:   options,
		freed:     make(chan struct{}, 1),
		done:      make(chan struct{}),
		conns:     make(map[*Conn]struct{}),
		perClient: make(map[netip.Addr]int),
		refused:   make(map[Reason]uint64),
		tickets:   secure.NewTickets(options.Tickets),
		rotation:  time.NewTimer(longestRotation),
	}
	l.changed = sync.NewCond(&l.mu)
	l.staples = secure.NewStaples(secure.StaplesOptions{OnChange: options.OnStaple, OnRevoked: options.OnRevoked, Keep: l.isFromFile})
	l.tls = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			s, err := l.settingsOf(hello)
			if err != nil {
				return nil, err
			}
			return s.forClient(hello), nil
		},
		GetEncryptedClientHelloKeys: func(hello *tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) {
			s, err := l.settingsOf(hello)
			if err != nil {
				return nil, err
			}
			return s.ech.Value(), nil
		},
	}
	s, err := l.newSettings(cfg)
	if err != nil {
		return nil, err
	}
	l.use(s)
	if options.Socket != nil {
		l.sockets = []net.Listener{options.Socket}
		return l, nil
	}
	if l.sockets, err = openSockets(cfg.Address, options.Inherited); err != nil {
		l.staples.Close()
		return nil, fmt.Errorf("cannot listen on %q: %w", cfg.Address, err)
	}
	return l, nil
}

// newSettings reads what cfg names.
func (l *Listener) newSettings(cfg *config.Listener) (_ *settings, err error) {
	s := &settings{config: *cfg}
	if !cfg.Secure() && len(cfg.PassThrough) == 0 {
		return s, nil
	}
	if len(cfg.Certificates) > 0 {
		certificates, err := loadCertificates(cfg.Certificates)
		if err != nil {
			return nil, err
		}
		s.certificates = certificates
	}
	if cfg.Issuer != "" {
		s.issuer = l.options.Issuer
	}
	if cfg.OCSPStapling {
		s.staples = l.staples
	}
	s.tls = &tls.Config{
		NextProtos:     nextProtos(cfg),
		GetCertificate: s.certificate,
	}
	cfg.TLS().Apply(s.tls)
	if s.trust, err = secure.Watch(func() (*clientTrust, error) { return loadTrust(&s.config) }, cfg.ClientCA, cfg.ClientCRL); err != nil {
		return nil, err
	}
	s.askForCertificates(s.tls)
	s.tls.SessionTicketsDisabled = !cfg.Tickets.Enabled
	load := func() ([][]byte, error) { return secure.LoadSecrets(cfg.Tickets.File) }
	if s.secrets, err = secure.Watch(load, cfg.Tickets.File); err != nil {
		return nil, err
	}
	if s.ech, err = secure.Watch(func() ([]tls.EncryptedClientHelloKey, error) { return loadECH(cfg.ECH) }, cfg.ECH...); err != nil {
		return nil, err
	}
	s.tls.GetEncryptedClientHelloKeys = l.tls.GetEncryptedClientHelloKeys // for keys that are offered to clients
	s.old = withoutHTTP2(s.tls)
	return s, nil
}

// loadECH reads keys of Encrypted Client Hello.
func loadECH(paths []string) (keys []tls.EncryptedClientHelloKey, err error) {
	found, err := secure.LoadECH(paths)
	for _, key := range found {
		keys = append(keys, key.EncryptedClientHelloKey)
	}
	return keys, err
}

// forClient is the configuration for one client.
func (s *settings) forClient(hello *tls.ClientHelloInfo) *tls.Config {
	if s.asksChallenge(hello) {
		return s.challenge()
	}
	if s.old != nil && slices.Max(hello.SupportedVersions) < tls.VersionTLS12 {
		return s.old
	}
	return s.tls
}

// withoutHTTP2 is cfg for clients of TLS 1.1 and older, which may not speak HTTP/2 (RFC 9113 section
// 9.2); nil if cfg refuses them all.
func withoutHTTP2(cfg *tls.Config) *tls.Config {
	if cfg.MinVersion >= tls.VersionTLS12 {
		return nil
	}
	old := cfg.Clone()
	old.NextProtos = slices.DeleteFunc(slices.Clone(cfg.NextProtos), func(p string) bool { return p == config.ProtocolH2 })
	return old
}

// nextProtos are the protocols that a handshake may choose (ALPN), the best first.
func nextProtos(cfg *config.Listener) (list []string) {
	if cfg.Speaks(config.ProtocolH2) {
		list = append(list, config.ProtocolH2)
	}
	if cfg.Speaks(config.ProtocolH1) {
		list = append(list, "http/1.1")
	}
	return list
}

// Update replaces everything but the socket: certificates (read now), limits,
// timeouts, PROXY protocol, name. Open connections and running handshakes keep
// what they began with, but for Config, which tells the new. On an error
// nothing has changed. A cfg with another address than Address is an error:
// that is another listener.
func (l *Listener) Update(cfg *config.Listener) error {
	if cfg.Address != l.address {
		return fmt.Errorf("cannot move listener %q to address %q: open a new one", l.address, cfg.Address)
	}
	s, err := l.newSettings(cfg)
	if err != nil {
		return err
	}
	l.updating.Lock()
	l.use(s)
	l.updating.Unlock()
	l.mu.Lock()
	l.changed.Broadcast() // limits.connections may have grown
	l.mu.Unlock()
	return nil
}

// Address returns the address as configured. It is the listener's identity: a
// reload keeps the listener of each address that is still there.
func (l *Listener) Address() config.Address { return l.address }

// Addrs returns where the listener really listens: the port that the kernel
// chose for port 0, and one for each socket that systemd passed.
func (l *Listener) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(l.sockets))
	for i, s := range l.sockets {
		addrs[i] = s.Addr()
	}
	return addrs
}

// Config returns the configuration in force. It is shared: do not change it.
func (l *Listener) Config() *config.Listener { return &l.settings.Load().config }

// Name returns the configured name, or the address if it has none.
func (l *Listener) Name() string { return l.Config().Label() }

// Serve accepts clients until Close and then returns nil; connections may live
// longer (see Wait). Each connection gets a goroutine of its own that reads the
// PROXY header and does the TLS handshake if the settings ask for them, both
// within timeouts.handshake, and then calls handle. The connection is handle's
// until it returns; then it is closed. Serve may be called once, and not after Close.
//
// If Options.Socket fails for good, or is closed by its owner, Serve returns the error. Close is still to be called.
func (l *Listener) Serve(handle func(*Conn)) error {
	l.mu.Lock()
	if l.handle != nil {
		panic("BUG: Serve was called twice")
	}
	if l.closed.Load() {
		l.mu.Unlock()
		return nil
	}
	l.handle = handle
	var loops sync.WaitGroup
	failures := make([]error, len(l.sockets))
	for i, socket := range l.sockets {
		loops.Go(func() { failures[i] = l.accept(socket) })
	}
	l.background.Go(loops.Wait)
	l.background.Go(l.watchFiles)
	l.mu.Unlock()
	loops.Wait()
	return cmp.Or(failures...)
}

// accept is the loop of one socket. It returns nil after Close, and else why the socket has none to accept any more.
func (l *Listener) accept(socket net.Listener) error {
	wait := time.Duration(0)
	for {
		raw, err := socket.Accept()
		if err != nil {
			if l.Closed() {
				return nil
			}
			if !passes(socket, err) {
				return err
			}
			wait = min(max(2*wait, minAcceptWait), maxAcceptWait)
			l.acceptErrors.Add(1)
			if l.options.OnAcceptError != nil {
				l.options.OnAcceptError(err, wait)
			}
			l.wait(func() { l.awaitDescriptor(wait) })
			continue
		}
		wait = 0
		if !l.receive(raw) {
			l.take(raw)
		}
	}
}

// take starts the life of a connection, as soon as there is room for it.
func (l *Listener) take(raw net.Conn) {
	l.accepted.Add(1)
	c := newConn(l, raw)
	if !l.options.Room.tryEnter() {
		l.acceptErrors.Add(1) // for those who watch that, it is the same want of descriptors
		l.wait(func() { l.options.Room.enter(l.done) })
	}
	l.admit(c)
	go l.serve(c)
}

// awaitDescriptor waits until a connection ended, the time is over, or Close.
func (l *Listener) awaitDescriptor(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.freed:
	case <-l.done:
	}
}

// Closed says whether Close was called.
func (l *Listener) Closed() bool { return l.closed.Load() }

// serve is the life of one connection.
func (l *Listener) serve(c *Conn) {
	defer l.release(c)
	if reason, err := c.establish(l.settings.Load()); reason != "" {
		l.refuse(c, reason, err)
		return
	}
	l.handle(c)
}

// refuse counts and reports a connection that never reaches the handler.
func (l *Listener) refuse(c *Conn, reason Reason, err error) {
	l.mu.Lock()
	if l.aborted && reason != RefusedAddressLimit {
		reason = RefusedShutdown
	}
	l.refused[reason]++
	l.mu.Unlock()
	if l.options.OnRefuse != nil {
		l.options.OnRefuse(reason, err, c.remote)
	}
}

// Close stops accepting, frees the address (and removes the socket file that
// Open made) and waits for the accept loops to end, but leaves connections
// alone. Those that the kernel had accepted already are taken in first. Calling
// it again does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed.Load() {
		l.mu.Unlock()
		l.background.Wait()
		return nil
	}
	l.closed.Store(true)
	defer l.staples.Close()
	serving, shared := l.handle != nil, l.shared
	close(l.done)
	l.changed.Broadcast()
	l.mu.Unlock()

	var errs []error
	end := func(s net.Listener) {
		if err := s.Close(); !errors.Is(err, net.ErrClosed) { // its owner may have closed it
			errs = append(errs, err)
		}
	}
	if serving {
		for _, s := range l.sockets { // this wakes the accept loops
			if k := ofKernel(s); k != nil {
				k.SetDeadline(time.Unix(1, 0))
			} else {
				end(s)
			}
		}
		l.background.Wait()
		for _, s := range l.sockets {
			if k := ofKernel(s); k != nil && !shared {
				l.takeQueued(k)
			}
		}
	}
	l.mu.Lock()
	for c := range l.conns {
		if !c.established {
			c.shortenHandshake()
		}
	}
	l.mu.Unlock()
	for _, s := range l.sockets {
		if !serving || ofKernel(s) != nil {
			end(s)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot close listener %q: %w", l.address, err)
	}
	return nil
}

// SetShared says whether another process has the sockets, too: Close then leaves to it the
// clients that the kernel holds, and a socket file.
func (l *Listener) SetShared(shared bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shared = shared
	if network, _ := l.address.Split(); network == "systemd" {
		return // the service manager has the files
	}
	for _, s := range l.sockets {
		OwnFile(s, !shared)
	}
}

// EachSocket calls f with each socket and the address for which it is used, but for those of
// the service manager, which Inherited has.
func (l *Listener) EachSocket(f func(use string, socket syscall.Conn)) {
	if network, _ := l.address.Split(); network == "systemd" {
		return
	}
	for _, s := range l.sockets {
		f(string(l.address), s.(socket))
	}
}

// Wait returns nil as soon as no connection is open, or ctx's error. Before Abort it does
// not wait for connections that only linger, whose clients have had all that comes. It
// does not stop accepting; that is Close.
func (l *Listener) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.changed.Broadcast()
		l.mu.Unlock()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	open := func() int {
		if l.aborted {
			return len(l.conns)
		}
		return len(l.conns) - l.lingering
	}
	for open() > 0 && ctx.Err() == nil {
		l.awaitChange()
	}
	if open() == 0 {
		l.cutting.Wait()
		return nil
	}
	return ctx.Err()
}

// Abort cuts every open connection, at whatever it is. The handlers notice by
// the errors of their reads and writes, and may do so later. Call it after Close.
func (l *Listener) Abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aborted = true
	for c := range l.conns {
		// Closing waits for what runs inside a read: see sock.FirstRead.
		l.cutting.Go(func() { c.raw.Close() })
	}
}

// Stats returns the counts so far.
func (l *Listener) Stats() Stats {
	s := Stats{
		Accepted:     l.accepted.Load(),
		Paused:       l.paused.Load(),
		AcceptErrors: l.acceptErrors.Load(),
		Refused:      make(map[Reason]uint64),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Open = len(l.conns)
	for _, r := range Reasons() {
		s.Refused[r] = l.refused[r]
	}
	return s
}
