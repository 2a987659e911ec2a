package dns_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"weir/discover"
	"weir/discover/discovertest"
	source "weir/discover/dns"
	"weir/discover/dns/dnstest"
	"weir/internal/testkit"
	"weir/lb"
)

// open opens the source at a URL.
func open(text string) (discover.Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	for _, s := range source.Schemes() {
		if s.Name == u.Scheme {
			return s.Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
	}
	return nil, fmt.Errorf("no scheme %q", u.Scheme)
}

func serve(t *testing.T, records ...string) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start()
	if err == nil {
		err = s.Set(records...)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

// run is a source that runs.
type run struct {
	*testing.T
	source discover.Source
	end    context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	last    string
	reports int
}

// follow runs the source at a URL, which begins its options with this resolver.
func follow(t *testing.T, s *dnstest.Server, text string) *run {
	t.Helper()
	mark := "?"
	if strings.Contains(text, "?") {
		mark = "&"
	}
	from, err := open(text + mark + "resolver=" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, source: from}
	r.start()
	return r
}

func (r *run) start() {
	ctx, cancel := context.WithCancel(r.Context())
	r.end, r.ended = cancel, make(chan error, 1)
	go func() { r.ended <- r.source.Run(ctx, r.report) }()
}

func (r *run) report(list []lb.Endpoint) {
	var texts []string
	for _, e := range list {
		texts = append(texts, fmt.Sprintf("%s/%d/%d", strings.TrimPrefix(e.URL, "http://"), e.Priority, e.Weight))
	}
	slices.Sort(texts)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = strings.Join(texts, " ")
	r.reports++
}

// sees waits until this was reported last.
func (r *run) sees(what, want string) {
	r.Helper()
	testkit.Eventually(r, what+": "+want+" is reported", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.reports > 0 && r.last == want
	})
}

// fails waits until the source has failed.
func (r *run) fails(what, want string) {
	r.Helper()
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), want) {
		r.Errorf("%s: got error %v, want %s", what, err, want)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	s := serve(t, "app.test. 0 IN A 10.0.0.1", "app.test. 5 IN AAAA fd00::1", "www.test. 9 IN CNAME App.Test.", "other.test. 0 IN A 10.9.9.9")
	r := follow(t, s, "dns:app.test:80?min_ttl=100ms")
	r.sees("both families", "10.0.0.1:80/0/1 [fd00::1]:80/0/1")
	follow(t, s, "dns:app.test:80?family=ipv4").sees("one family", "10.0.0.1:80/0/1")
	follow(t, s, "dns:app.test:443?family=ipv6&scheme=https").sees("the other family", "https://[fd00::1]:443/0/1")
	follow(t, s, "dns:www.test:80").sees("an alias", "10.0.0.1:80/0/1 [fd00::1]:80/0/1")
	if err := s.Set("app.test. 0 IN A 10.0.0.2", "app.test. 0 IN A 10.0.0.3"); err != nil {
		t.Fatal(err)
	}
	r.sees("others", "10.0.0.2:80/0/1 10.0.0.3:80/0/1")
	if err := s.Set(); err != nil {
		t.Fatal(err)
	}
	r.sees("no such name", "")
	if err := s.Set("app.test. 0 IN TXT text"); err != nil {
		t.Fatal(err)
	}
	r.sees("no such record", "")
	// One family fails: it keeps what it had.
	if err := s.Set("app.test. 0 IN A 10.0.0.1", "app.test. 0 IN AAAA fd00::1"); err != nil {
		t.Fatal(err)
	}
	r.sees("both again", "10.0.0.1:80/0/1 [fd00::1]:80/0/1")
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if m.Question[0].Qtype == dns.TypeAAAA {
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
		}
		return m
	})
	if err := s.Set("app.test. 0 IN A 10.0.0.2"); err != nil {
		t.Fatal(err)
	}
	r.sees("AAAA fails", "10.0.0.2:80/0/1 [fd00::1]:80/0/1")
}

func TestServices(t *testing.T) {
	t.Parallel()
	records := []string{
		"_http._tcp.app.test. 0 IN SRV 20 0 8080 b.test.",
		"_http._tcp.app.test. 0 IN SRV 10 60 8080 a.test.",
		"_http._tcp.app.test. 0 IN SRV 10 40 8081 a.test.",
		"a.test. 0 IN A 10.0.0.1", "b.test. 0 IN A 10.0.0.2",
	}
	s := serve(t, records...)
	r := follow(t, s, "srv:_http._tcp.app.test?min_ttl=100ms")
	r.sees("priorities are groups", "10.0.0.1:8080/0/60 10.0.0.1:8081/0/40 10.0.0.2:8080/1/1")
	set := func(records ...string) {
		t.Helper()
		if err := s.Set(records...); err != nil {
			t.Fatal(err)
		}
	}
	set("_http._tcp.app.test. 0 IN SRV 5 0 1 a.test.", "_http._tcp.app.test. 0 IN SRV 5 3 2 b.test.",
		"a.test. 0 IN A 10.0.0.1", "b.test. 0 IN A 10.0.0.2", "b.test. 0 IN A 10.0.0.3")
	r.sees("weight 0 is little, two addresses share", "10.0.0.1:1/0/1 10.0.0.2:2/0/15 10.0.0.3:2/0/15")
	// A host that cannot be looked up keeps its addresses.
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if m.Question[0].Name == "a.test." {
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
		}
		return m
	})
	set("_http._tcp.app.test. 0 IN SRV 5 7 1 a.test.", "_http._tcp.app.test. 0 IN SRV 5 3 2 b.test.", "b.test. 0 IN A 10.0.0.2")
	r.sees("a fails", "10.0.0.1:1/0/7 10.0.0.2:2/0/3")
	set("_http._tcp.app.test. 0 IN SRV 0 0 0 .")
	r.sees("decidedly none", "")
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if m.Question[0].Qtype != dns.TypeSRV {
			return nil
		}
		for _, text := range []string{"a.test. 0 IN A 10.0.0.1", "a.test. 0 IN AAAA fd00::1"} {
			r, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			m.Extra = append(m.Extra, r)
		}
		return m
	})
	set("_http._tcp.app.test. 0 IN SRV 1 1 80 a.test.")
	r.sees("addresses come with the answer", "10.0.0.1:80/0/5 [fd00::1]:80/0/5")
	s.Answer(nil)
	set("_https._tcp.app.test. 0 IN SRV 1 1 443 a.test.", "a.test. 0 IN A 10.0.0.1")
	follow(t, s, "srv:_https._tcp.app.test").sees("https", "https://10.0.0.1:443/0/1")
}

// Very many records, whose hosts are looked up one by one, are found; the hosts that fail keep what they had.
func TestManyServices(t *testing.T) {
	t.Parallel()
	var records, want []string
	for i := range 1000 {
		records = append(records, fmt.Sprintf("_http._tcp.app.test. 0 IN SRV 1 1 80 H%d.test.", i), fmt.Sprintf("h%d.test. 0 IN A 10.0.%d.%d", i, i/256, i%256))
		want = append(want, fmt.Sprintf("10.0.%d.%d:80/0/1", i/256, i%256))
	}
	slices.Sort(want)
	s := serve(t, records...)
	follow(t, s, "srv:_http._tcp.app.test").sees("1,000 records", strings.Join(want, " "))
}

// One family fails and there is nothing of the other: that is no answer that there are no addresses.
func TestHalfAnAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, "app.test. 0 IN A 10.0.0.1", "_http._tcp.app.test. 0 IN SRV 1 1 80 app.test.")
	fails := func(m *dns.Msg) *dns.Msg {
		if m.Question[0].Qtype == dns.TypeA {
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
		}
		return m
	}
	s.Answer(fails)
	for _, text := range []string{"dns:app.test:80", "srv:_http._tcp.app.test"} {
		r := follow(t, s, text)
		r.fails(text, "SERVFAIL")
		s.Answer(nil)
		r.start()
		r.sees(text+" is mended", "10.0.0.1:80/0/1")
		r.end()
		s.Answer(fails)
	}
}

// That there is nothing is asked again soon, however long the answer may be remembered: it is mostly a mistake.
func TestNothingIsAskedAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if len(m.Answer) > 0 {
			return m
		}
		soa, err := dns.NewRR("test. 3600 IN SOA ns.test. admin.test. 1 2 3 4 3600")
		if err != nil {
			panic(err)
		}
		m.Ns = append(m.Ns, soa)
		return m
	})
	addresses := follow(t, s, "dns:app.test:80?min_ttl=100ms&max_ttl=1h")
	services := follow(t, s, "srv:_http._tcp.app.test?min_ttl=100ms&max_ttl=1h")
	addresses.sees("no such name", "")
	services.sees("no such records", "")
	if err := s.Set("app.test. 9 IN A 10.0.0.1", "_http._tcp.app.test. 9 IN SRV 1 1 80 app.test."); err != nil {
		t.Fatal(err)
	}
	addresses.sees("an address", "10.0.0.1:80/0/1")
	services.sees("a record", "10.0.0.1:80/0/1")
}

// An answer too large for a packet is asked for over TCP.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	var records, want []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("app.test. 0 IN A 10.0.1.%d", i))
		want = append(want, fmt.Sprintf("10.0.1.%d:80/0/1", i))
	}
	slices.Sort(want)
	follow(t, serve(t, records...), "dns:app.test:80").sees("200 addresses", strings.Join(want, " "))
}

// What is no answer is an error; the source can be run again and goes on.
func TestFails(t *testing.T) {
	t.Parallel()
	for want, wrong := range map[string]func(*dns.Msg) *dns.Msg{
		"SERVFAIL": func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m },
		"REFUSED":  func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m },
		"another question": func(m *dns.Msg) *dns.Msg {
			m.Question[0].Name = "other.test."
			return m
		},
		"timeout": func(m *dns.Msg) *dns.Msg { return nil },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "app.test. 0 IN A 10.0.0.1")
			r := follow(t, s, "dns:app.test:80?min_ttl=100ms&family=ipv4")
			r.sees("at first", "10.0.0.1:80/0/1")
			s.Answer(wrong)
			r.fails(want, want)
			r.sees("what it had stays", "10.0.0.1:80/0/1")
			s.Answer(nil)
			if err := s.Set("app.test. 0 IN A 10.0.0.2"); err != nil {
				t.Fatal(err)
			}
			r.start()
			r.sees("mended", "10.0.0.2:80/0/1")
		})
	}
}

// Another server is asked when the first one says nothing.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	s := serve(t, "app.test. 0 IN A 10.0.0.1")
	follow(t, s, "dns:app.test:80?resolver="+testkit.Reserve(t)).sees("the second server", "10.0.0.1:80/0/1")
}

// The time to live says when to ask again, between its bounds.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	s := serve(t, "short.test. 0 IN A 10.0.0.1", "long.test. 3600 IN A 10.0.0.1", "bounded.test. 3600 IN A 10.0.0.1")
	short := follow(t, s, "dns:short.test:80?min_ttl=100ms")
	follow(t, s, "dns:long.test:80?max_ttl=2h").sees("long", "10.0.0.1:80/0/1")
	asked := s.Questions("A long.test.") // more than once if the answer was late
	bounded := follow(t, s, "dns:bounded.test:80?max_ttl=1s")
	bounded.sees("bounded", "10.0.0.1:80/0/1")
	again := s.Questions("A bounded.test.")
	testkit.Eventually(t, "short and bounded were asked for again", func() bool {
		return s.Questions("A short.test.") > 5 && s.Questions("A bounded.test.") > again+1
	})
	if n := s.Questions("A long.test."); n > asked+1 {
		t.Errorf("%d more questions for an answer that lives an hour", n-asked)
	}
	short.end()
	short.fails("ended", context.Canceled.Error())
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"dns:app:80": "", "dns:app.test.:80?scheme=https&min_ttl=1m&resolver=10.0.0.1&resolver=[fd00::1]:5353": "", "srv:_http._tcp.app.test": "",
		"dns:app": "NAME:PORT", "dns://app:80": "NAME:PORT", "dns:10.0.0.1:80": "NAME:PORT", "dns:a b:80": "NAME:PORT", "dns:app:0": "NAME:PORT",
		"dns:app:http": "NAME:PORT", "srv:": "_SERVICE", "srv:10.0.0.1": "_SERVICE", "dns:app:80?scheme=ftp": "http or https", "dns:app:80?resolver=ns.test": "an address",
		"dns:app:80?min_ttl=1ms": "100ms to", "dns:app:80?min_ttl=1m&max_ttl=1s": "1m0s to", "dns:app:80?ttl=1s": "one of the options family, max_ttl, min_ttl, resolver, scheme",
		"dns:app:80?family=4": "any or ipv4 or ipv6",
	} {
		if _, err := open(text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	for _, way := range []string{dnstest.Addresses, dnstest.Services, dnstest.HostName} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			p, err := dnstest.Place(way, source.Schemes())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Stop() })
			if err := discovertest.Follow(p, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
