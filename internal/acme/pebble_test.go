package acme_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/miekg/dns"

	"weir/internal/testkit"
)

// pebbleVersion is that of the CA for tests. It is no module of go.mod, whose requirements everybody who
// embeds weir would inherit.
const pebbleVersion = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.3"

// authority is a pebble, with a name server that it asks.
type authority struct {
	directory string // its URL
	file      string // the certificate that its own API shows
	client    *http.Client
	manage    string // the URL of its management API
	names     *nameServer
	responder *testkit.Responder
	revoked   sync.Map // the serial numbers that the responder says are revoked
	// httpPort and tlsPort are where it looks for challenges, at the address of a name.
	httpPort, tlsPort int
}

var shared struct {
	once  sync.Once
	err   error
	ca    *authority
	clean []func()
	hosts atomic.Int32
}

func TestMain(m *testing.M) {
	certmagic.RateLimitEvents = 1000 // its own bound, of all orders of a process, would slow tests down
	code := m.Run()
	for i := len(shared.clean); i > 0; i-- {
		shared.clean[i-1]()
	}
	os.Exit(code)
}

// pebble returns the CA that all tests share.
func pebble(t *testing.T) *authority {
	t.Helper()
	shared.once.Do(func() { shared.ca, shared.err = startPebble() })
	if shared.err != nil {
		testkit.Lacks(t, shared.err)
	}
	return shared.ca
}

// startPebble builds and starts a pebble.
func startPebble() (*authority, error) {
	dir, err := os.MkdirTemp("", "pebble")
	if err != nil {
		return nil, err
	}
	shared.clean = append(shared.clean, func() { os.RemoveAll(dir) })
	build := exec.Command("go", "install", pebbleVersion)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-trimpath", "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build pebble: %w: %s", err, text)
	}
	ca := &authority{file: filepath.Join(dir, "api.pem")}
	key := filepath.Join(dir, "api.key")
	if err := selfSigned(ca.file, key); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca.file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	ca.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	if ca.names, err = startNames(); err != nil {
		return nil, err
	}
	responder, end := testkit.NewResponder()
	shared.clean = append(shared.clean, end)
	ca.responder = responder
	// The ports are held at one address, so that no other program gets them, and are free at all others.
	for _, port := range []*int{&ca.httpPort, &ca.tlsPort} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		shared.clean = append(shared.clean, func() { l.Close() })
		*port = l.Addr().(*net.TCPAddr).Port
	}
	// A port that was free a moment ago may be taken: then another one is tried.
	for range 5 {
		if err = ca.start(dir, key); err == nil {
			return ca, nil
		}
	}
	return nil, err
}

// start runs pebble once.
func (ca *authority) start(dir, key string) error {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	second, err := net.Listen("tcp", "127.0.0.1:0")
	first.Close()
	if err != nil {
		return err
	}
	second.Close()
	api, manage := first.Addr().String(), second.Addr().String()
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": manage, "certificate": ca.file, "privateKey": key,
		"httpPort": ca.httpPort, "tlsPort": ca.tlsPort, "ocspResponderURL": ca.responder.URL,
		"externalAccountMACKeys": map[string]string{"known": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
		"domainBlocklist":        []string{"blocked.test"}, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{
			"default": map[string]any{"description": "usual", "validityPeriod": 7776000},
			"short":   map[string]any{"description": "soon renewed", "validityPeriod": 8},
		},
	}})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(dir, "pebble"), "-config", path, "-dnsserver", ca.names.addr)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	log, err := os.Create(filepath.Join(dir, "pebble.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	stop := func() { cmd.Process.Kill(); <-ended }
	ca.directory, ca.manage = "https://"+api+"/dir", "https://"+manage
	for end := time.Now().Add(testkit.Limit); ; time.Sleep(10 * time.Millisecond) {
		if response, err := ca.client.Get(ca.directory); err == nil {
			response.Body.Close()
			if response, err = ca.client.Get(ca.manage + "/roots/0"); err == nil {
				response.Body.Close()
				shared.clean = append(shared.clean, stop)
				return nil
			}
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("pebble has ended: %s", text)
		default:
		}
		if time.Now().After(end) {
			stop()
			return fmt.Errorf("pebble does not answer")
		}
	}
}

// roots are those that clients trust.
func (ca *authority) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	response, err := ca.client.Get(ca.manage + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no root: %v, %q", err, text)
	}
	return pool
}

// host returns a name of the zone "test." and an address of the loopback network that are the test's alone.
func (ca *authority) host(t *testing.T) (name, address string) {
	t.Helper()
	n := shared.hosts.Add(1)
	name, address = fmt.Sprintf("h%d.test", n), fmt.Sprintf("127.0.%d.%d", 1+n/200, 1+n%200)
	ca.names.set(name, address)
	return name, address
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(cert, key string) error {
	text, keyText, err := testkit.SelfSigned("127.0.0.1")
	if err != nil {
		return err
	}
	if err := os.WriteFile(cert, text, 0o600); err != nil {
		return err
	}
	return os.WriteFile(key, keyText, 0o600)
}

// updateKey signs updates of the name server.
const updateKey = "c2VjcmV0IG9mIHRoZSB0ZXN0IGZvciBUU0lH"

// nameServer is a name server for the zone "test.", which takes updates.
type nameServer struct {
	addr string

	mu        sync.Mutex
	addresses map[string]string
	texts     map[string][]string
	seen      map[string]int // the updates that set a record, by name
}

func startNames() (*nameServer, error) {
	s := &nameServer{addresses: make(map[string]string), texts: make(map[string][]string), seen: make(map[string]int)}
	for range 5 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err != nil { // the port is another program's: try another
			packets.Close()
			continue
		}
		secrets := map[string]string{"weir.": updateKey}
		byPacket := &dns.Server{PacketConn: packets, Handler: s, TsigSecret: secrets, MsgAcceptFunc: acceptAll}
		byStream := &dns.Server{Listener: stream, Handler: s, TsigSecret: secrets, MsgAcceptFunc: acceptAll}
		go byPacket.ActivateAndServe()
		go byStream.ActivateAndServe()
		s.addr = packets.LocalAddr().String()
		shared.clean = append(shared.clean, func() { packets.Close(); stream.Close() })
		return s, nil
	}
	return nil, fmt.Errorf("no port for a name server")
}

func acceptAll(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }

func (s *nameServer) set(name, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses[dns.Fqdn(name)] = address
}

// records returns the values of a TXT record, and how often one was set.
func (s *nameServer) records(name string) (values []string, sets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.texts[dns.Fqdn(name)], s.seen[dns.Fqdn(name)]
}

// ServeDNS implements dns.Handler.
func (s *nameServer) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(r)
	m.Authoritative = true
	if r.Opcode == dns.OpcodeUpdate {
		m.Rcode = s.update(w, r)
		if r.IsTsig() != nil {
			m.SetTsig("weir.", dns.HmacSHA256, 300, time.Now().Unix())
		}
		w.WriteMsg(m)
		return
	}
	q := r.Question[0]
	name := strings.ToLower(q.Name)
	soa := &dns.SOA{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.test.", Mbox: "m.test.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1}
	switch {
	case q.Qtype == dns.TypeA && s.addresses[name] != "":
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(s.addresses[name])})
	case q.Qtype == dns.TypeTXT:
		for _, text := range s.texts[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}})
		}
	case q.Qtype == dns.TypeSOA && name == "test.":
		m.Answer = append(m.Answer, soa)
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, soa)
	}
	w.WriteMsg(m)
}

// update makes the changes of RFC 2136 that come with a good signature.
func (s *nameServer) update(w dns.ResponseWriter, r *dns.Msg) int {
	if r.IsTsig() == nil || w.TsigStatus() != nil {
		return dns.RcodeNotAuth
	}
	for _, rr := range r.Ns {
		record, ok := rr.(*dns.TXT)
		if !ok {
			return dns.RcodeRefused
		}
		name, value := strings.ToLower(record.Hdr.Name), strings.Join(record.Txt, "")
		if record.Hdr.Class == dns.ClassINET {
			s.texts[name] = append(s.texts[name], value)
			s.seen[name]++
			continue
		}
		s.texts[name] = without(s.texts[name], value)
	}
	return dns.RcodeSuccess
}

// without returns a list without a value.
func without(list []string, value string) (rest []string) {
	for _, v := range list {
		if v != value {
			rest = append(rest, v)
		}
	}
	return rest
}
