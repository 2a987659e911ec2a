package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"weir/bench"
	"weir/bench/load"
)

// runner measures. All that it starts lives below dir and ends with it.
type runner struct {
	dir       string
	self      string // this program, which is some of the servers too
	log       func(format string, args ...any)
	settings  runSettings
	cert, key string
	roots     *x509.CertPool
	files     int      // descriptors that a process may have
	origin    *process // what all peers stand in front of
	address   string   // its "host:port"
}

func newRunner(dir, self string, s runSettings, log func(string, ...any)) (*runner, error) {
	r := &runner{dir: dir, self: self, settings: s, log: log}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("cannot ask for the descriptor limit: %w", err)
	}
	r.files = int(min(limit.Max, 20000))
	if r.files < 2500 {
		return nil, fmt.Errorf("cannot measure with %d file descriptors: raise the limit (ulimit -n) to at least 2500", r.files)
	}
	if room := r.connections(); r.settings.Idle > room {
		log("only %d idle connections: the descriptor limit is %d", room, r.files)
		r.settings.Idle = room
	}
	cert, key, err := bench.MakeCertificate()
	if err != nil {
		return nil, err
	}
	r.cert, r.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	r.roots = x509.NewCertPool()
	if !r.roots.AppendCertsFromPEM(cert) {
		panic("BUG: own certificate does not parse")
	}
	for name, content := range map[string][]byte{
		r.cert: cert, r.key: key,
		r.cert + ".both": append(append([]byte(nil), cert...), key...), // HAProxy wants both in one
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, fmt.Errorf("cannot write a certificate: %w", err)
		}
	}
	return r, nil
}

// connections is how many clients each peer has descriptors for: HAProxy counts
// two sockets and half a pipe for each.
func (r *runner) connections() int { return (r.files - 1000) * 2 / 5 }

// socket is where the origin listens besides its address.
func (r *runner) socket() string { return filepath.Join(r.dir, "origin.sock") }

func (r *runner) base(origin string) settings {
	return settings{
		Origin: origin, Socket: r.socket(), Workers: r.settings.Workers, Forwarding: r.settings.Forwarding,
		Root: os.Geteuid() == 0, Files: r.files, Connections: r.connections(),
	}
}

// row measures one scenario: in each round every peer in turn, to and fro (A B
// C, C B A), so that what changes on the machine meanwhile hits all of them.
func (r *runner) row(ctx context.Context, sc scenario, all []peer) (row, error) {
	out := row{ID: sc.id, Title: sc.title, Rate: sc.rate * r.settings.RateFactor}
	var taking []peer
	for _, p := range all {
		if sc.takes(p) {
			taking = append(taking, p)
			out.Cells = append(out.Cells, cell{Peer: p.name})
		}
	}
	for round := range r.settings.Rounds {
		for i := range taking {
			if round%2 == 1 {
				i = len(taking) - 1 - i
			}
			p, c := taking[i], &out.Cells[i]
			if c.Error != "" {
				continue // it failed before; once is enough to say so
			}
			s, err := r.sample(ctx, sc, p)
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			if err != nil {
				c.Error = err.Error()
				r.log("%-12s round %d %-13s FAILED: %v", sc.id, round+1, p.name, err)
				continue
			}
			c.Rounds = append(c.Rounds, s)
			r.log("%-12s round %d %-13s %s", sc.id, round+1, p.name, s)
		}
	}
	for i := range out.Cells {
		out.Cells[i].Median = median(out.Cells[i].Rounds)
	}
	return out, nil
}

// sample starts a peer, measures it once, and stops it.
func (r *runner) sample(ctx context.Context, sc scenario, p peer) (sample, error) {
	proc, s, err := r.start(ctx, sc, p)
	if err != nil {
		return sample{}, err
	}
	defer r.stop(proc, s)
	switch {
	case sc.idle:
		return r.idle(ctx, sc, proc, s.Listen)
	case sc.entry:
		return r.entry(ctx, sc, s)
	case sc.streams > 0:
		return r.framed(ctx, sc, proc, s.Listen)
	}
	return r.busy(ctx, sc, proc, s.Listen)
}

// start starts a peer for a scenario.
func (r *runner) start(ctx context.Context, sc scenario, p peer) (*process, settings, error) {
	s := r.base(r.address)
	s.Cache, s.HTTP2, s.Compress = sc.cache, sc.streams > 0, sc.compress
	s.Scraped = sc.entry // weir's metrics tell what an entry takes
	if sc.tls {
		s.Cert, s.Key = r.cert, r.key
	}
	return p.start(ctx, r.dir, s)
}

// stop ends what start has started.
func (r *runner) stop(proc *process, s settings) {
	proc.stop()
	if err := os.RemoveAll(s.Dir); err != nil {
		r.log("cannot remove %s: %v", s.Dir, err)
	}
}

func (r *runner) options(sc scenario, address string) load.Options {
	opt := load.Options{
		Address: address, Connections: sc.conns, Body: sc.body,
		Requests: [][]byte{load.Get(bench.CertificateName, sc.path)},
	}
	if sc.requests != nil {
		opt.Requests = sc.requests
	}
	if sc.compress {
		opt.Requests = [][]byte{load.Request{Host: bench.CertificateName, Path: sc.path, Fields: []string{"User-Agent: weir-bench", "Accept: */*", "Accept-Encoding: gzip"}}.Raw()}
		opt.Body = -1
	}
	if sc.tls {
		opt.TLS = &tls.Config{RootCAs: r.roots, ServerName: bench.CertificateName,
			MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
	}
	return opt
}

// warmUp is load that does not count.
func (r *runner) warmUp(ctx context.Context, g *load.Generator) error {
	if r.settings.Warmup == 0 {
		return nil
	}
	_, err := phase(ctx, g, load.Phase{Duration: seconds(r.settings.Warmup)})
	return err
}

// phase is one phase of load that a signal ends.
func phase(ctx context.Context, g *load.Generator, p load.Phase) (load.Result, error) {
	p.Stop = ctx.Done()
	res, err := g.Run(p)
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	if err == nil && res.Requests == 0 {
		err = fmt.Errorf("cannot measure: no request was answered as expected: %v", res.Errors)
	}
	return res, err
}

// loaded is what a load came to.
type loaded struct {
	requests, failed int64
	perSecond        float64
}

// counted measures the CPU time of a load in a closed loop.
func (r *runner) counted(sc scenario, proc *process, run func() (loaded, error)) (sample, error) {
	var s sample
	before, err := measureTree(proc.pid(), false)
	if err != nil {
		return s, err
	}
	originBefore, err := measureTree(r.origin.pid(), false)
	if err != nil {
		return s, err
	}
	closed, err := run()
	if err != nil {
		return s, err
	}
	originAfter, err := measureTree(r.origin.pid(), false)
	if err != nil {
		return s, err
	}
	after, err := measureTree(proc.pid(), true)
	if err != nil {
		return s, err
	}
	each := func(d time.Duration) float64 {
		return float64(d) / 1000 / float64(closed.requests)
	}
	// An origin needs several microseconds for each request that it is asked.
	const few = 0.1
	if used := each(originAfter.cpu - originBefore.cpu); sc.cache && used > few {
		return s, fmt.Errorf("cannot measure cache hits: the origin used %.2f us per request, more than %g, so it was asked", used, few)
	}
	s.CPU = each(after.cpu - before.cpu)
	s.User, s.System = each(after.user-before.user), each(after.system-before.system)
	s.PerSecond = closed.perSecond
	s.Resident = float64(after.resident)
	s.Requests, s.Failed = closed.requests, closed.failed
	return s, nil
}

// underLoad starts a peer for a scenario, and makes its load until it is warm. end stops both.
func (r *runner) underLoad(ctx context.Context, sc scenario, p peer) (proc *process, s settings, g *load.Generator, end func(), err error) {
	proc, s, err = r.start(ctx, sc, p)
	if err != nil {
		return nil, s, nil, nil, err
	}
	if g, err = load.New(r.options(sc, s.Listen)); err != nil {
		r.stop(proc, s)
		return nil, s, nil, nil, err
	}
	end = func() {
		g.Close()
		r.stop(proc, s)
	}
	if err := r.warmUp(ctx, g); err != nil {
		end()
		return nil, s, nil, nil, err
	}
	return proc, s, g, end, nil
}

// closed measures CPU time and throughput in a closed loop.
func (r *runner) closed(ctx context.Context, sc scenario, proc *process, g *load.Generator) (sample, error) {
	return r.counted(sc, proc, func() (loaded, error) { return r.closedLoad(ctx, g) })
}

// closedLoad is the load of a measurement in a closed loop.
func (r *runner) closedLoad(ctx context.Context, g *load.Generator) (loaded, error) {
	closed, err := phase(ctx, g, load.Phase{Duration: seconds(r.settings.Closed)})
	return loaded{closed.Requests, closed.Failed(), closed.PerSecond()}, err
}

// busy measures CPU time and throughput in a closed loop, then latency at a
// fixed rate.
func (r *runner) busy(ctx context.Context, sc scenario, proc *process, address string) (sample, error) {
	var s sample
	if sc.compress {
		if err := compresses("http://" + address + sc.path); err != nil {
			return s, err
		}
	}
	g, err := load.New(r.options(sc, address))
	if err != nil {
		return s, err
	}
	defer g.Close()
	if sc.warm > 0 {
		if _, err := phase(ctx, g, load.Phase{Requests: sc.warm}); err != nil {
			return s, err
		}
	}
	if err := r.warmUp(ctx, g); err != nil {
		return s, err
	}
	if s, err = r.closed(ctx, sc, proc, g); err != nil {
		return s, err
	}
	if r.settings.Open > 0 && sc.rate > 0 {
		open, err := phase(ctx, g, load.Phase{Duration: seconds(r.settings.Open), Rate: sc.rate * r.settings.RateFactor})
		if err != nil {
			return s, err
		}
		us := func(q float64) float64 { return float64(open.Quantile(q)) / 1000 }
		s.P50, s.P99, s.P999 = us(50), us(99), us(99.9)
		s.Requests += open.Requests
		s.Failed += open.Failed()
	}
	return s, nil
}

// compresses says whether the answer is compressed.
func compresses(url string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if found := response.Header.Get("Content-Encoding"); found != "gzip" {
		return fmt.Errorf("cannot measure compressed answers: found Content-Encoding %q", found)
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
