// Package load makes HTTP load for measurements: requests built beforehand over
// connections that are kept open, answers checked by status and length and thrown
// away. A phase is either closed (each connection sends its
// next request when the last was answered) or open (requests start at a fixed
// rate whatever the answers do, and latency counts from the moment a request
// should have started, so a stalled server is not flattered by the requests it
// kept from being sent).
//
// It does not pipeline or follow redirects. The benchmarks of bench, the
// comparison in bench/cmd/peers, the load test in bench/cmd/loadtest, and the command
// weir bench call it.
package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Protocol is what is spoken on the connections.
type Protocol string

const (
	// HTTP1 is HTTP/1.1.
	HTTP1 Protocol = ""
	// HTTP2 is HTTP/2: chosen by ALPN with TLS, and without TLS by prior knowledge.
	HTTP2 Protocol = "h2"
)

// Engine is how a Generator drives its connections.
type Engine string

const (
	// Auto is Epoll where it works, else Goroutines.
	Auto Engine = ""
	// Epoll is one thread around epoll: the least CPU for the generator, so
	// that more is left for what is measured. Linux, HTTP/1.1, plaintext.
	Epoll Engine = "epoll"
	// Goroutines is one goroutine for each connection: works everywhere, does
	// TLS and HTTP/2, and lives well with a server in the same process.
	Goroutines Engine = "goroutines"
)

// Options say where load goes and what is expected back.
type Options struct {
	// Address is "host:port".
	Address string
	// TLS is the client's side of TLS; nil means plaintext.
	TLS *tls.Config
	// Protocol is what is spoken.
	Protocol Protocol
	// Connections is the number of connections; at least 1.
	Connections int
	// Streams is how many requests are on a connection at once, with HTTP2; 0 means 1.
	Streams int
	// Requests are those of HTTP/1.1, sent in turn over all connections: as they
	// are, byte for byte, or in the form of HTTP/2. They are only read.
	Requests [][]byte
	// Status is what every answer must have; 0 means 200, negative any below 400.
	Status int
	// Body is the length every answer's body must have; negative means any.
	Body int64
	// Timeout bounds a connect, each answer, and how long a phase goes on in which
	// nothing is answered. The goroutine engine notices it up to a quarter late. 0
	// means 10 seconds.
	Timeout time.Duration
	// Fresh makes a new connection for each request, whose time counts as latency. The requests should say
	// Connection: close. HTTP/1.1; by the goroutine engine.
	Fresh bool
	// Engine drives the connections.
	Engine Engine
}

// Phase is one stretch of load. It ends when all requests that it started
// were answered or failed, so that work measured around Run belongs to exactly
// the requests of its Result.
type Phase struct {
	// Duration bounds how long requests are started; 0 means no bound.
	Duration time.Duration
	// Requests bounds how many are started; 0 means no bound. One of the two
	// must be given.
	Requests int64
	// Rate is the number of requests to start per second; 0 means closed loop.
	Rate float64
	// Persist makes the phase go on to its end although nothing is answered.
	Persist bool
	// Interval is the length of the intervals of Result.Intervals; 0 means that there
	// are none.
	Interval time.Duration
	// Stop, when it is closed, keeps the phase from starting more requests; nil
	// means that nothing does.
	Stop <-chan struct{}
	// Abandon, when it is closed, ends the phase at once; requests on their way are
	// not counted. nil means that nothing does.
	Abandon <-chan struct{}
}

// Result is what one phase saw.
type Result struct {
	// Requests counts the expected answers.
	Requests int64
	// Errors counts everything else by cause; nil means none.
	Errors map[string]int64
	// Statuses counts whole answers by status.
	Statuses map[int]int64
	// Bytes is the length of the bodies of whole answers.
	Bytes int64
	// Reconnects counts connections that the server closed between exchanges.
	Reconnects int64
	// Elapsed is from the first request's start to the last answer.
	Elapsed time.Duration
	// Latency is in nanoseconds: from the start of a request (open phases:
	// from when it should have started) to the last byte of its answer.
	// Whole answers that were not expected are in it, and requests that ran into Timeout
	// with the time they waited.
	Latency *hdrhistogram.Histogram
	// Intervals are the phase in pieces of Phase.Interval.
	Intervals []Interval
}

// Interval is a piece of a phase, with the requests that ended in it.
type Interval struct {
	// Start is from the start of the phase.
	Start time.Duration
	// Length is Phase.Interval; that of the last one may be less.
	Length time.Duration
	// Requests and Failed count as in Result.
	Requests, Failed int64
	// P50 to Max are quantiles of the latency; 0 without a latency.
	P50, P90, P99, P999, Max time.Duration
}

// Failed is the number of requests that were not answered as expected.
func (r Result) Failed() int64 {
	var n int64
	for _, c := range r.Errors {
		n += c
	}
	return n
}

// PerSecond is the rate of expected answers.
func (r Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Quantile is the latency at q percent, such as 99.9.
func (r Result) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q))
}

// Generator is a set of open connections that phases run on, one phase at a
// time. It is not safe for concurrent use.
type Generator struct {
	driver driver
	opt    Options
}

// driver is implemented by the two engines.
type driver interface {
	run(p Phase, out *tally) time.Duration
	close()
}

// New opens the connections. Close gives them back.
func New(opt Options) (*Generator, error) {
	if opt.Connections < 1 {
		return nil, fmt.Errorf("cannot make load with %d connections: at least 1 is needed", opt.Connections)
	}
	if len(opt.Requests) == 0 {
		return nil, errors.New("cannot make load without a request")
	}
	if opt.Status == 0 {
		opt.Status = 200
	}
	opt.Streams = max(opt.Streams, 1)
	if opt.Timeout == 0 {
		opt.Timeout = 10 * time.Second
	}
	g := &Generator{opt: opt}
	var err error
	switch opt.Engine {
	case Auto:
		if opt.TLS == nil && opt.Protocol == HTTP1 && !opt.Fresh {
			g.driver, err = newEpoll(opt)
			if !errors.Is(err, errors.ErrUnsupported) {
				break
			}
		}
		g.driver, err = newGoroutines(opt)
	case Epoll:
		if opt.TLS != nil || opt.Protocol != HTTP1 || opt.Fresh {
			return nil, errors.New("cannot make load by TLS or HTTP/2 or with fresh connections with the epoll engine: use goroutines")
		}
		g.driver, err = newEpoll(opt)
	case Goroutines:
		g.driver, err = newGoroutines(opt)
	default:
		return nil, fmt.Errorf("cannot use load engine %q: allowed are %q, %q", opt.Engine, Epoll, Goroutines)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Run drives one phase to its end.
func (g *Generator) Run(p Phase) (Result, error) {
	if p.Duration <= 0 && p.Requests <= 0 {
		return Result{}, errors.New("cannot run a phase without an end: give a duration or a number of requests")
	}
	if p.Rate < 0 {
		return Result{}, fmt.Errorf("cannot run a phase at %g requests per second: must not be negative", p.Rate)
	}
	if p.Rate > 0 && p.Duration > 0 {
		n := max(int64(p.Rate*p.Duration.Seconds()), 1)
		if p.Requests == 0 || n < p.Requests {
			p.Requests = n
		}
		p.Duration = 0
	}
	t := newTally(&g.opt, p.Interval)
	elapsed := g.driver.run(p, t)
	return t.result(elapsed), nil
}

// Close closes the connections.
func (g *Generator) Close() { g.driver.close() }
