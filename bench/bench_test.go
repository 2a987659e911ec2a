package bench_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"weir/bench"
	"weir/bench/baseline"
	"weir/bench/load"
	"weir/bench/origin"
)

// subject is something between client and origin that can be measured.
type subject struct {
	name string
	// start serves in front of s.origin until stop is called; nil means clients
	// talk to the origin.
	start func(tb testing.TB, s setup) (address string, stop func())
}

// setup is what a benchmark asks of its subject.
type setup struct {
	origin    string // "host:port"
	cache     bool
	cert, key string // PEM files; empty means plaintext
	pair      tls.Certificate
	roots     *x509.CertPool
}

// subjects are weir, the baseline, and nothing in between: what "direct"
// shows is client and origin, the share of both others that is not a proxy's.
func subjects() []subject {
	return []subject{
		{"weir", startWeir},
		{"httputil", startHTTPUtil},
		{"direct", nil},
	}
}

func startHTTPUtil(tb testing.TB, s setup) (address string, stop func()) {
	opt := baseline.Options{Target: s.origin, Forwarding: true}
	if s.cert != "" {
		opt.TLS = &tls.Config{Certificates: []tls.Certificate{s.pair}}
	}
	srv := baseline.New(opt)
	ln := listen(tb)
	address = ln.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.cert != "" {
			ln = tls.NewListener(ln, opt.TLS)
		}
		_ = srv.Serve(ln) // ends with ErrServerClosed
	}()
	return address, func() {
		if err := srv.Close(); err != nil {
			tb.Error(err)
		}
		<-done
	}
}

// scenario is what clients do.
type scenario struct {
	name string
	path string
	body int64 // bytes of the answer
	post int   // bytes of the request body; 0 means GET
	// browser makes clients send a browser's request instead of the shortest one.
	browser bool
	tls     bool
	cache   bool
	conns   int
}

func BenchmarkPass(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"1KiB", 1 << 10}, {"10KiB", 10 << 10}, {"100KiB", 100 << 10}, {"1MiB", 1 << 20}} {
		for _, conns := range []int{1, 64, 512} {
			if conns == 512 && size.bytes > 10<<10 {
				continue // more connections change nothing once copying rules
			}
			measure(b, scenario{name: "size=" + size.name, path: fmt.Sprintf("/bytes/%d", size.bytes), body: size.bytes, conns: conns})
		}
	}
}

func BenchmarkUpload(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"10KiB", 10 << 10}, {"1MiB", 1 << 20}} {
		measure(b, scenario{name: "size=" + size.name, path: "/upload", body: 2, post: size.bytes, conns: 64})
	}
}

// BenchmarkBrowser is Pass with heads of the usual size: a browser's request, and
// the response of a web site.
func BenchmarkBrowser(b *testing.B) {
	for _, conns := range []int{1, 64, 512} {
		measure(b, scenario{name: "size=10KiB", path: "/page/10240", body: 10 << 10, browser: true, conns: conns})
	}
}

func BenchmarkTLS(b *testing.B) {
	for _, conns := range []int{1, 64} {
		measure(b, scenario{name: "size=1KiB", path: "/bytes/1024", body: 1024, tls: true, conns: conns})
	}
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"1KiB", 1 << 10}, {"10KiB", 10 << 10}, {"100KiB", 100 << 10}} {
		for _, conns := range []int{1, 64, 512} {
			if conns == 512 && size.bytes > 1<<10 {
				continue
			}
			measure(b, scenario{name: "size=" + size.name, path: fmt.Sprintf("/bytes/%d", size.bytes), body: size.bytes, cache: true, conns: conns})
		}
	}
}

// measure runs one scenario with each subject that can do it. Benchstat
// compares the subjects of one run with `benchstat -col /proxy`.
func measure(b *testing.B, sc scenario) {
	for _, sub := range subjects() {
		if sc.cache && sub.name == "httputil" {
			continue // it has no cache
		}
		if sc.tls && sub.start == nil {
			continue // the origin speaks no TLS
		}
		b.Run(fmt.Sprintf("%s/conns=%d/proxy=%s", sc.name, sc.conns, sub.name), func(b *testing.B) {
			measureOne(b, sc, sub)
		})
	}
}

func measureOne(b *testing.B, sc scenario, sub subject) {
	run := prepare(b, sc, sub)
	b.SetBytes(sc.body + int64(sc.post))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	run(int64(b.N))
	used := cpuTime(b) - before
	b.StopTimer()
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// prepare starts origin, subject and clients until the test's end, warms them
// up, and returns what sends n requests.
func prepare(tb testing.TB, sc scenario, sub subject) (run func(n int64)) {
	// Client, origin and proxy live in this process: each connection is up to four descriptors.
	requireDescriptors(tb, sc.conns*4+100)
	originLn := listen(tb)
	o := origin.New()
	o.Serve(originLn)
	tb.Cleanup(o.Close)
	s := setup{origin: originLn.Addr().String(), cache: sc.cache}
	if sc.tls {
		writeCertificate(tb, &s)
	}
	address := s.origin
	if sub.start != nil {
		var stop func()
		address, stop = sub.start(tb, s)
		tb.Cleanup(stop)
	}
	opt := load.Options{
		Address:     address,
		Connections: sc.conns,
		Requests:    [][]byte{load.Get(bench.CertificateName, sc.path)},
		Body:        sc.body,
		// The epoll engine would keep one of the process's two or more
		// scheduler slots from the proxy while it waits.
		Engine: load.Goroutines,
	}
	switch {
	case sc.post > 0:
		opt.Requests = [][]byte{load.Post(bench.CertificateName, sc.path, sc.post)}
	case sc.browser:
		opt.Requests = [][]byte{load.Browser(bench.CertificateName, sc.path)}
	}
	if sc.tls {
		opt.TLS = &tls.Config{RootCAs: s.roots, ServerName: bench.CertificateName}
	}
	g, err := load.New(opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(g.Close)
	run = func(n int64) {
		r, err := g.Run(load.Phase{Requests: n})
		if err != nil {
			tb.Fatal(err)
		}
		if r.Failed() > 0 {
			tb.Fatalf("%d of %d requests failed: %v", r.Failed(), n, r.Errors)
		}
	}
	run(int64(4 * sc.conns)) // fills pools and the cache, opens upstream connections
	if sc.cache && sub.start != nil {
		asked := o.Requests()
		run(100)
		if asked = o.Requests() - asked; asked > 0 {
			tb.Fatalf("the origin was asked %d times for 100 requests that should have been cache hits", asked)
		}
	}
	return run
}

func listen(tb testing.TB) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

// cpuTime is the user and system time of this process in nanoseconds.
func cpuTime(tb testing.TB) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func requireDescriptors(tb testing.TB, n int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		tb.Fatal(err)
	}
	if limit.Cur < uint64(n) {
		tb.Skipf("needs %d file descriptors, the limit is %d", n, limit.Cur)
	}
}

func writeCertificate(tb testing.TB, s *setup) {
	cert, key, err := bench.MakeCertificate()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	s.cert, s.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(s.cert, cert, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(s.key, key, 0o600); err != nil {
		tb.Fatal(err)
	}
	if s.pair, err = tls.X509KeyPair(cert, key); err != nil {
		tb.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(cert) {
		tb.Fatal("BUG: own certificate does not parse")
	}
}
