package proxy

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/body"
	"weir/internal/head"
)

// How a response reaches the client, by what the target sends.
func TestReply(t *testing.T) {
	check := func(name, request string, play script, want, calls, text string, reusable bool) *client {
		t.Helper()
		var c *client
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			a := s.on("a", play)
			c = s.request(request)
			equal(t, name, c.serve(), want)
			equal(t, name+": the calls", c.front.trace(), calls)
			equal(t, name+": the body", c.front.sent(), text)
			equal(t, name+": bytes", c.Result.BytesOut, int64(len(text)))
			equal(t, name+": whether the stream is reusable", a.stream(0).reusable, reusable)
		})
		return c
	}
	check("a body", "GET /", answer("200", "hello"), "200 ok", "start write finish", "hello", true)
	check("no body", "GET /", answer("200"), "200 ok", "start finish", "", true)
	check("to HEAD", "HEAD /", answer("200\nContent-Length: 5"), "200 ok", "start finish", "", true)
	check("204", "GET /", answer("204"), "204 ok", "start finish", "", true)
	check("304", "GET /", answer("304\nContent-Length: 5"), "304 ok", "start finish", "", true)
	check("the target closes", "GET /", answer("200\nConnection: close", "hello"), "200 ok", "start write finish", "hello", false)
	check("both framings", "GET /", answer("200\nTransfer-Encoding: chunked\nContent-Length: 5", "hello"),
		"200 ok", "start write finish", "hello", false)
	slow := func(s *fakeStream) {
		s.respond("200\nTransfer-Encoding: chunked")
		time.Sleep(time.Second)
		s.body.send("hel", "lo")
		time.Sleep(time.Second)
		s.body.end("X-Sum: 1")
	}
	c := check("piece by piece", "GET /", slow, "200 ok", "start flush write write flush finish", "hello", true)
	equal(t, "the length", c.front.length, -1)
	equal(t, "the trailer section", c.front.trailer, "X-Sum: 1\r\n")
}

// A client that cannot be written to ends the exchange, wherever that shows.
func TestReplyUntaken(t *testing.T) {
	check := func(call string, err error, want string, reusable bool) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			a := s.on("a", func(s *fakeStream) {
				s.respond("103")
				s.respond("200\nContent-Length: 5")
				time.Sleep(time.Second)
				s.body.send("hello")
			})
			c := s.request("GET /")
			c.front.on[call] = func() error { return err }
			c.serve()
			equal(t, call, c.Result.Cause.String(), want)
			equal(t, call+": whether the answer was cut", c.front.did("abort"), true)
			equal(t, call+": whether the stream is reusable", a.stream(0).reusable, reusable)
			equal(t, call+": that of the target", s.metric(`weir_upstream_attempts_total{upstream="origin",target="http://a",cause="ok"}`) != "", call != "inform")
		})
	}
	check("flush", syscall.EPIPE, "client_gone", false)
	check("write", syscall.EPIPE, "client_gone", false)
	check("write", os.ErrDeadlineExceeded, "client_slow", false)
	check("finish", syscall.EPIPE, "client_gone", true)
}

// A client that is gone before the final head gets none.
func TestInformUntaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.on("a", func(s *fakeStream) { s.respond("103"); s.answer("200", "hello") })
		c := s.request("GET /")
		c.front.on["inform"] = func() error { return syscall.EPIPE }
		s.Serve(c.Exchange)
		equal(t, "the cause", c.Result.Cause, CauseClientGone)
		s.settled()
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		c := s.request("GET /")
		c.front.on["start"] = func() error { return syscall.EPIPE }
		s.Serve(c.Exchange)
		equal(t, "the cause", c.Result.Cause, CauseClientGone)
		equal(t, "the calls", c.front.trace(), "start abort")
		s.settled()
	})
}

// A body that breaks off must not look whole.
func TestReplyBroken(t *testing.T) {
	check := func(err error, want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			s.on("a", func(s *fakeStream) {
				s.body.send("hello").fail(err)
				s.respond("200\nContent-Length: 10")
			})
			c := s.request("GET /")
			equal(t, want, c.serve(), want)
			equal(t, want+": the calls", c.front.trace(), "start write abort")
		})
	}
	check(io.EOF, "200 truncated")
	check(body.ErrTruncated, "200 truncated")
	check(syscall.ECONNRESET, "200 truncated")
	check(body.DefectChunk, "200 bad_response")
	check(os.ErrDeadlineExceeded, "200 stalled")
}

// A body that is known to break off when its head is there fails the attempt: nothing has left for the client.
func TestReplyNeverBegun(t *testing.T) {
	check := func(request string, flaw error, want string, attempts int) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, twoTargets)
			s.on("a", func(s *fakeStream) {
				s.flaw = flaw
				s.body.send("hel").fail(flaw)
				s.respond("200\nContent-Length: 5")
			})
			s.on("b", answer("200", "hello"))
			c := s.request(request)
			equal(t, request, c.serve(), want)
			equal(t, request+": attempts", c.Result.Attempts, attempts)
			equal(t, request+": whether the answer was cut", c.front.did("abort"), false)
		})
	}
	check("GET /", body.ErrTruncated, "200 ok", 2)
	check("GET /", body.DefectChunk, "200 ok", 2)
	check("POST /", body.ErrTruncated, "502 truncated", 1)
	check("POST /", body.DefectChunk, "502 bad_response", 1)
	check("HEAD /", body.ErrTruncated, "200 ok", 1)
}

// A large body that lies in the kernel stays there, unless someone watches it.
func TestReplyMoves(t *testing.T) {
	large := strings.Repeat("x", moveMin)
	check := func(name string, hooks Hooks, moves bool, calls string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget, hooks)
			s.on("a", func(s *fakeStream) {
				s.body.kernel = body.Kernel{File: new(body.File)}
				s.answer("200", large)
			})
			c := s.request("GET /")
			c.front.moves = moves
			equal(t, name, c.serve(), "200 ok")
			equal(t, name+": the calls", c.front.trace(), calls)
			equal(t, name+": bytes", c.Result.BytesOut, moveMin)
		})
	}
	check("moved", Hooks{}, true, "start move finish")
	check("the client's side cannot", Hooks{}, false, "start write finish")
	tap := func(limit int64) Hooks {
		return Hooks{OnReply: func(x *Exchange) { x.Tap(ToClient, limit, func([]byte, bool) {}) }}
	}
	check("watched", tap(10), true, "start write finish")
}

// Rules and hooks see and change a response, in their order; so they do with weir's own.
func TestReplyHooks(t *testing.T) {
	name := head.NewName("X-Order")
	add := func(text string) func(x *Exchange) {
		return func(x *Exchange) { x.Response.Add(name, []byte(text)) }
	}
	order := func(c *client) string {
		var all []string
		for line := range strings.SplitSeq(c.front.head, "\r\n") {
			if v, ok := strings.CutPrefix(line, "X-Order: "); ok {
				all = append(all, v)
			}
		}
		return strings.Join(all, " ")
	}
	bubble(t, func(t *testing.T) {
		s := newStand(t, "[[routes]]\nupstream = \"o\"\nresponse_headers = { add = { X-Order = \"rule\" } }\n[upstreams.o]\ntargets = [\"http://a\"]\n",
			Hooks{OnResponse: add("response 1"), OnReply: add("reply 1")}, Hooks{OnResponse: add("response 2"), OnReply: add("reply 2")})
		c := s.request("GET /")
		equal(t, "the end", c.serve(), "200 ok")
		equal(t, "the order", order(c), "response 1 response 2 rule reply 1 reply 2")
		s.targets["a"].open = refuses
		c = s.request("GET /")
		equal(t, "the end", c.serve(), "502 connect_failed")
		equal(t, "the order", order(c), "rule reply 1 reply 2")
	})
}

// A hook that changes the status decides whether a body follows.
func TestReplyStatusChanged(t *testing.T) {
	check := func(text, response string, status int, want string) {
		t.Helper()
		for _, hooks := range []Hooks{
			{OnResponse: func(x *Exchange) { x.Response.SetStatus(status) }}, {OnReply: func(x *Exchange) { x.Response.SetStatus(status) }},
		} {
			bubble(t, func(t *testing.T) {
				s := newStand(t, text, hooks)
				s.on("a", func(s *fakeStream) {
					s.respond(response)
					if want == "" {
						<-s.gone // the client does not wait for a body that it does not get
						return
					}
					s.body.send("hello")
				})
				c := s.request("GET /")
				c.serve()
				equal(t, response+": the status", c.front.status, status)
				equal(t, response+": the body", c.front.sent(), want)
			})
		}
	}
	for _, text := range []string{oneTarget, cachedRoute} {
		check(text, "200\nContent-Length: 5", 404, "hello")
		check(text, "304\nContent-Length: 5", 200, "")
		check(text, "204", 200, "")
	}
	for _, status := range []int{204, 304} {
		check(oneTarget, "200\nContent-Length: 5", status, "")
		check(oneTarget, "200\nTransfer-Encoding: chunked", status, "")
		check(oneTarget, "204", status, "")
	}
}

// What is left of a request cannot be told from the next one.
func TestReplyLeavesRequest(t *testing.T) {
	const text = "[[routes]]\nrespond = { status = 200 }\n"
	check := func(name string, c *client, want string) {
		t.Helper()
		equal(t, name, c.serve(), "200 fixed_response")
		equal(t, name+": the calls", c.front.trace(), want)
	}
	bubble(t, func(t *testing.T) {
		s := newStand(t, text)
		check("no body", s.request("POST /"), "start finish")
		check("a body that is there", s.request("POST /").with(3, "abc"), "start finish")
		check("a body that is not", s.request("POST /").with(3, "ab"), "close start finish")
		check("a body of no known length", s.request("POST /").with(-1, "ab"), "close start finish")
	})
}
