package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/server"
)

const withAdmin = "[admin]\naddress = \"127.0.0.1:0\"\n"

// What a running weir explains is what it does, however its targets are.
func TestExplainUnusableTargets(t *testing.T) {
	t.Parallel()
	check := func(what, targets, settings string, before int, want string) {
		t.Helper()
		w := launch(t, toOrigin(targets)+settings+withAdmin)
		for i := range before {
			w.dial().Get("/")
			w.logged(i + 1)
		}
		e, err := w.Explain(server.Question{URL: "http://a.test/"})
		if err != nil {
			t.Fatal(err)
		}
		status := 0
		if e.Response != nil {
			status = e.Response.Status
		}
		equal(t, what+", explained", fmt.Sprint(status, " ", e.Cause), want)
		w.dial().Get("/")
		line := w.logged(before + 1)[before]
		equal(t, what, line.String(), want)
		if e.Error == "" || !strings.HasPrefix(line.Error, e.Error[:20]) {
			t.Errorf("%s: explained is %q, and what happened is %q", what, e.Error, line.Error)
		}
		if e.Target != "" {
			t.Errorf("%s: %s is picked, although no target is usable", what, e.Target)
		}
	}
	stays := "health.passive.redial = \"1h\"\n"
	check("one target that is not there", refused(t), stays, 1, "503 no_target")
	check("two targets that are not there", refused(t)+`", "`+refused(t), stays, 1, "503 no_target")
	check("a name that is not there", "http://no.such.host.invalid", "", 0, "503 no_target")
	fails := testkit.Listen(t, testkit.Answer("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"))
	check("a breaker that is open", fails.URL, "breaker = { failures = 0.5, requests = 2, open = \"1h\" }\n", 2, "503 breaker_open")
}

// Log, access log and admin API say that a circuit breaker is open, and why.
func TestBreakerIsTold(t *testing.T) {
	t.Parallel()
	fails := testkit.Listen(t, testkit.Answer("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"))
	var log textLog
	w := launch(t, toOrigin(fails.URL)+"breaker = { failures = 0.5, requests = 3, open = \"1h\" }\n"+withAdmin, server.WithLog(log.logger()))
	if got := w.api("GET", "/upstreams", ""); !strings.Contains(got, `"breaker":"closed"`) || strings.Contains(got, "breaker_reason") {
		t.Errorf("before: %s", got)
	}
	for i := range 4 {
		w.dial().Get("/")
		w.logged(i + 1)
	}
	const why = "3 of 3 exchanges within 10s failed"
	line := w.logged(4)[3]
	equal(t, "the log's line", line.String(), "503 breaker_open")
	if !strings.HasPrefix(line.Error, "circuit breaker open for another ") || !strings.HasSuffix(line.Error, why) {
		t.Errorf("error is %q", line.Error)
	}
	if got := w.api("GET", "/upstreams", ""); !strings.Contains(got, `"breaker":"open"`) || !strings.Contains(got, why) {
		t.Errorf("the admin API says %s", got)
	}
	if got := log.String(); strings.Count(got, "circuit breaker opens") != 1 || !strings.Contains(got, why) {
		t.Errorf("the log is %s", got)
	}
}

// The access log says in words, and by the key, which limit has passed, and that a target closed the connection.
func TestReasonsAreWords(t *testing.T) {
	t.Parallel()
	silent := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Rest() })
	stops := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"); c.Rest() })
	closes := testkit.Listen(t, func(c *testkit.Conn) { c.Head() })
	garbage := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Send("HTTP/1.1 200") })
	mute := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	check := func(target, settings, want, reason string) {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := launch(t, toOrigin(target)+settings)
			c := w.dial()
			c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			line := w.logged(1)[0]
			equal(t, "the log's line", line.String(), want)
			if !strings.HasPrefix(line.Error, reason) {
				t.Errorf("error is %q, want %q", line.Error, reason)
			}
		})
	}
	check(silent.URL, "timeouts.first_byte = \"100ms\"\n", "504 first_byte_timeout", "the target did not answer within 100ms (timeouts.first_byte)")
	check(silent.URL, "retry.try_timeout = \"100ms\"\n", "504 first_byte_timeout", "the target did not answer within 100ms (retry.try_timeout)")
	check(silent.URL, "timeouts.total = \"100ms\"\n", "504 total_timeout", "the exchange has taken 100ms (timeouts.total)")
	check(stops.URL, "timeouts.idle = \"100ms\"\n", "200 stalled", "the target sent nothing more for 100ms (timeouts.idle)")
	check(closes.URL, "", "502 reset", "the target closed the connection without an answer")
	check(garbage.URL, "", "502 bad_response", "the target closed the connection before its response had a whole head")
	check(strings.Replace(mute.URL, "http:", "https:", 1), "timeouts.tls = \"100ms\"\n", "502 tls_failed", "tls: not done within 100ms (timeouts.tls)")
}

// Clients that speak another protocol than the listener are told apart from those whose requests are malformed.
func TestOtherProtocols(t *testing.T) {
	t.Parallel()
	w := launch(t, "[[routes]]\nrespond = { status = 204 }\n")
	for i, c := range []struct{ sent, reason string }{
		{"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x0a\x0a\n", "the client speaks TLS, and the listener has no certificates"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "the client sends a PROXY header, and its address is not one of the listener's proxy_protocol"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the client speaks HTTP/2, which is not one of the listener's protocols"},
		{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed request line"},
	} {
		w.dial().Send(c.sent)
		equal(t, "error", w.logged(i + 1)[i].Error, c.reason)
	}
}

// Nor does one that leaves no time for a connection make the target unreachable for all others.
func TestImpatientCallersWhileConnecting(t *testing.T) {
	t.Parallel()
	check := func(protocol string) {
		t.Helper()
		mute := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
		target := strings.Replace(mute.URL, "http:", "https:", 1)
		w := launch(t, toOrigin(target)+"connections.protocol = \""+protocol+"\"\n"+withAdmin)
		w.dial().Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nGrpc-Timeout: 50m\r\nContent-Length: 0\r\n\r\n")
		line := w.logged(1)[0]
		equal(t, "cause", line.Cause, "total_timeout")
		equal(t, "error", line.Error, "the deadline that the client has set has passed (grpc-timeout, 50ms) before there was a connection")
		if got := w.api("GET", "/upstreams", ""); !strings.Contains(got, `"state":"healthy"`) {
			t.Errorf("%s: the admin API says %s", protocol, got)
		}
	}
	check("h1")
	check("h2")
}

// Each call of gRPC is counted, also one whose answer has no status.
func TestCallsWithoutStatus(t *testing.T) {
	t.Parallel()
	check := func(answer, code string) {
		t.Helper()
		w := launch(t, toOrigin(testkit.Listen(t, testkit.Answer(answer)).URL)+"connections.protocol = \"h1\"\n")
		w.dial().Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
		w.logged(1)
		equal(t, answer, w.metric(`weir_grpc_calls_total{route="all",code="`+code+`"}`), "1")
	}
	check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "UNKNOWN")
	check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "UNIMPLEMENTED")
	check("HTTP/1.1 200 OK\r\nGrpc-Status: 5\r\nContent-Length: 0\r\n\r\n", "NOT_FOUND")
}

// A caller of gRPC that gives a target no time does not get it ejected, and what the client or weir gave up is no
// failed attempt without another one.
func TestImpatientCallers(t *testing.T) {
	t.Parallel()
	silent := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Rest() })
	w := launch(t, toOrigin(silent.URL, testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Rest() }).URL)+"connections.protocol = \"h1\"\nhealth.passive = { failures = 1, max_ejected = 1 }\n"+withAdmin)
	const calls = 6
	for range calls {
		w.dial().Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nGrpc-Timeout: 5m\r\nContent-Length: 0\r\n\r\n")
	}
	for _, line := range w.logged(calls) {
		equal(t, "cause", line.Cause, "total_timeout")
		if !strings.HasPrefix(line.Error, "the deadline that the client has set has passed (grpc-timeout, 5ms)") {
			t.Errorf("error is %q", line.Error)
		}
	}
	equal(t, "retries that were refused", w.metric(`weir_upstream_retries_refused_total{upstream="origin",reason="answered"}`), "")
	if got := w.api("GET", "/upstreams", ""); strings.Contains(got, `"ejected"`) || !strings.Contains(got, `"healthy"`) {
		t.Errorf("the admin API says %s", got)
	}
}
