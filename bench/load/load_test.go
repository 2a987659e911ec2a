package load_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/bench/load"
	"weir/bench/origin"
)

// engines runs f with each engine that this system has.
func engines(t *testing.T, f func(t *testing.T, e load.Engine)) {
	for _, e := range []load.Engine{load.Epoll, load.Goroutines} {
		t.Run(string(e), func(t *testing.T) { f(t, e) })
	}
}

func startOrigin(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := origin.New()
	s.Serve(ln)
	t.Cleanup(s.Close)
	return ln.Addr().String()
}

func run(t *testing.T, opt load.Options, p load.Phase) load.Result {
	t.Helper()
	g, err := load.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	r, err := g.Run(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClosedLoopCountsEveryAnswer(t *testing.T) {
	addr := startOrigin(t)
	engines(t, func(t *testing.T, e load.Engine) {
		check := func(path string, body, n int64) {
			t.Helper()
			r := run(t, load.Options{
				Address: addr, Connections: 8, Engine: e, Body: body,
				Requests: [][]byte{load.Get("origin", path)},
			}, load.Phase{Requests: n})
			if r.Requests != n || r.Failed() != 0 || r.Latency.TotalCount() != n {
				t.Errorf("%s: %d answers, %d latencies, errors %v, want %d of each and no error",
					path, r.Requests, r.Latency.TotalCount(), r.Errors, n)
			}
		}
		check("/bytes/0", 0, 100)
		check("/bytes/1024", 1024, 5000)
		// Larger than every buffer on the way.
		check("/bytes/1048576", 1<<20, 20)
		// Fewer requests than connections.
		check("/bytes/1", 1, 3)
	})
}

func TestUploadLargerThanSocketBuffers(t *testing.T) {
	addr := startOrigin(t)
	engines(t, func(t *testing.T, e load.Engine) {
		r := run(t, load.Options{
			Address: addr, Connections: 2, Engine: e, Body: 2,
			Requests: [][]byte{load.Post("origin", "/upload", 8<<20)},
		}, load.Phase{Requests: 6})
		if r.Requests != 6 || r.Failed() != 0 {
			t.Errorf("%d answers, errors %v, want 6 and none", r.Requests, r.Errors)
		}
	})
}

func TestPhaseEndsWithItsDuration(t *testing.T) {
	t.Parallel()
	addr := startOrigin(t)
	engines(t, func(t *testing.T, e load.Engine) {
		r := run(t, load.Options{
			Address: addr, Connections: 4, Engine: e, Body: 1,
			Requests: [][]byte{load.Get("origin", "/bytes/1")},
		}, load.Phase{Duration: time.Second})
		if r.Requests == 0 || r.Failed() != 0 || r.Elapsed < time.Second {
			t.Errorf("%d answers in %v, errors %v, want some in at least 1s and no error", r.Requests, r.Elapsed, r.Errors)
		}
	})
}

func TestAnswersThatAreNotExpectedAreErrors(t *testing.T) {
	addr := startOrigin(t)
	engines(t, func(t *testing.T, e load.Engine) {
		check := func(path string, body int64, cause string) {
			t.Helper()
			r := run(t, load.Options{
				Address: addr, Connections: 2, Engine: e, Body: body,
				Requests: [][]byte{load.Get("origin", path)},
			}, load.Phase{Requests: 4})
			if r.Requests != 0 || r.Errors[cause] != 4 {
				t.Errorf("%s: %d answers, errors %v, want 4 of %q", path, r.Requests, r.Errors, cause)
			}
		}
		check("/other", -1, "status 404")
		check("/bytes/10", 11, "body of another length")
	})
}

// A server that stalls once must show in the latency of every request that
// should have started meanwhile, not only in the one that it held.
func TestOpenLoopDoesNotOmitAStall(t *testing.T) {
	engines(t, func(t *testing.T, e load.Engine) {
		var served atomic.Int64
		const stall = 300 * time.Millisecond
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if served.Add(1) == 10 {
				time.Sleep(stall) // the stall that is measured, not a synchronisation
			}
			w.Header().Set("Content-Length", "0")
		}))
		defer srv.Close()
		r := run(t, load.Options{
			Address: srv.Listener.Addr().String(), Connections: 1, Engine: e,
			Requests: [][]byte{load.Get("origin", "/")},
		}, load.Phase{Rate: 200, Requests: 100})
		if r.Requests != 100 || r.Failed() != 0 {
			t.Fatalf("%d answers, errors %v, want 100 and none", r.Requests, r.Errors)
		}
		// 60 requests were due during the stall; the first 30 of them waited
		// for at least half of it. A closed loop would show a single one.
		if got := r.Quantile(75); got < stall/2 {
			t.Errorf("p75 is %v, want at least %v: waiting requests were left out", got, stall/2)
		}
	})
}

func TestServerThatCloses(t *testing.T) {
	engines(t, func(t *testing.T, e load.Engine) {
		// It announces the end of the connection with each answer.
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.Header().Set("Content-Length", "0")
		}))
		defer srv.Close()
		opt := load.Options{
			Address: srv.Listener.Addr().String(), Connections: 3, Engine: e,
			Requests: [][]byte{load.Get("origin", "/")},
		}
		r := run(t, opt, load.Phase{Requests: 30})
		if r.Requests != 30 || r.Failed() != 0 || r.Reconnects != 30 {
			t.Errorf("%d answers, %d reconnects, errors %v, want 30, 30 and none", r.Requests, r.Reconnects, r.Errors)
		}
	})
}

func TestSilentServerEndsThePhase(t *testing.T) {
	engines(t, func(t *testing.T, e load.Engine) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // accepts in the backlog, answers nothing
		check := func(p load.Phase) {
			t.Helper()
			r := run(t, load.Options{
				Address: ln.Addr().String(), Connections: 2, Engine: e, Timeout: 200 * time.Millisecond,
				Requests: [][]byte{load.Get("origin", "/")},
			}, p)
			if r.Requests != 0 || r.Errors["timeout"] != p.Requests {
				t.Errorf("%d answers, errors %v, want none and %d timeouts", r.Requests, r.Errors, p.Requests)
			}
		}
		check(load.Phase{Requests: 2})
		// Requests that no connection was free for have failed as well.
		check(load.Phase{Requests: 5, Rate: 1000})
	})
}

func TestSilentServerEndsTheHandshake(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // accepts in the backlog, answers nothing
	_, err = load.New(load.Options{
		Address: ln.Addr().String(), Connections: 1, Timeout: 50 * time.Millisecond, TLS: &tls.Config{ServerName: "origin"},
		Requests: [][]byte{load.Get("origin", "/")},
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a deadline that passed", err)
	}
}

func TestStopEndsAPhase(t *testing.T) {
	addr := startOrigin(t)
	engines(t, func(t *testing.T, e load.Engine) {
		check := func(p load.Phase) {
			t.Helper()
			stop := make(chan struct{})
			close(stop)
			p.Stop = stop
			r := run(t, load.Options{
				Address: addr, Connections: 4, Engine: e, Body: 1,
				Requests: [][]byte{load.Get("origin", "/bytes/1")},
			}, p)
			if r.Failed() != 0 || p.Requests > 0 && r.Requests == p.Requests {
				t.Errorf("%+v: %d answers, errors %v, want fewer and none", p, r.Requests, r.Errors)
			}
		}
		check(load.Phase{Duration: time.Hour})
		check(load.Phase{Requests: 1 << 40})
		check(load.Phase{Requests: 1 << 40, Rate: 1000})
	})
}

func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := strings.Repeat("x", 1024)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if _, err := w.Write([]byte(body)); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	cfg := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName = "example.com"
	opt := load.Options{
		Address: srv.Listener.Addr().String(), Connections: 2, Body: 1024, TLS: cfg,
		Requests: [][]byte{load.Get("example.com", "/")},
	}
	r := run(t, opt, load.Phase{Requests: 50})
	if r.Requests != 50 || r.Failed() != 0 {
		t.Errorf("%d answers, errors %v, want 50 and none", r.Requests, r.Errors)
	}
	opt.TLS = &tls.Config{ServerName: "example.com"}
	if _, err := load.New(opt); err == nil {
		t.Error("a certificate of an unknown authority was accepted")
	}
}

// TestHTTP2: many requests at once on few connections, with bodies, with and without TLS.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen, connections := make(map[string]int), make(map[string]bool)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[fmt.Sprint(r.Proto, r.Method, r.URL.Path, r.Host, r.Header.Get("X"), len(body))]++
		connections[r.RemoteAddr] = true
		w.Write(body)
	})
	for _, secure := range []bool{true, false} {
		clear(connections)
		srv := httptest.NewUnstartedServer(handler)
		opt := load.Options{
			Address: srv.Listener.Addr().String(), Protocol: load.HTTP2, Connections: 2, Streams: 5, Body: 1000,
			Requests: [][]byte{load.Request{Method: "POST", Host: "h", Path: "/p", Fields: []string{"X: y"}, Body: make([]byte, 1000)}.Raw()},
		}
		if srv.EnableHTTP2 = secure; secure {
			srv.StartTLS()
			opt.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			opt.TLS.ServerName = "example.com"
		} else {
			srv.Config.Protocols = new(http.Protocols)
			srv.Config.Protocols.SetUnencryptedHTTP2(true)
			srv.Start()
		}
		defer srv.Close()
		r := run(t, opt, load.Phase{Requests: 100})
		if r.Requests != 100 || r.Failed() != 0 || r.Statuses[200] != 100 || r.Bytes != 100_000 {
			t.Errorf("TLS %v: %+v: want 100 answers", secure, r)
		}
		// One may have sent all before the other had a turn.
		if len(connections) > 2 {
			t.Errorf("TLS %v: %d connections, want 2 at most", secure, len(connections))
		}
	}
	if len(seen) != 1 || seen["HTTP/2.0POST/phy1000"] != 200 {
		t.Errorf("the server saw %v", seen)
	}
	plain := httptest.NewTLSServer(handler)
	defer plain.Close()
	_, err := load.New(load.Options{
		Address: plain.Listener.Addr().String(), Protocol: load.HTTP2, Connections: 1, TLS: &tls.Config{InsecureSkipVerify: true},
		Requests: [][]byte{load.Get("h", "/")},
	})
	if err == nil {
		t.Error("a server without HTTP/2 was accepted")
	}
}

// TestForAnyServer: answers that end with the connection, HEAD, and failures that are statuses.
func TestForAnyServer(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(410)
			return
		}
		if r.Method == "HEAD" {
			w.Header().Set("Content-Length", "5")
			return
		}
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		buf.WriteString("HTTP/1.0 302 Found\r\n\r\nhello")
		buf.Flush()
	}))
	t.Cleanup(srv.Close)
	engines(t, func(t *testing.T, e load.Engine) {
		check := func(method, path string, reconnects, bytes int64, status int, failed int64) {
			t.Helper()
			r := run(t, load.Options{
				Address: srv.Listener.Addr().String(), Connections: 2, Engine: e, Status: -1, Body: -1,
				Requests: [][]byte{load.Request{Method: method, Host: "h", Path: path}.Raw()},
			}, load.Phase{Requests: 10})
			if r.Requests != 10-failed || r.Failed() != failed || r.Reconnects != reconnects || r.Bytes != bytes || r.Statuses[status] != 10 || r.Latency.TotalCount() != 10 {
				t.Errorf("%s %s: %+v", method, path, r)
			}
		}
		check("GET", "/", 10, 50, 302, 0)
		check("HEAD", "/", 0, 0, 200, 0)
		check("GET", "/gone", 0, 0, 410, 10) // and the connection stays
	})
}

// TestIntervals: the pieces of a phase are together the whole, also those in which nothing ended.
func TestIntervals(t *testing.T) {
	t.Parallel()
	addr := startOrigin(t)
	engines(t, func(t *testing.T, e load.Engine) {
		r := run(t, load.Options{
			Address: addr, Connections: 2, Engine: e, Body: 1, Requests: [][]byte{load.Get("origin", "/bytes/1")},
		}, load.Phase{Requests: 20, Rate: 100, Interval: 20 * time.Millisecond})
		var requests int64
		var at time.Duration
		for _, p := range r.Intervals {
			if p.Start != at || p.Length <= 0 || p.Requests > 0 && (p.P50 <= 0 || p.P50 > p.P99 || p.P99 > p.Max) {
				t.Errorf("%+v: want it to begin at %v", p, at)
			}
			at += p.Length
			requests += p.Requests
		}
		if requests != 20 || len(r.Intervals) < 9 || r.Latency.TotalCount() != 20 {
			t.Errorf("%d requests in %d intervals, %d latencies: want 20", requests, len(r.Intervals), r.Latency.TotalCount())
		}
	})
}

// TestSlowAnswers: one answer that takes too long fails, and the others go on; a phase that is abandoned
// does not wait for it.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	var seen sync.Map // of the first request of each path, which waits
	waits := make(chan struct{}, 100)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, again := seen.LoadOrStore(r.URL.Path, true); !again {
			waits <- struct{}{}
			<-block
		}
		w.Header().Set("Content-Length", "0")
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(block) })
	phases := 0
	check := func(opt load.Options) {
		t.Helper()
		phases++
		opt.Address, opt.Connections, opt.Requests = srv.Listener.Addr().String(), 2, [][]byte{load.Get("origin", fmt.Sprint("/timeout/", phases))}
		opt.Timeout = 400 * time.Millisecond
		// The rate makes it longer than the timeout.
		r := run(t, opt, load.Phase{Requests: 60, Rate: 60, Persist: true})
		// One at least: a loaded machine may make others slow.
		if slow := r.Errors["timeout"]; slow < 1 || r.Failed() != slow || r.Requests != 60-slow || r.Requests == 0 {
			t.Errorf("%+v: %d answers, errors %v, want some timeouts and 60 in all", opt, r.Requests, r.Errors)
		}
		<-waits
		opt.Requests = [][]byte{load.Get("origin", fmt.Sprint("/abandoned/", phases))}
		opt.Timeout = time.Hour
		abandon := make(chan struct{})
		go func() {
			<-waits
			close(abandon)
		}()
		if r := run(t, opt, load.Phase{Duration: time.Hour, Abandon: abandon}); r.Failed() != 0 {
			t.Errorf("%+v: abandoned with errors %v, want none", opt, r.Errors)
		}
	}
	engines(t, func(t *testing.T, e load.Engine) { check(load.Options{Engine: e}) })
	check(load.Options{Protocol: load.HTTP2})
}

func TestOptionsThatCannotWork(t *testing.T) {
	check := func(opt load.Options, want string) {
		t.Helper()
		_, err := load.New(opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	req := [][]byte{load.Get("h", "/")}
	check(load.Options{Connections: 0, Requests: req}, "at least 1")
	check(load.Options{Connections: 1}, "without a request")
	check(load.Options{Connections: 1, Requests: req, Engine: "fibers"}, `allowed are "epoll", "goroutines"`)
	check(load.Options{Connections: 1, Requests: req, Engine: load.Epoll, TLS: &tls.Config{}}, "use goroutines")
}
