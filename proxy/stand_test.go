package proxy

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache"
	"weir/config"
	"weir/internal/figures"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/lb"
	"weir/lb/balance"
)

// bubble runs a test whose waits take no time. All goroutines that it starts must end.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		// The clock of a bubble begins long before lb's. Ages are in whole seconds.
		time.Sleep(time.Until(began.Truncate(time.Second).Add(time.Second)))
		test(t)
	})
}

// stand is a Proxy whose clients and targets the test plays.
type stand struct {
	*Proxy
	t       testing.TB
	parts   Parts
	targets map[string]*fakeTarget
	sets    map[string]*lb.Upstream
	peer    forward.Peer
	lis     *Listener
	set     *metrics.Set
	figures *Metrics
	logged  lockedBuffer
	// background counts what runs without a client.
	background sync.WaitGroup
	// panics is how many panics the test has provoked.
	panics int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// oneTarget is the configuration of a route to the target "a".
const oneTarget = "[[routes]]\nname = \"all\"\nupgrade = [\"x\", \"y\", \"z\"]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [\"http://a\"]\n"

// twoTargets is that of a route to "a" and "b", in turn.
const twoTargets = "[[routes]]\nname = \"all\"\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [\"http://a\", \"http://b\"]\n"

// newStand makes a Proxy of a configuration. Its targets are known by the hosts of their
// URLs, and answer "200" with the body "hello".
func newStand(t testing.TB, text string, hooks ...Hooks) *stand {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte("[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{
		t: t, targets: map[string]*fakeTarget{}, sets: map[string]*lb.Upstream{}, set: metrics.NewSet(),
		peer: forward.NewPeer(netip.MustParseAddrPort("192.0.2.7:4000"), false),
	}
	m := NewMetrics(s.set)
	s.figures = m
	for name := range cfg.Upstreams {
		u := cfg.Upstreams[name]
		for i := range u.Targets {
			u.Targets[i].Resolve = config.ResolveOne // nobody looks the names of the fake targets up
		}
		s.sets[name], err = lb.NewUpstream(name, &u, lb.Options{
			NewTransport: s.newTarget, NewAttachment: m.NewTarget, Algorithms: balance.Algorithms(),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.sets[name].Close)
	}
	s.lis = m.NewListener(&config.Listener{Name: "main"})
	store, err := cache.NewStore(&cfg.Cache)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s.parts = Parts{
		Config: cfg, Upstreams: s.sets, Hooks: hooks, Log: slog.New(slog.NewTextHandler(&s.logged, nil)), Metrics: m, Cache: store,
		Background: func(f func()) { s.background.Go(f) },
	}
	s.reload()
	return s
}

// reload makes a Proxy of another generation, of the same configuration.
func (s *stand) reload() {
	s.t.Helper()
	var err error
	if s.Proxy, err = New(s.parts); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) newTarget(text string, _ *config.Upstream) (lb.Transport, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	f := &fakeTarget{t: s.t, name: u.Host, scripts: []script{answer("200", "hello")}}
	s.targets[u.Host] = f
	return f, nil
}

// on makes a target play these scripts.
func (s *stand) on(target string, scripts ...script) *fakeTarget {
	f := s.targets[target]
	f.scripts = scripts
	return f
}

// settled complains about anything that the exchanges so far have not given back.
func (s *stand) settled() {
	s.t.Helper()
	settle()
	s.background.Wait()
	for _, f := range s.targets {
		f.settled()
		f.running.Wait()
	}
	for name, u := range s.sets {
		if n := u.InFlight(); n != 0 {
			s.t.Errorf("upstream %s has %d exchanges", name, n)
		}
		for _, t := range u.Targets() {
			if n := t.InFlight(); n != 0 {
				s.t.Errorf("target %s has %d exchanges", t.Name(), n)
			}
		}
	}
	if n := s.lis.metrics.inFlight.Load(); n != 0 {
		s.t.Errorf("the listener has %d exchanges", n)
	}
	if n := s.lis.metrics.tunnels.Load(); n != 0 {
		s.t.Errorf("the listener has %d tunnels", n)
	}
	if n := int(s.metrics.panics.Get()); n != s.panics {
		s.t.Errorf("%d panics, want %d: %s", n, s.panics, &s.logged.b)
	}
	if n := len(s.fetches.running); n != 0 {
		s.t.Errorf("%d fetches go on", n)
	}
}

// retries is how many retries and hedges of an upstream count against its budget.
func (s *stand) retries(upstream string) int {
	used, _ := s.sets[upstream].Retry().Budget.Used(lb.Monotonic())
	return used
}

// metric is the value of a series; "" if there is no such series.
func (s *stand) metric(series string) string {
	var b bytes.Buffer
	s.set.WritePrometheus(&b)
	s.figures.WriteMetrics(&b, figures.LE)
	for line := range strings.Lines(b.String()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// client is an exchange and the test's side of it.
type client struct {
	*Exchange
	s     *stand
	front *fakeFront
	gone  *Cancel
}

// request makes a request of lines: "GET /path", then fields. One without a Host gets
// "weir.test"; one with a body is followed by with.
func (s *stand) request(text string) *client {
	s.t.Helper()
	c := &client{Exchange: NewExchange(), s: s, gone: new(Cancel)}
	c.fill(text)
	return c
}

// fill makes c a new request, as a front end that pools exchanges does it.
func (c *client) fill(text string) {
	t := c.s.t
	t.Helper()
	c.front = &fakeFront{t: t, on: map[string]func() error{}, body: newFeed(0)}
	c.gone.Reset()
	c.Client = &Client{
		Front: c.front, Cancel: c.gone, Listener: c.s.lis, Peer: &c.s.peer, Remote: netip.MustParseAddrPort("192.0.2.7:4000"),
	}
	c.Body = c.front.body
	c.Start = time.Now()
	line, fields, _ := strings.Cut(text, "\n")
	method, target, _ := strings.Cut(line, " ")
	h := &c.Request
	h.StartRequest(head.HTTP11, []byte(method), []byte(target))
	if !strings.Contains("\n"+fields, "\nHost:") {
		fields = "Host: weir.test\n" + fields
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(fields, "\n"), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		if err := h.Fill([]byte(name), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.FinishRequest(); err != nil {
		t.Fatal(err)
	}
}

// with gives the request a body of this length, -1 if it is not known.
func (c *client) with(length int64, pieces ...string) *client {
	c.front.body = newFeed(length).send(pieces...)
	c.Body = c.front.body
	c.Request.SetFraming(length)
	return c
}

// serve serves the exchange and returns how it ended: "200 ok".
func (c *client) serve() string {
	c.s.t.Helper()
	c.s.Serve(c.Exchange)
	return c.ended()
}

// ended is how the exchange ended, after all that it used was given back.
func (c *client) ended() string {
	c.s.t.Helper()
	settle()
	if c.phase != phaseSettled {
		c.s.t.Fatalf("the exchange goes on: %q", c.front.trace())
	}
	c.s.settled()
	end := fmt.Sprintf("%d %s", c.Result.Status, c.Result.Cause)
	if c.gone.waiting != nil {
		c.s.t.Errorf("%s, but a cancel would interrupt %T", end, c.gone.waiting)
	}
	if c.Result.Status != c.front.status {
		c.s.t.Errorf("%s, but the client got %d", end, c.front.status)
	}
	return end
}

// start serves the exchange on a goroutine, up to the point where it waits for the test.
func (c *client) start() *client {
	go c.s.Serve(c.Exchange)
	settle()
	return c
}

// settle waits until every goroutine of the bubble waits for another.
func settle() { synctest.Wait() }

// equal fails the test if got is not want.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %.400q, want %.400q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// contains fails the test if a text lacks a part.
func contains(t testing.TB, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s is %.600q, without %q", what, text, part)
	}
}

// lacks fails the test if a text has a part.
func lacks(t testing.TB, what, text, part string) {
	t.Helper()
	if strings.Contains(text, part) {
		t.Errorf("%s is %.600q, with %q", what, text, part)
	}
}
