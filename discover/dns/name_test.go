package dns_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/admin"
	"weir/config"
	"weir/discover"
	"weir/discover/dns/dnstest"
	"weir/internal/testkit"
	"weir/server"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	s := serve(t, "app.test. 60 IN A 10.0.0.1", "app.test. 40 IN A 10.0.0.2", "app.test. 50 IN AAAA fd00::1", "www.test. 7 IN CNAME app.test.", "now.test. 0 IN A 10.0.0.3",
		"text.test. 5 IN TXT text")
	look := discover.NewLookup(s.Resolver())
	check := func(host, want string, ttl time.Duration, timed bool) {
		t.Helper()
		found, err := look(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, a := range found.List {
			list = append(list, a.String())
		}
		slices.Sort(list)
		if got := strings.Join(list, " "); got != want || found.TTL != ttl || found.Timed != timed || found.No4 || found.No6 {
			t.Errorf("%s: got %s and %+v, want %s for %s", host, got, found, want, ttl)
		}
	}
	check("app.test", "10.0.0.1 10.0.0.2 fd00::1", 40*time.Second, true)
	check("WWW.test.", "10.0.0.1 10.0.0.2 fd00::1", 7*time.Second, true)
	check("now.test", "10.0.0.3", 0, true)
	check("text.test", "", 0, false)
	check("none.test", "", 0, false)
	if found, err := look(t.Context(), "localhost"); err != nil || len(found.List) == 0 || found.Timed || s.Questions("A localhost.") > 0 {
		t.Errorf("a name in /etc/hosts: got %+v and %v", found, err)
	}

	// One family fails.
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if m.Question[0].Qtype == dns.TypeAAAA {
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
		}
		return m
	})
	if found, err := look(t.Context(), "app.test"); err != nil || len(found.List) != 2 || found.No4 || !found.No6 {
		t.Errorf("AAAA fails: got %+v and %v", found, err)
	}
	// One family fails, and there is nothing of the other.
	for _, host := range []string{"now.test", "none.test"} {
		if found, err := look(t.Context(), host); (err == nil) != (host == "now.test") {
			t.Errorf("AAAA of %s fails: got %+v and %v", host, found, err)
		}
	}
	// All fail.
	s.Answer(func(m *dns.Msg) *dns.Msg { m.Answer, m.Rcode = nil, dns.RcodeServerFailure; return m })
	if found, err := look(t.Context(), "app.test"); err == nil {
		t.Errorf("all fail: got %+v", found)
	}
	s.Answer(nil)

	// An answer too large for a packet comes by TCP.
	var records []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("app.test. 9 IN A 10.0.1.%d", i))
	}
	if err := s.Set(records...); err != nil {
		t.Fatal(err)
	}
	if found, err := look(t.Context(), "app.test"); err != nil || len(found.List) != 200 || found.TTL != 9*time.Second {
		t.Errorf("many addresses: got %+v and %v", found, err)
	}
}

// origins are servers at several addresses of the loopback interface and one port, which say where they
// are and what they were asked for. Each test has addresses of its own, so that no other test listens at that
// port where a test expects no server.
type origins struct {
	port  string
	conns map[string]*atomic.Int32 // by address
	stop  map[string]func() error
}

func listenAt(t *testing.T, cfg *tls.Config, addresses ...string) *origins {
	t.Helper()
	for range 100 {
		o := &origins{port: "0", conns: make(map[string]*atomic.Int32), stop: make(map[string]func() error)}
		if err := o.listen(cfg, addresses); err == nil {
			t.Cleanup(o.close)
			return o
		}
		o.close() // another program has the port at one of the addresses
	}
	t.Fatal("no port is free at all addresses")
	return nil
}

func (o *origins) listen(cfg *tls.Config, addresses []string) error {
	for _, a := range addresses {
		ln, err := net.Listen("tcp", net.JoinHostPort(a, o.port))
		if err != nil {
			return err
		}
		_, o.port, _ = net.SplitHostPort(ln.Addr().String())
		conns := new(atomic.Int32)
		s := &http.Server{
			ErrorLog: log.New(io.Discard, "", 0), // a handshake fails by intent
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				name := ""
				if r.TLS != nil {
					name = r.TLS.ServerName
				}
				fmt.Fprintf(w, "%s %s %s", a, r.Host, name)
			}),
			ConnState: func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					conns.Add(1)
				case http.StateClosed:
					conns.Add(-1)
				}
			},
		}
		o.conns[a], o.stop[a] = conns, s.Close
		if cfg != nil {
			ln = tls.NewListener(ln, cfg)
		}
		go s.Serve(ln)
	}
	return nil
}

func (o *origins) close() {
	for _, stop := range o.stop {
		stop()
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// proxy is a weir that asks a name server of the test.
type proxy struct {
	*server.Server
	t   *testing.T
	log lines
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(`
access_log.output = "off"
admin.address = "127.0.0.1:0"
listeners = [{ name = "main", address = "127.0.0.1:0" }]
`+text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func proxyTo(t *testing.T, s *dnstest.Server, text string) *proxy {
	t.Helper()
	p := &proxy{t: t}
	var err error
	p.Server, err = server.New(parse(t, text), server.WithResolver(s.Resolver()), server.WithLog(slog.New(slog.NewTextHandler(&p.log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// get returns status and body of an answer, and the cookie that it sets.
func (p *proxy) get(path, cookie string) (status int, body, set string) {
	p.t.Helper()
	q, err := http.NewRequest("GET", "http://"+p.Addr("main").String()+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if cookie != "" {
		q.Header.Set("Cookie", cookie)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	set, _, _ = strings.Cut(r.Header.Get("Set-Cookie"), ";")
	return r.StatusCode, string(text), set
}

// shares sends n requests and returns how many each address answered. None may fail.
func (p *proxy) shares(n int) map[string]int {
	p.t.Helper()
	got := make(map[string]int)
	for range n {
		status, body, _ := p.get("/", "")
		if status != http.StatusOK {
			p.t.Fatalf("got %d %s", status, body)
		}
		got[address(body)]++
	}
	return got
}

// address returns where an origin is that answered with a body.
func address(body string) string {
	a, _, _ := strings.Cut(body, " ")
	return a
}

// upstream returns the targets as operators see them.
func (p *proxy) upstream() []admin.Target {
	p.t.Helper()
	r, err := http.Get("http://" + p.AdminAddr().String() + "/upstreams")
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	var all struct{ Upstreams []admin.Upstream }
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		p.t.Fatal(err)
	}
	return all.Upstreams[0].Targets
}

// sees waits until the targets are these, with their states and weights.
func (p *proxy) sees(want ...string) {
	p.t.Helper()
	var got []string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the targets are %q", got)
		}
	}()
	testkit.Eventually(p.t, fmt.Sprintf("the targets are %q", want), func() bool {
		got = nil
		for _, t := range p.upstream() {
			got = append(got, fmt.Sprintf("%s %s %d/%d", t.Name, t.State, t.Weight, t.Sharers))
		}
		return slices.Equal(got, want)
	})
}

func set(t *testing.T, s *dnstest.Server, records ...string) {
	t.Helper()
	if err := s.Set(records...); err != nil {
		t.Fatal(err)
	}
}

// Each address of a name is a target, under the name's Host field; addresses come and go with the
// answers of the name server.
func TestName(t *testing.T) {
	t.Parallel()
	o := listenAt(t, nil, "127.8.1.1", "127.8.1.2", "127.8.1.3", "127.8.1.4")
	s := serve(t, "app.test. 0 IN A 127.8.1.1", "app.test. 0 IN A 127.8.1.2")
	app := "http://app.test:" + o.port
	p := proxyTo(t, s, fmt.Sprintf(`
routes = [{ upstream = "u", host_header = "target" }]
upstreams.u.targets = [{ url = %q, weight = 2 }, { url = "http://127.8.1.3:%s", weight = 3 }]
`, app, o.port))
	other := "http://127.8.1.3:" + o.port + " healthy 3/1"
	p.sees(other, app+"#127.8.1.1 healthy 2/2", app+"#127.8.1.2 healthy 2/2")
	if got := fmt.Sprint(p.shares(50)); got != "map[127.8.1.1:10 127.8.1.2:10 127.8.1.3:30]" {
		t.Errorf("got the shares %s", got)
	}
	for range 6 {
		if _, body, _ := p.get("/", ""); !strings.HasPrefix(body, "127.8.1.3") && !strings.Contains(body, " app.test:"+o.port+" ") {
			t.Errorf("got %s, want the name in the Host field", body)
		}
	}
	first := p.upstream()[1]
	if first.Source != app || first.Seen == nil {
		t.Errorf("got the target %+v, want its source and when it was seen", first)
	}

	set(t, s, "app.test. 0 IN A 127.8.1.2", "app.test. 0 IN A 127.8.1.4")
	p.sees(other, app+"#127.8.1.2 healthy 2/2", app+"#127.8.1.4 healthy 2/2")
	testkit.Eventually(t, "no connection to the address that is gone", func() bool { return o.conns["127.8.1.1"].Load() == 0 })
	if got := p.shares(50); got["127.8.1.1"] > 0 || got["127.8.1.4"] != 10 {
		t.Errorf("got the shares %v", got)
	}

	// A name server that fails changes nothing.
	s.Stop()
	testkit.Eventually(t, "the failure is in the log", func() bool { return p.log.has("a source failed, what it found stays") })
	p.sees(other, app+"#127.8.1.2 healthy 2/2", app+"#127.8.1.4 healthy 2/2")
	p.shares(10)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	set(t, s, "app.test. 0 IN A 127.8.1.4")
	p.sees(other, app+"#127.8.1.4 healthy 2/1")
}

// The name server does not answer at the start.
func TestNameServerDownAtStart(t *testing.T) {
	t.Parallel()
	o := listenAt(t, nil, "127.0.0.1")
	s := serve(t, "app.test. 0 IN A 127.0.0.1")
	s.Stop()
	p := proxyTo(t, s, fmt.Sprintf("routes = [{ upstream = \"u\" }]\nupstreams.u.targets = [\"http://app.test:%s\"]", o.port))
	if status, body, _ := p.get("/", ""); status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s, want 503", status, body)
	}
	testkit.Eventually(t, "a warning is in the log", func() bool { return p.log.has("level=WARN") })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "requests are answered", func() bool {
		status, _, _ := p.get("/", "")
		return status == http.StatusOK
	})
}

// No request fails although one of two addresses is dead.
func TestDeadAddress(t *testing.T) {
	t.Parallel()
	o := listenAt(t, nil, "127.8.2.1", "127.8.2.2")
	s := serve(t, "app.test. 0 IN A 127.8.2.1", "app.test. 0 IN A 127.8.2.2", "app.test. 0 IN A 127.8.2.3", "app.test. 0 IN AAAA ::1")
	p := proxyTo(t, s, fmt.Sprintf("routes = [{ upstream = \"u\" }]\nupstreams.u.targets = [\"http://app.test:%s\"]", o.port))
	p.shares(100)
	o.stop["127.8.2.1"]()
	if got := p.shares(100); got["127.8.2.2"] != 100 {
		t.Errorf("got %v from one that is left", got)
	}
}

// TLS verifies the name, whatever the address is.
func TestNameWithTLS(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("app.test")
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	o := listenAt(t, &tls.Config{Certificates: []tls.Certificate{cert}}, "127.8.3.1", "127.8.3.2")
	s := serve(t, "app.test. 0 IN A 127.8.3.1", "app.test. 0 IN A 127.8.3.2", "other.test. 0 IN A 127.8.3.1")
	p := proxyTo(t, s, fmt.Sprintf(`
routes = [{ path = "/", upstream = "u", host_header = "target" }, { path = "/other", upstream = "other" }]
upstreams.u = { targets = ["https://app.test:%[1]s"], tls.ca = %[2]q }
upstreams.other = { targets = ["https://other.test:%[1]s"], tls.ca = %[2]q }
`, o.port, authority.File))
	for range 4 {
		if status, body, _ := p.get("/", ""); status != http.StatusOK || !strings.HasSuffix(body, " app.test:"+o.port+" app.test") {
			t.Errorf("got %d %s, want Host and server name of the name", status, body)
		}
	}
	if status, body, _ := p.get("/other", ""); status != http.StatusBadGateway {
		t.Errorf("got %d %s from a server with a certificate for another name", status, body)
	}
}

// Operators and clients meet the same targets after a restart and after a reload; a name that a reload brings is
// there for the first request.
func TestNameIsStable(t *testing.T) {
	t.Parallel()
	o := listenAt(t, nil, "127.8.4.1", "127.8.4.2", "127.8.4.3")
	s := serve(t, "app.test. 60 IN A 127.8.4.1", "app.test. 60 IN A 127.8.4.2", "app.test. 60 IN A 127.8.4.3", "next.test. 60 IN A 127.8.4.2")
	text := fmt.Sprintf("routes = [{ upstream = \"u\" }]\nupstreams.u = { targets = [\"http://app.test:%s\"], sticky = { cookie = \"c\", secret = \"0123456789abcdef\" } }\n", o.port)
	p := proxyTo(t, s, text)
	_, before, cookie := p.get("/", "")
	again := proxyTo(t, s, text)
	for range 6 {
		if _, body, _ := again.get("/", cookie); address(body) != address(before) {
			t.Errorf("after a restart the cookie leads to %s, before to %s", body, before)
		}
	}
	drained := "http://app.test:" + o.port + "#127.8.4.1"
	r, err := http.Post("http://"+again.AdminAddr().String()+"/drain", "application/json", strings.NewReader(fmt.Sprintf(`{"upstream":"u","target":%q,"on":true}`, drained)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Body.Close(); r.StatusCode != http.StatusOK {
		t.Errorf("got %s from the drain of %s", r.Status, drained)
	}
	next := parse(t, strings.ReplaceAll(text, "targets = [", fmt.Sprintf("targets = [\"http://next.test:%s\", ", o.port)))
	if err := again.Reload(next); err != nil {
		t.Fatal(err)
	}
	again.sees("http://next.test:"+o.port+"#127.8.4.2 healthy 1/1", drained+" draining 1/3",
		"http://app.test:"+o.port+"#127.8.4.2 healthy 1/3", "http://app.test:"+o.port+"#127.8.4.3 healthy 1/3")
	brought := parse(t, "routes = [{ upstream = \"new\" }]\nupstreams.new.targets = [\"http://next.test:"+o.port+"\"]")
	if err := again.Reload(brought); err != nil {
		t.Fatal(err)
	}
	again.shares(1)

	one := parse(t, "routes = [{ upstream = \"u\" }]\nupstreams.u.targets = [{ url = \"http://app.test:"+o.port+"\", resolve = \"one\" }]")
	if err := again.Reload(one); err != nil {
		t.Fatal(err)
	}
	again.sees("http://app.test:" + o.port + " healthy 1/1")
	again.shares(6)
}

// A question whose answer is lost is sent again, more often than the resolver itself does.
func TestLookupAnswersLost(t *testing.T) {
	t.Parallel()
	s := serve(t, "app.test. 60 IN A 10.0.0.1", "app.test. 60 IN AAAA fd00::1")
	var mu sync.Mutex
	lost := make(map[uint16]int)
	s.Answer(func(m *dns.Msg) *dns.Msg {
		mu.Lock()
		defer mu.Unlock()
		kind := m.Question[0].Qtype
		if lost[kind]++; lost[kind] <= 3 {
			return nil
		}
		return m
	})
	found, err := discover.NewLookup(s.Resolver())(t.Context(), "app.test.")
	if err != nil || len(found.List) != 2 || !found.Timed || found.No4 || found.No6 {
		t.Errorf("got %+v and %v, want two addresses", found, err)
	}
}
