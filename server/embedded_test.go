package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"weir/config"
	"weir/discover"
	"weir/internal/testkit"
	"weir/lb"
	"weir/server"
	"weir/trace"
)

// wrapped is a listener that has no more than it must, such as netutil's LimitListener, and so have its connections.
type wrapped struct{ net.Listener }

func (l wrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

// disguised has the methods of a socket, and encrypts what it accepts.
type disguised struct {
	*net.TCPListener
	secure *tls.Config
}

func (l disguised) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(c, l.secure), nil
}

// piped is a listener within the process.
type piped struct {
	conns chan net.Conn
	ended chan struct{}
}

func newPiped() *piped { return &piped{make(chan net.Conn), make(chan struct{})} }

func (p *piped) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, errors.New("piped: the end")
	}
}

func (p *piped) Close() error { close(p.ended); return nil }

func (p *piped) Addr() net.Addr { return &net.UnixAddr{Name: "piped", Net: "piped"} }

func (p *piped) Dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// troubled fails once in a way that passes, and then for good.
type troubled struct {
	net.Listener
	failures chan error
}

func (t *troubled) Accept() (net.Conn, error) { return nil, <-t.failures }

type transient struct{}

func (transient) Error() string   { return "not now" }
func (transient) Temporary() bool { return true }

// serving starts a server of ln; served gets what Serve returns.
func serving(t *testing.T, ln net.Listener) (s *server.Server, served chan error) {
	t.Helper()
	s, err := server.New(embedded("hello"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	served = make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	return s, served
}

func localhost(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

// Serve takes whatever is a listener.
func TestServeAnyListener(t *testing.T) {
	check := func(name string, ln net.Listener, transport *http.Transport, url string) {
		t.Run(name, func(t *testing.T) {
			done := leaksNothing(t)
			s, served := serving(t, ln)
			client := &http.Client{Transport: transport}
			for range 3 {
				r, err := client.Get(url)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if string(body) != "hello" || err != nil {
					t.Errorf("%q, %v", body, err)
				}
			}
			if err := s.Alive(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			equal(t, "Serve", receive(t, served), http.ErrServerClosed)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if c, err := ln.Accept(); err == nil {
				t.Errorf("it is still open: %v", c)
			}
			transport.CloseIdleConnections()
			done()
		})
	}
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	secure := &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}
	client := &tls.Config{RootCAs: authority.Pool}

	ln := localhost(t)
	check("a socket", ln, &http.Transport{}, "http://"+ln.Addr().String())
	ln = localhost(t)
	check("one in a wrapper", wrapped{ln}, &http.Transport{}, "http://"+ln.Addr().String())
	ln = localhost(t)
	check("TLS", tls.NewListener(ln, secure), &http.Transport{TLSClientConfig: client}, "https://"+ln.Addr().String())
	ln = localhost(t)
	check("TLS by methods of a socket", disguised{ln, secure}, &http.Transport{TLSClientConfig: client}, "https://"+ln.Addr().String())
	p := newPiped()
	check("one within the process", p, &http.Transport{DialContext: p.Dial}, "http://weir.test")
}

// What weir knows of a client of a program's own listener with TLS.
func TestServeTLSListener(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair, alice := authority.Issue("weir.test"), authority.Issue("alice")
	check := func(auth tls.ClientAuthType, want string) {
		t.Helper()
		cfg := embedded("")
		cfg.Routes[0].ResponseHeaders.Set = map[string]config.Template{"X-Client": config.MustTemplate("{scheme} {client_subject}")}
		s, err := server.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ln := localhost(t)
		go s.Serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}, ClientCAs: authority.Pool, ClientAuth: auth}))
		shown := insecure()
		shown.Certificates = []tls.Certificate{alice.Certificate}
		c := testkit.DialTLS(t, ln.Addr(), shown)
		defer c.Close()
		equal(t, auth.String(), c.Get("/").Get("X-Client"), want)
	}
	check(tls.NoClientCert, "https")
	check(tls.RequestClientCert, "https") // nobody has verified it
	check(tls.RequireAndVerifyClientCert, "https CN=alice")

	// HTTP/2 is refused, and not spoken half.
	s, err := server.New(embedded(""))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ln := localhost(t)
	go s.Serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}, NextProtos: []string{"h2"}}))
	framed := insecure()
	framed.NextProtos = []string{"h2"}
	_, end := testkit.DialTLS(t, ln.Addr(), framed).Rest()
	equal(t, "the end of HTTP/2", end, testkit.Closed)
}

// Several listeners may have one address, and each of them ends with the server.
func TestServeListenersOfOneAddress(t *testing.T) {
	t.Parallel()
	first, second := newPiped(), newPiped()
	s, served := serving(t, first)
	also := make(chan error, 1)
	go func() { also <- s.Serve(second) }()
	for _, p := range []*piped{first, second} {
		r, err := (&http.Client{Transport: &http.Transport{DialContext: p.Dial, DisableKeepAlives: true}}).Get("http://weir.test")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	equal(t, "the first", receive(t, served), http.ErrServerClosed)
	equal(t, "the second", receive(t, also), http.ErrServerClosed)
}

// A reload leaves a program's listener alone, also if a configured one wants its address.
func TestServeAddressConfigured(t *testing.T) {
	t.Parallel()
	ln := localhost(t)
	s, _ := serving(t, ln)
	ask := func() string {
		c := testkit.Dial(t, ln.Addr())
		defer c.Close()
		return c.Get("/").Body
	}
	equal(t, "before", ask(), "hello")
	cfg := embedded("other")
	l := config.DefaultListener()
	l.Address = config.Address(ln.Addr().String())
	cfg.Listeners = []config.Listener{l}
	if err := s.Reload(cfg); err == nil {
		t.Error("two listeners have one address")
	}
	equal(t, "after", ask(), "hello")
}

// Serve says why its listener failed, and what runs on the listener's connections goes on.
func TestServeListenerFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	ln := &troubled{localhost(t), make(chan error, 3)}
	ln.failures <- transient{}
	ln.failures <- fmt.Errorf("again: %w", transient{})
	ln.failures <- broken
	s, served := serving(t, ln)
	equal(t, "a failure", receive(t, served), broken)
	if _, err := ln.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it is not closed: %v", err)
	}

	// closed by the program
	socket := localhost(t)
	go func() { served <- s.Serve(socket) }()
	c := testkit.Dial(t, socket.Addr())
	equal(t, "status", c.Get("/").Status(), 200)
	socket.Close()
	if err := receive(t, served); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed by the program: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A server that cannot serve closes the listener all the same.
func TestServeClosesItsListener(t *testing.T) {
	t.Parallel()
	s, err := server.New(embedded("hello"))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, ln := range []net.Listener{localhost(t), wrapped{localhost(t)}} {
		equal(t, "Serve", s.Serve(ln), http.ErrServerClosed)
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%T is not closed: %v", ln, err)
		}
	}
}

// A server starts once; a start that failed may be tried again.
func TestStartAgain(t *testing.T) {
	done := leaksNothing(t)
	taken := localhost(t)
	cfg := embedded("hello")
	for _, address := range []string{"127.0.0.1:0", taken.Addr().String()} {
		l := config.DefaultListener()
		l.Address = config.Address(address)
		cfg.Listeners = append(cfg.Listeners, l)
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil {
		t.Error("a start without its address is no error")
	}
	equal(t, "address", s.Addr("127.0.0.1:0"), net.Addr(nil))
	taken.Close()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	first := s.Addr("127.0.0.1:0")
	if err := s.Start(); err == nil {
		t.Error("a second start is no error")
	}
	equal(t, "address", s.Addr("127.0.0.1:0"), first)
	c := testkit.Dial(t, first)
	equal(t, "body", c.Get("/").Body, "hello")
	c.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	equal(t, "a start after Close", s.Start(), http.ErrServerClosed)
	done()
}

// An algorithm of the program that makes no picker refuses the configuration, and changes nothing of what runs.
func TestAlgorithmMakesNoPicker(t *testing.T) {
	t.Parallel()
	check := func(how func() (lb.Picker, error), want string) {
		t.Helper()
		var fails atomic.Bool
		algorithm := lb.Algorithm{Name: "mine", New: func(in lb.Input) (lb.Picker, error) {
			if fails.Load() {
				return how()
			}
			return byOrder{targets: in.Targets}, nil
		}}
		cfg := forwardTo("demo:a")
		upstream := cfg.Upstreams["origin"]
		upstream.Balance = "mine"
		cfg.Upstreams["origin"] = upstream
		s, err := server.New(cfg, server.WithAlgorithms(algorithm))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ln := localhost(t)
		go s.Serve(ln)
		c := testkit.Dial(t, ln.Addr())
		equal(t, "before", c.Get("/").Status(), 200)
		fails.Store(true)
		if err := s.Reload(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the reload says %v, want %s", err, want)
		}
		if _, err := server.New(cfg, server.WithAlgorithms(algorithm)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the start says %v, want %s", err, want)
		}
		equal(t, "after", c.Get("/").Status(), 200)
		fails.Store(false)
		if err := s.Reload(cfg); err != nil {
			t.Error(err)
		}
		equal(t, "a change of a target", s.SetWeight("origin", "demo:a", 2), nil)
	}
	check(func() (lb.Picker, error) { return nil, errors.New("not today") }, `cannot balance by "mine": not today`)
	check(func() (lb.Picker, error) { return nil, nil }, `cannot balance by "mine": the algorithm made no picker`)
	check(func() (lb.Picker, error) { panic("too much") }, `cannot balance by "mine": the algorithm panicked: too much`)
}

// fleet is a source of the program.
type fleet func(ctx context.Context, report func([]lb.Endpoint)) error

func (f fleet) Run(ctx context.Context, report func([]lb.Endpoint)) error { return f(ctx, report) }

// A program has sources by a scheme of its own name.
func TestOwnScheme(t *testing.T) {
	t.Parallel()
	cfg := forwardTo("x-fleet:edge")
	scheme := discover.Scheme{Name: "x-fleet", Source: func(u *url.URL, _ discover.SchemeOptions) (discover.Source, error) {
		return fleet(func(ctx context.Context, report func([]lb.Endpoint)) error {
			report([]lb.Endpoint{{URL: "demo:" + u.Opaque}})
			<-ctx.Done()
			return nil
		}), nil
	}}
	s, err := server.New(cfg, server.WithSchemes(scheme))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ln := localhost(t)
	go s.Serve(ln)
	m := testkit.Dial(t, ln.Addr()).Get("/")
	equal(t, "status", m.Status(), 200)
	if !strings.Contains(m.Body, "edge") {
		t.Errorf("another target answers: %s", m.Body)
	}

	// A program without it says so.
	if _, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), `found a URL of the scheme "x-fleet": want, for targets, "registry:"`) {
		t.Errorf("without the scheme: %v", err)
	}
}

// exporter is one of the program that panics.
type exporter struct{ closed atomic.Bool }

func (e *exporter) Export(context.Context, []*trace.Span) (int, error) { panic("too much") }

func (e *exporter) Close() error {
	e.closed.Store(true)
	return nil
}

// A program's exporter of spans that panics costs its spans, and nothing else.
func TestExporterPanics(t *testing.T) {
	t.Parallel()
	cfg := embedded("hello")
	cfg.Tracing.Enabled = true
	e := new(exporter)
	var log textLog
	s, err := server.New(cfg, server.WithLog(log.logger()), server.WithTraceExporter(func(*config.Tracing) (trace.Exporter, error) { return e, nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ln := localhost(t)
	go s.Serve(ln)
	c := testkit.Dial(t, ln.Addr())
	equal(t, "status", c.Get("/").Status(), 200)
	testkit.Eventually(t, "the panic is logged", func() bool { return strings.Contains(log.String(), "the exporter panicked: too much") })
	equal(t, "the next status", c.Get("/").Status(), 200)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	equal(t, "closed", e.closed.Load(), true)
}

// spacious is a handler by whose memory the test sees whether a server is kept.
type spacious struct{ room [1 << 16]byte }

func (l *spacious) ServeHTTP(w http.ResponseWriter, _ *http.Request) { w.Write(l.room[:5]) }

// Nothing keeps the memory of a closed server, the pool of connections to its targets included.
func TestClosedServerIsCollected(t *testing.T) {
	t.Parallel()
	handler := func() weak.Pointer[spacious] {
		h := new(spacious)
		cfg := forwardTo("handler:app")
		upstream := cfg.Upstreams["origin"]
		upstream.Connections.Idle = config.Duration(time.Hour) // for which fasthttp's goroutine sleeps
		cfg.Upstreams["origin"] = upstream
		s, err := server.New(cfg, server.WithHandler("app", h))
		if err != nil {
			t.Fatal(err)
		}
		ln := localhost(t)
		go s.Serve(ln)
		c := testkit.Dial(t, ln.Addr())
		equal(t, "status", c.Get("/").Status(), 200)
		c.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return weak.Make(h)
	}()
	testkit.Eventually(t, "the handler is collected", func() bool {
		runtime.GC()
		return handler.Value() == nil
	})
}
