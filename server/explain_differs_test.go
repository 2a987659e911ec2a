package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// lines keeps the lines of an access log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.text.String(), "\n"), "\n")
}

const differing = `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[access_log]
output = "stdout"
request_headers = ["X-Case"]
[forwarding]
trusted_proxies = ["127.0.0.0/8"]
proxy_status = true
via = "weir"
[tracing]
enabled = true
endpoint = "none"
sample = 0.0
[[routes]]
name = "users"
host = ["users.com", "*.users.com"]
path = "/api/{id}"
upstream = "one"
cache = { default_ttl = "1h", key.ignore_query = ["utm_*"] }
request_headers = { set = { X-User = "{id}", X-From = "{client_addr}" }, remove = ["Cookie"] }
response_headers = { set = { X-Route = "{route}" }, remove = ["Server"] }
[[routes]]
name = "posts"
path = "/api/"
method = ["POST", "PUT"]
header = { X-Key = "1" }
upstream = "two"
rewrite = "/v2{path}"
host_header = "target"
[[routes]]
name = "old"
path = "/old/{rest...}"
redirect = { to = "/new/{rest}", status = 308 }
[[routes]]
name = "fixed"
path = "/fixed"
respond = { status = 418, body = "short and stout" }
[[routes]]
name = "query"
path = "/"
query = { v = "2" }
upstream = "two"
compress = true
server_timing = true
[[routes]]
name = "denied"
path = "/denied/"
deny = ["192.0.2.0/24"]
upstream = "one"
[[routes]]
name = "secret"
path = "/secret/"
basic_auth = { users = { u = "$2a$04$aPb6ZRqNyIPxTxT4MF4R/.4m/8VT/x6S.mmTzJAgo49wQCRQKMcra" } }
upstream = "one"
[upstreams.one]
targets = ["ORIGIN"]
[upstreams.two]
targets = ["ORIGIN"]

`

// What weir explains of a request is what happens to it.
func TestExplainIsWhatHappens(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nServer: origin\r\nCache-Control: max-age=60\r\nConnection: keep-alive\r\n\r\nok"
	got := make(chan *testkit.Message, 1)
	o := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			got <- m
			c.Send(answer)
		}
	})
	log := new(lines)
	cfg, err := config.Parse("test.toml", []byte(strings.ReplaceAll(differing, "ORIGIN", o.URL)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(cfg, server.WithAccessLogWriter(log))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := rand.New(rand.NewPCG(7, 7))
	of := func(list ...string) string { return list[r.IntN(len(list))] }
	var cases []*happened
	for i := range 120 {
		q := server.Question{
			Fields: []string{fmt.Sprint("X-Case: ", i)},
			Method: of("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"),
			URL: "http://" + of("users.com", "a.users.com", "USERS.com:80", "other.org", "users.com.") +
				of("/api/7", fmt.Sprint("/api/", i), "/api/7/x", "/api/", "/old/a/b", "/old/", "/fixed", "/denied/x", "/secret/x", "/", "/a/../b", "/a%2fb", "/api/%41", "/api/a%20b", "//x", "/fixed/", "/none") +
				of("", "", "?v=2", "?v=3", "?utm_a=1&x=2", "?a#b"),
		}
		for _, line := range []string{
			"X-Key: 1", "Cookie: a=b", "Accept: */*", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https", "Accept-Encoding: gzip", "Cache-Control: no-cache", "Connection: X-Hop", "X-Hop: 1", "Via: 1.0 before",
			"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Tracestate: a=b", "Authorization: Basic dTpw", "X-Request-Id: given", "Range: bytes=0-0", "Te: trailers", "X-User: me",
		} {
			if r.IntN(4) == 0 {
				q.Fields = append(q.Fields, line)
			}
		}
		if q.Method == "POST" || q.Method == "PUT" {
			q.Fields = append(q.Fields, "Content-Length: 0")
		}
		q.Answer = []string{"Content-Length: 2", "Content-Type: text/plain", "Server: origin", "Cache-Control: max-age=60"}
		cases = append(cases, happen(t, s, q, got))
	}
	testkit.Eventually(t, "all exchanges are in the log", func() bool { return len(log.all()) == len(cases) && log.all()[0] != "" })
	for _, text := range log.all() {
		var line logged
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		i, err := strconv.Atoi(line.Fields["X-Case"])
		if err != nil {
			t.Fatal(err)
		}
		if cases[i].compare(t, &line); t.Failed() {
			return
		}
	}
}

// logged is what is needed of a line of the log.
type logged struct {
	Route, Upstream, Target, Cause, Cache string
	Fields                                map[string]string `json:"request_headers"`
}

// happened is a request, what was explained of it, and what became of it.
type happened struct {
	q      server.Question
	e      *server.Explanation
	answer *testkit.Message
	got    *testkit.Message // what the target got; nil for nothing
}

// happen asks weir for an explanation of a request, and sends it.
func happen(t *testing.T, s *server.Server, q server.Question, got <-chan *testkit.Message) *happened {
	t.Helper()
	e, err := s.Explain(q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	host, target, _ := strings.Cut(strings.TrimPrefix(q.URL, "http://"), "/")
	target, _, _ = strings.Cut("/"+target, "#")
	c := testkit.Dial(t, s.Addr("main"))
	defer c.Conn.Close()
	c.Send(q.Method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(slices.Clone(q.Fields), ""), "\r\n") + "\r\n")
	h := &happened{q: q, e: e, answer: c.Response(q.Method)}
	select {
	case h.got = <-got:
	default:
	}
	return h
}

func (h *happened) compare(t *testing.T, line *logged) {
	t.Helper()
	e := h.e
	differs := func(what string, explained, happened any) {
		t.Helper()
		if fmt.Sprint(explained) != fmt.Sprint(happened) {
			t.Errorf("%+v\n%s is explained as %v\nand is %v", h.q, what, explained, happened)
		}
	}
	differs("the route", e.Route, line.Route)
	differs("the status", e.Response.Status, h.answer.Status())
	if line.Cache == "hit" { // of an earlier request; explanations begin with an empty cache but for Next
		differs("what the cache does", e.Cache.Next, "hit")
		return
	}
	differs("the cause", e.Cause, line.Cause)
	differs("the upstream", e.Upstream, line.Upstream)
	differs("the target", e.Target, line.Target)
	differs("the answer", linesWithout(e.Response.Fields, "Date", "Server-Timing"), linesWithout(written(h.answer), "Date", "Server-Timing"))
	differs("whether a target is asked", e.Request != nil, h.got != nil)
	if e.Request != nil && h.got != nil {
		differs("the line at the target", e.Request.Line, h.got.Line)
		differs("the request at the target", linesWithout(e.Request.Fields, "X-Request-Id", "Traceparent"), linesWithout(written(h.got), "X-Request-Id", "Traceparent"))
	}
}

// written are the lines of a head.
func written(m *testkit.Message) (list []string) {
	for _, f := range m.Fields {
		list = append(list, f.Name+": "+f.Value)
	}
	return list
}

// linesWithout are lines in order, of some names without their values, and without those of the connection.
func linesWithout(list []string, names ...string) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(line string) bool {
		return strings.HasPrefix(line, "Connection: ") || strings.HasPrefix(line, "Transfer-Encoding: ")
	})
	for i, line := range list {
		name, _, _ := strings.Cut(line, ":")
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			list[i] = strings.ToLower(name)
		}
	}
	slices.Sort(list)
	return list
}
