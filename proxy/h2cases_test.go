package proxy_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache"
	"weir/config"
	"weir/internal/forward"
	"weir/internal/testkit"
	"weir/internal/transport"
	"weir/lb"
	"weir/lb/balance"
	"weir/proxy"
)

// h2stand is a client of the sketch, and the sketch before a real origin.
type h2stand struct {
	*h2client
	conn   *h2conn
	set    *lb.Upstream
	origin *testkit.Origin
	done   atomic.Int64
	causes [3]atomic.Int64 // ok, client_gone, others
}

// overH2 makes a stand of routes to the upstream "origin".
func overH2(t testing.TB, routes string, script func(c *testkit.Conn)) *h2stand {
	t.Helper()
	s := &h2stand{origin: testkit.Listen(t, script)}
	text := fmt.Sprintf("[[listeners]]\naddress = \"127.0.0.1:0\"\n%s\n[upstreams.origin]\ntargets = [%q]\n"+
		"timeouts = { first_byte = \"10m\", idle = \"10m\", write = \"10m\" }\n", routes, s.origin.URL)
	cfg, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.Upstreams["origin"]
	s.set, err = lb.NewUpstream("origin", &u, lb.Options{Algorithms: balance.Algorithms(), NewTransport: func(url string, cfg *config.Upstream) (lb.Transport, error) {
		return transport.New(url, cfg, transport.Options{})
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.set.Close)
	store, err := cache.NewStore(&cfg.Cache)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m := proxy.NewMetrics(metrics.NewSet())
	p, err := proxy.New(proxy.Parts{
		Config: cfg, Upstreams: map[string]*lb.Upstream{"origin": s.set}, Hooks: []proxy.Hooks{{OnDone: s.count}},
		Log: slog.New(slog.DiscardHandler), Metrics: m, Cache: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	s.conn = &h2conn{proxy: p, listener: m.NewListener(&config.Listener{Name: "main"}), peer: forward.NewPeer(remote, true), nc: far, streams: map[uint32]*h2stream{}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.conn.serve()
	}()
	t.Cleanup(func() {
		<-served
		if n := s.set.InFlight(); n != 0 {
			t.Errorf("%d exchanges go on", n)
		}
		if n := len(s.conn.streams); n != 0 {
			t.Errorf("%d streams go on", n)
		}
	})
	s.h2client = newH2Client(t, near)
	return s
}

func (s *h2stand) count(x *proxy.Exchange) {
	switch x.Result.Cause {
	case proxy.CauseOK, proxy.CauseCached, proxy.CauseRedirect:
		s.causes[0].Add(1)
	case proxy.CauseClientGone:
		s.causes[1].Add(1)
	default:
		s.causes[2].Add(1)
	}
	s.done.Add(1)
}

// ended waits until n exchanges have ended, with this outcome of all of them: those that were
// answered, left, failed.
func (s *h2stand) ended(n int64, want string) {
	s.t.Helper()
	testkit.Eventually(s.t, fmt.Sprintf("%d exchanges have ended", n), func() bool { return s.done.Load() >= n })
	if got := fmt.Sprint(s.causes[0].Load(), s.causes[1].Load(), s.causes[2].Load()); got != want {
		s.t.Errorf("the exchanges ended as %s, want %s", got, want)
	}
}

func same[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %.400q, want %.400q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

func has(t testing.TB, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s is %.600q, without %q", what, text, part)
	}
}

const toOrigin = "[[routes]]\nupstream = \"origin\"\n"

// Heads that come in frames reach the target line by line, without what an untrusted client
// says about itself; so do those that go back.
func TestH2Heads(t *testing.T) {
	requests := make(chan *testkit.Message, 10)
	s := overH2(t, "[forwarding]\nvia = \"weir\"\n"+toOrigin, func(c *testkit.Conn) {
		for {
			requests <- c.Request()
			c.Send("HTTP/1.1 200 OK\r\nX-B: 1\r\nset-cookie: a\r\nConnection: x-c\r\nX-C: 2\r\nSet-Cookie: b\r\nX-B: 3\r\n" +
				"Content-Length: 5\r\nDate: now\r\n\r\nhello")
		}
	})
	s.get(1, "/x/../y?z", "x-a: 1", "cookie: a=1", "x-b: 2", "x-forwarded-for: 1.2.3.4", "x-forwarded-user: root", "x-real-ip: 1.2.3.4",
		"forwarded: for=1.2.3.4", "te: trailers", "cookie: b=2", "x-a: 3")
	a := s.whole(1)
	const head = ":status: 200\nx-b: 1\nset-cookie: a\nset-cookie: b\nx-b: 3\ncontent-length: 5\ndate: now\nvia: 1.1 weir\n"
	same(t, "the answer's head", a.head, head)
	same(t, "the answer's body", a.body, "hello")
	same(t, "the reset", a.reset, -1)
	got := <-requests
	const want = "GET /x/../y?z HTTP/1.1\r\nhost: weir.test\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\ncookie: a=1; b=2\r\nTE: trailers\r\n" +
		"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: weir.test\r\nVia: 2 weir\r\n"
	has(t, "the request", got.Head, want)
	// A HEAD has no body, whatever its head says.
	s.open(3, true, ":method: HEAD", ":scheme: https", ":authority: weir.test", ":path: /")
	s.reset(5) // a stream that was never begun
	a = s.whole(3)
	has(t, "the answer to HEAD", a.head, "content-length: 5\n")
	same(t, "its body", a.body, "")
	s.ended(2, "2 0 0")
}

// What no HTTP/2 request may have is refused, and other streams go on.
func TestH2Refusals(t *testing.T) {
	s := overH2(t, toOrigin, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	stream := uint32(1)
	check := func(status string, reset int, lines ...string) {
		t.Helper()
		s.open(stream, true, lines...)
		a := s.whole(stream)
		got, _, _ := strings.Cut(a.head, "\n")
		same(t, strings.Join(lines, ", "), got, status)
		same(t, strings.Join(lines, ", ")+": the reset", a.reset, reset)
		stream += 2
	}
	check(":status: 200", -1, ":method: GET", ":authority: a", ":path: /")
	check("", codeProtocol, ":method: GET", ":authority: a", ":path: /", "connection: close")
	check("", codeProtocol, ":method: GET", ":authority: a", ":path: /", "te: gzip")
	check(":status: 400", -1, ":method: GET", ":path: /")
	check(":status: 400", -1, ":method: GET", ":authority: a", ":path: /", "host: b")
	check(":status: 200", -1, ":method: GET", ":authority: a", ":path: /", "host: a")
	check(":status: 400", -1, ":method: GET", ":authority: a", ":path: /\r\nX: y")
	check(":status: 400", -1, ":method: GET", ":authority: a", ":path: /", "x-a: b\r\nx-c: d")
	check(":status: 400", -1, ":method: GET", ":authority: a", ":path: /..%2f")
	check(":status: 400", -1, ":method: GET", ":authority: a", ":path: /", "content-length: 4")
	check(":status: 405", -1, ":method: CONNECT", ":authority: a", ":path: a:1")
}

// Bodies reach the target in the framing of HTTP/1.1, whole or not at all.
func TestH2Uploads(t *testing.T) {
	type result struct {
		m   *testkit.Message
		err error
	}
	results := make(chan result, 10)
	s := overH2(t, toOrigin+"max_body = \"200KiB\"\n", func(c *testkit.Conn) {
		for {
			m := c.Head()
			err := m.ReadBody(c.Reader)
			results <- result{m, err}
			if err != nil {
				return
			}
			c.Send("HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	check := func(what, framing, text, trailer string) {
		t.Helper()
		r := <-results
		if r.err != nil {
			t.Fatalf("%s: %v", what, r.err)
		}
		same(t, what+": the framing", r.m.Framing, framing)
		same(t, what+": the body", r.m.Body, text)
		same(t, what+": the trailer section", r.m.Trailer, trailer)
	}
	s.post(1, "/", "content-length: 7")
	s.data(1, false, "one ")
	s.data(1, true, "two")
	check("with a length", "length", "one two", "")
	s.post(3, "/")
	s.data(3, false, "one ")
	s.data(3, false, "two")
	s.data(3, true, "")
	check("without a length", "chunked", "one two", "")
	s.post(5, "/")
	s.data(5, false, "one")
	s.headers(5, true, "x-sum: 1", "host: other.test")
	check("with a trailer section", "chunked", "one", "x-sum: 1\r\n")
	s.post(7, "/", "content-length: 0")
	s.data(7, true, "")
	check("empty", "length", "", "")
	for stream := uint32(1); stream <= 7; stream += 2 {
		has(t, "the answer", s.whole(stream).head, ":status: 204\n")
	}
	// Those that end otherwise than they say must not look whole to the target.
	broken := func(what string, stream uint32, status string, drive func()) {
		t.Helper()
		drive()
		a := s.whole(stream)
		has(t, what, a.head, status)
		if r := <-results; r.err == nil {
			t.Errorf("%s: the target took it for whole", what)
		}
	}
	broken("shorter than it says", 9, ":status: 400\n", func() {
		s.post(9, "/", "content-length: 7")
		s.data(9, true, "one ")
	})
	broken("longer than it says", 11, ":status: 400\n", func() {
		s.post(11, "/", "content-length: 7")
		s.data(11, false, "one ")
		s.data(11, true, "two three")
	})
	broken("longer than is allowed", 13, ":status: 413\n", func() {
		s.post(13, "/")
		for range 15 {
			s.data(13, false, strings.Repeat("x", 15<<10))
		}
		same(t, "the reset", s.until(13, "the stream is reset", func(a *h2answer) bool { return a.reset >= 0 }).reset, codeNone)
	})
}

// Interim responses, and the trailer section of a response.
func TestH2InterimAndTrailers(t *testing.T) {
	s := overH2(t, toOrigin, func(c *testkit.Conn) {
		for {
			c.Request()
			c.Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </b>\r\nConnection: x-y\r\nX-Y: 1\r\n\r\n",
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n", "3\r\none\r\n", "0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n")
		}
	})
	s.get(1, "/")
	a := s.whole(1)
	same(t, "the interim responses", strings.Join(a.informs, "|"), ":status: 103\nlink: </a>\n|:status: 103\nlink: </b>\n")
	has(t, "the head", a.head, ":status: 200\ntrailer: X-Sum\n")
	same(t, "whether it speaks of HTTP/1.1", strings.Contains(a.head, "transfer-encoding"), false)
	same(t, "the body", a.body, "one")
	same(t, "the trailer section", a.trailer, "x-sum: 1\n")
}

// Both bodies of an exchange move at once; an answer that comes early ends the request.
func TestH2FullDuplex(t *testing.T) {
	s := overH2(t, toOrigin, func(c *testkit.Conn) {
		m := c.Head()
		if m.Target() == "/early" {
			c.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			c.Rest()
			return
		}
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			piece, err := m.ReadChunk(c.Reader)
			if err != nil || piece == "" {
				c.TrySend("0\r\n\r\n")
				return
			}
			c.Send(fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
		}
	})
	s.post(1, "/echo")
	want := ""
	for i := range 20 {
		piece := fmt.Sprintf("piece %d ", i)
		want += piece
		s.data(1, false, piece)
		s.until(1, "the echo comes", func(a *h2answer) bool { return a.body == want })
	}
	s.post(3, "/early")
	s.data(3, false, "one")
	a := s.until(3, "the stream is reset", func(a *h2answer) bool { return a.reset >= 0 })
	same(t, "the early answer", a.body, "no")
	same(t, "the reset", a.reset, codeNone)
	s.data(3, false, "of a stream that is over")
	s.data(1, true, "end")
	same(t, "the echo", s.whole(1).body, want+"end")
	s.ended(2, "2 0 0")
}

// What cannot wait is answered by the reader while others wait, and a client that has no room
// does not keep it from reading.
func TestH2Reader(t *testing.T) {
	free := make(chan struct{})
	large := strings.Repeat("x", 1<<20)
	s := overH2(t, `
[[routes]]
path = ["/old"]
redirect = { to = "/new" }
[[routes]]
upstream = "origin"
cache = { enabled = true }
`, func(c *testkit.Conn) {
		for {
			switch m := c.Request(); m.Target() {
			case "/slow":
				c.Wait(free)
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
			case "/large":
				c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
			default:
				c.Send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nsmall")
			}
		}
	})
	s.get(1, "/slow")
	s.get(3, "/small")
	same(t, "the body", s.whole(3).body, "small")
	s.get(5, "/large")
	s.until(5, "the window is full", func(a *h2answer) bool { return len(a.body) == window })
	s.grant(5, 1<<20)
	same(t, "the length", len(s.whole(5).body), len(large))
	s.ended(2, "2 0 0")
	now := s.conn.now
	for stream := uint32(101); stream < 200; stream += 2 {
		path, want := "/small", "small"
		if stream%4 == 1 {
			path, want = "/old", ""
		}
		s.get(stream, path)
		same(t, path, s.whole(stream).body, want)
	}
	// A hit that the client has no room for waits elsewhere.
	s.get(201, "/large")
	s.until(201, "the window is full", func(a *h2answer) bool { return len(a.body) == window })
	s.get(203, "/small")
	same(t, "the body", s.whole(203).body, "small")
	s.get(205, "/large")
	s.until(205, "the window is full", func(a *h2answer) bool { return len(a.body) == window })
	s.reset(205)
	s.grant(201, 1<<20)
	same(t, "the length", len(s.whole(201).body), len(large))
	close(free)
	same(t, "the body", s.whole(1).body, "slow")
	s.ended(56, "55 1 0")
	same(t, "the exchanges that the reader ended", s.conn.now-now, 51)
	same(t, "requests of the origin", s.origin.Requests(), 3)
}

// A client that resets a stream ends its exchange, whatever that does at the moment, and the
// connection to the target with it; other streams go on.
func TestH2Reset(t *testing.T) {
	check := func(what string, script func(c *testkit.Conn), drive func(s *h2stand)) {
		t.Helper()
		gone := make(chan struct{})
		s := overH2(t, toOrigin, func(c *testkit.Conn) {
			if m := c.Head(); m.Target() == "/other" {
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
				return
			}
			script(c)
			c.Rest() // until the connection ends
			close(gone)
		})
		drive(s)
		s.reset(1)
		<-gone
		s.ended(1, "0 1 0")
		s.get(3, "/other")
		same(t, what+": another stream", s.whole(3).body, "other")
	}
	nothing := func(*testkit.Conn) {}
	begun := func(c *testkit.Conn) { c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello") }
	hints := func(c *testkit.Conn) { c.Send("HTTP/1.1 103 Early Hints\r\n\r\n") }
	arrived := func(s *h2stand) {
		testkit.Eventually(s.t, "the request arrives", func() bool { return s.origin.Requests() > 0 })
	}
	check("before the answer", nothing, func(s *h2stand) { s.get(1, "/"); arrived(s) })
	check("between two heads", hints, func(s *h2stand) {
		s.get(1, "/")
		s.until(1, "the hints come", func(a *h2answer) bool { return len(a.informs) == 1 })
	})
	check("in the answer", begun, func(s *h2stand) {
		s.get(1, "/")
		s.until(1, "the body begins", func(a *h2answer) bool { return a.body == "hello" })
	})
	check("in the request", nothing, func(s *h2stand) { s.post(1, "/"); s.data(1, false, "one"); arrived(s) })
	check("after the request", nothing, func(s *h2stand) { s.post(1, "/"); s.data(1, true, "one"); arrived(s) })
	check("in both", begun, func(s *h2stand) {
		s.post(1, "/")
		s.data(1, false, "one")
		s.until(1, "the body begins", func(a *h2answer) bool { return a.body == "hello" })
	})
}

// Streams that are reset at moments of chance: each exchange ends, once, and soon.
func TestH2RandomResets(t *testing.T) {
	s := overH2(t, toOrigin, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			switch {
			case m.Target() == "/silent":
				c.Rest()
				return
			case c.TrySend("HTTP/1.1 103 Early Hints\r\n\r\n") != nil:
				return
			case m.ReadBody(c.Reader) != nil:
				return
			case c.TrySend("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") != nil:
				return
			case c.TrySend("3\r\none\r\n") != nil || c.TrySend("3\r\ntwo\r\n0\r\nX-Sum: 1\r\n\r\n") != nil:
				return
			}
		}
	})
	const streams = 200
	var resets sync.WaitGroup // an exchange may end before its reset is sent
	for i := range streams {
		stream := uint32(2*i + 1)
		reset := func() {
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			s.reset(stream)
		}
		switch i % 4 {
		case 0:
			s.get(stream, "/silent")
			resets.Go(reset)
		case 1:
			s.get(stream, "/")
			resets.Go(reset)
		case 2:
			s.post(stream, "/")
			s.data(stream, false, "one")
			resets.Go(func() {
				s.data(stream, false, "two")
				reset()
			})
		case 3:
			s.post(stream, "/")
			s.data(stream, true, "one")
			same(t, "the body of a stream that is not reset", s.whole(stream).body, "onetwo")
		}
	}
	resets.Wait()
	testkit.Eventually(t, "all exchanges have ended", func() bool { return s.done.Load() == streams })
	same(t, "exchanges that failed", s.causes[2].Load(), 0)
}
