package health_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/health"
	"weir/internal/testkit"
	"weir/internal/transport"
	"weir/lb"
	"weir/lb/balance"
)

func newTransport(url string, cfg *config.Upstream) (lb.Transport, error) {
	return transport.New(url, cfg, transport.Options{})
}

// verdict returns what the first probe of url says: "up", or why not.
func verdict(t *testing.T, url string, settings func(*config.Upstream)) string {
	t.Helper()
	cfg := config.DefaultUpstream()
	cfg.Targets = []config.Target{config.DefaultTarget(url)}
	cfg.Health.Wait = config.Duration(time.Minute)
	settings(&cfg)
	u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: balance.Algorithms(), NewTransport: newTransport}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	m, err := health.New(u, health.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.Start()
	defer m.Stop()
	m.Wait(t.Context())
	if target := u.Targets()[0]; target.Down() {
		return target.Reason()
	}
	return "up"
}

// origin answers as its path says.
func origin(w http.ResponseWriter, r *http.Request) {
	switch r.RequestURI {
	case "/ok":
		io.WriteString(w, "all is well")
	case "/moved":
		http.Redirect(w, r, "/nowhere", http.StatusFound)
	case "/host":
		io.WriteString(w, r.Host)
	case "/agent":
		io.WriteString(w, r.UserAgent())
	case "/odd//%2F?a=%20b":
		io.WriteString(w, "as written")
	case "/hang":
		<-r.Context().Done()
	case "/endless":
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	default:
		http.Error(w, "no", http.StatusServiceUnavailable)
	}
}

func TestHTTPProbe(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(origin))
	defer s.Close()
	check := func(path, want string, set func(*config.Health)) {
		t.Helper()
		got := verdict(t, s.URL, func(c *config.Upstream) {
			c.Health.Probe, c.Health.Path = "http", path
			if set != nil {
				set(&c.Health)
			}
		})
		equal(t, path, got, want)
	}
	check("/ok", "up", nil)
	check("/bad", "probe: status is 503, want 200-399", nil)
	check("/bad", "up", func(h *config.Health) { h.Status = []string{"200", "503"} })
	// A redirect is a response like others: it is not followed.
	check("/moved", "up", nil)
	check("/moved", "probe: status is 302, want 200", func(h *config.Health) { h.Status = []string{"200"} })
	check("/ok", "up", func(h *config.Health) { h.Body = "well" })
	check("/ok", `probe: body has no "ill"`, func(h *config.Health) { h.Body = "ill" })
	// Only the beginning of a long body is read.
	check("/endless", `probe: body has no "end"`, func(h *config.Health) { h.Body = "end" })
	check("/endless", "up", nil)
	check("/host", "up", func(h *config.Health) { h.Body = strings.TrimPrefix(s.URL, "http://") })
	check("/host", "up", func(h *config.Health) { h.Host, h.Body = "www.example.org", "www.example.org" })
	check("/agent", "up", func(h *config.Health) { h.Body = "weir-health" })
	check("/odd//%2F?a=%20b", "up", func(h *config.Health) { h.Body = "as written" })
	check("/hang", "probe: no answer within 1s (health.timeout): context deadline exceeded", func(h *config.Health) {
		h.Timeout = config.Duration(time.Second) // of which a busy machine leaves enough for the connection
	})
	if got := verdict(t, "http://"+testkit.Reserve(t), func(c *config.Upstream) { c.Health.Probe = "http" }); !strings.Contains(got, "connection refused") {
		t.Errorf("nothing listens: got %s", got)
	}
}

func TestHTTPProbeOverTLSAndUnix(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(origin))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	http1 := func(c *config.Upstream) { c.Health.Probe, c.Health.Path = "http", "/ok" }
	if got := verdict(t, s.URL, http1); !strings.Contains(got, "certificate") {
		t.Errorf("unknown authority: got %s", got)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "https", verdict(t, s.URL, func(c *config.Upstream) { http1(c); c.TLS.CA = ca }), "up")

	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(origin))
	defer l.Close()
	equal(t, "unix", verdict(t, "unix:"+path, http1), "up")
}

// An http probe speaks what exchanges speak.
func TestHTTPProbeOfFrames(t *testing.T) {
	probe := func(c *config.Upstream) {
		c.Health.Probe, c.Health.Path, c.TLS.InsecureSkipVerify = "http", "/ok", true
	}
	framed := func(c *config.Upstream) { probe(c); c.Connections.Protocol = "h2" }
	s := httptest.NewUnstartedServer(http.HandlerFunc(origin))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	equal(t, "h2c", verdict(t, strings.Replace(s.URL, "http:", "h2c:", 1), probe), "up")
	equal(t, "http in HTTP/2", verdict(t, s.URL, framed), "up")
	for _, both := range []bool{true, false} {
		secure := httptest.NewUnstartedServer(http.HandlerFunc(origin))
		secure.EnableHTTP2 = both
		secure.StartTLS()
		equal(t, "https", verdict(t, secure.URL, framed), "up")
		secure.Close()
	}
}

func TestTCPProbe(t *testing.T) {
	tcp := func(c *config.Upstream) { c.Health.Probe = "tcp" }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	equal(t, "listens", verdict(t, "http://"+l.Addr().String(), tcp), "up")
	if got := verdict(t, "http://"+testkit.Reserve(t), tcp); !strings.Contains(got, "connection refused") {
		t.Errorf("nothing listens: got %s", got)
	}
}

// grpcOrigin answers grpc.health.v1.Health/Check as a gRPC server does. The
// service in the request decides on the status.
func grpcOrigin(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Method != http.MethodPost ||
		r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" || len(body) < 5 {
		http.Error(w, "this is no health check", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	if string(body) == "\x00\x00\x00\x00\x06\x0a\x04head" { // a head that is also the end
		w.Header().Set("Grpc-Status", "12")
		w.Header().Set("Grpc-Message", "no such method")
		return
	}
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	switch string(body) {
	case "\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x06\x0a\x04good":
		io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x01")
	case "\x00\x00\x00\x00\x05\x0a\x03bad":
		io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x02")
	case "\x00\x00\x00\x00\x05\x0a\x03odd":
		io.WriteString(w, "\x00\x00\x00\x00\x02\x08")
	default:
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "unknown service")
		return
	}
	w.Header().Set("Grpc-Status", "0")
}

func TestGRPCProbe(t *testing.T) {
	check := func(url, service, want string, set func(*config.Upstream)) {
		t.Helper()
		got := verdict(t, url, func(c *config.Upstream) {
			c.Health.Probe, c.Health.Service = "grpc", service
			if set != nil {
				set(c)
			}
		})
		equal(t, url+" "+service, got, want)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(grpcOrigin))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	check(s.URL, "", "up", nil)
	check(s.URL, "good", "up", nil)
	check(s.URL, "bad", "probe: status is NOT_SERVING, want SERVING", nil)
	check(s.URL, "odd", "probe: the answer is no single uncompressed gRPC message", nil)
	check(s.URL, "none", `probe: grpc-status is "5" (unknown service), want 0`, nil)
	check(s.URL, "head", `probe: grpc-status is "12" (no such method), want 0`, nil)

	// Over TLS, HTTP/2 is agreed on by ALPN, which gRPC servers insist on.
	secure := httptest.NewUnstartedServer(http.HandlerFunc(grpcOrigin))
	secure.EnableHTTP2 = true
	secure.TLS = &tls.Config{NextProtos: []string{"h2"}}
	secure.StartTLS()
	defer secure.Close()
	check(secure.URL, "good", "up", func(c *config.Upstream) { c.TLS.InsecureSkipVerify = true })

	// A server without HTTP/2 is not up.
	old := httptest.NewServer(http.HandlerFunc(origin))
	defer old.Close()
	if got := verdict(t, old.URL, func(c *config.Upstream) { c.Health.Probe = "grpc" }); got == "up" {
		t.Error("a server without HTTP/2 is up for a gRPC probe")
	}
}
