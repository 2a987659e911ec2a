package proxy

import (
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"weir/internal/body"
)

// echo is the script of a target that sends back each piece as it comes.
func echo(s *fakeStream) {
	s.respond("200\nTransfer-Encoding: chunked")
	for {
		p, err := s.upload.Next(nil)
		if err != nil {
			if err == io.EOF {
				s.body.end()
			}
			return
		}
		s.body.send(string(p))
	}
}

// collects is the script of a target that reads everything and then answers with it.
func collects(s *fakeStream) {
	all, err := s.readAll()
	if err != nil {
		s.answer("400", err.Error())
		return
	}
	s.answer("200", all)
}

// A body moves while it arrives, and the answer follows it.
func TestUpload(t *testing.T) {
	check := func(length int64, trailer string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			a := s.on("a", collects)
			c := s.request("POST /").with(length).start()
			c.front.body.send("one ")
			settle()
			equal(t, "what the target has", a.stream(0).upload.Seen(), 4)
			c.front.body.send("two")
			if trailer != "" {
				c.front.body.end(trailer)
			} else {
				c.front.body.end()
			}
			settle()
			equal(t, "the end", c.ended(), "200 ok")
			equal(t, "the body", c.front.sent(), "one two")
			equal(t, "bytes in", c.Result.BytesIn, 7)
			equal(t, "the calls", c.front.trace(), "start write finish")
			if trailer != "" {
				equal(t, "the trailer section", a.stream(0).trailer, trailer+"\r\n")
			}
			equal(t, "whether the stream is reusable", a.stream(0).reusable, true)
		})
	}
	check(7, "")
	check(-1, "")
	check(-1, "X-Sum: 1")
}

// The time that a client takes for its body is not its target's, whatever takes notice of that.
func TestUploadTakesTime(t *testing.T) {
	check := func(name string, length int64, play script, at, want time.Duration) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			s.on("a", play)
			began := time.Now()
			c := s.request("POST /").with(length).start()
			for range 3 {
				time.Sleep(time.Second)
				c.front.body.send("x")
			}
			c.front.body.end()
			time.Sleep(time.Second)
			equal(t, name+": the end", c.ended(), "200 ok")
			equal(t, name+": the first byte", c.Result.FirstByte, want)
			equal(t, name+": the target's latency", s.sets["origin"].Targets()[0].Latency(), want)
			contains(t, name+": the head", c.front.head, "Date: "+began.Add(at).UTC().Format(http.TimeFormat))
		})
	}
	answers := func(s *fakeStream) {
		s.readAll()
		time.Sleep(250 * time.Millisecond)
		s.answer("200", "hello")
	}
	check("by length", 3, answers, 3250*time.Millisecond, 250*time.Millisecond)
	check("in chunks", -1, answers, 3250*time.Millisecond, 250*time.Millisecond)
	check("an early answer", -1, func(s *fakeStream) {
		time.Sleep(1500 * time.Millisecond)
		s.respond("200")
		s.readAll()
		s.body.send("hello").end()
	}, 1500*time.Millisecond, 1500*time.Millisecond)
}

// Both directions stream at once.
func TestFullDuplex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.on("a", echo)
		c := s.request("POST /").with(-1, "one ").start()
		equal(t, "the body so far", c.front.sent(), "one ")
		c.front.body.send("two ")
		settle()
		equal(t, "the body so far", c.front.sent(), "one two ")
		c.front.body.send("three").end()
		settle()
		equal(t, "the end", c.ended(), "200 ok")
		equal(t, "the body", c.front.sent(), "one two three")
	})
}

// The limit for the first byte does not hold for a body that has begun before the upload ends.
func TestFullDuplexSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget+"timeouts = { first_byte = \"1s\" }\n")
		s.on("a", func(s *fakeStream) {
			s.respond("200\nTransfer-Encoding: chunked")
			s.readAll()
			time.Sleep(5 * time.Second)
			s.body.send("late").end()
		})
		c := s.request("POST /").with(-1, "one ").start()
		c.front.body.end()
		time.Sleep(6 * time.Second)
		equal(t, "the end", c.ended(), "200 ok")
		equal(t, "the body", c.front.sent(), "late")
	})
}

// A target that answers before it has read the request: the client gets the answer and
// is not read any more.
func TestEarlyAnswer(t *testing.T) {
	check := func(name string, play script) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			a := s.on("a", play)
			a.open = func(s *fakeStream) error {
				s.blocks = name == "without reading"
				return nil
			}
			c := s.request("POST /").with(-1, "one ").start()
			equal(t, name, c.ended(), "403 ok")
			equal(t, name+": the body", c.front.sent(), "no")
			equal(t, name+": the calls", c.front.trace(), "close start write pause resume finish")
			equal(t, name+": whether the stream is reusable", a.stream(0).reusable, false)
		})
	}
	check("at once", answer("403", "no"))
	check("without reading", answer("403", "no"))
	check("after a part", func(s *fakeStream) { s.upload.Next(nil); s.answer("403", "no") })
	check("and breaks", func(s *fakeStream) {
		s.upload.Next(nil)
		s.writeErr = syscall.EPIPE
		s.answer("403", "no")
	})
}

// What becomes of an exchange whose upload ends early.
func TestUploadFails(t *testing.T) {
	const first = "timeouts = { first_byte = \"1s\", write = \"2s\" }\n"
	check := func(name, text string, open func(s *fakeStream) error, play script, drive func(c *client), want string) *client {
		t.Helper()
		var c *client
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			s.on("a", play)
			s.targets["a"].open = open
			c = s.request("POST /").with(-1, "one ").start()
			drive(c)
			settle()
			equal(t, name, c.ended(), want)
			equal(t, name+": whether the stream is reusable", s.targets["a"].stream(0).reusable, false)
		})
		return c
	}
	fails := func(err error) func(c *client) { return func(c *client) { c.front.body.fail(err) } }
	nothing := func(*client) {}

	// The client's faults: the target must not take what it got for all.
	check("the client leaves", oneTarget, nil, collects, fails(io.ErrUnexpectedEOF), "400 client_gone")
	check("the client is slow", oneTarget, nil, collects, fails(os.ErrDeadlineExceeded), "408 client_slow")
	check("the body is malformed", oneTarget, nil, collects, fails(body.DefectChunk), "400 bad_request")
	large := check("the body is too large", "[[routes]]\nmax_body = \"4B\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [\"http://a\"]\n", nil, collects,
		func(c *client) { c.front.body.send("two") }, "413 body_too_large")
	contains(t, "the calls", large.front.trace(), "close start write finish")
	cut := check("the body is malformed after the answer began", oneTarget, nil, echo, fails(body.DefectChunk), "200 bad_request")
	equal(t, "whether the answer was cut", cut.front.did("abort"), true)

	// The target's.
	broken := func(s *fakeStream) error { s.writeErr = syscall.ECONNRESET; return nil }
	check("the target breaks", oneTarget, broken, resets, nothing, "502 reset")
	check("the target breaks and says why", oneTarget, broken, answer("429", "slowly"), nothing, "429 ok")
	blocks := func(s *fakeStream) error { s.blocks = true; return nil }
	check("the target does not read", oneTarget+first, blocks, silent, func(*client) { time.Sleep(3 * time.Second) }, "504 write_timeout")
	check("the target does not answer", oneTarget+first, nil, silent, func(c *client) {
		time.Sleep(10 * time.Second) // the limit counts from the end of the request
		c.front.body.send("two").end()
		time.Sleep(2 * time.Second)
	}, "504 first_byte_timeout")
	check("there is no time", oneTarget+"timeouts = { total = \"3s\" }\n", nil, silent, func(c *client) {
		time.Sleep(4 * time.Second)
	}, "504 total_timeout")
	check("the client leaves while the target thinks", oneTarget, nil, silent, func(c *client) {
		c.front.body.end()
		settle()
		c.gone.Cancel()
	}, "400 client_gone")
	check("the client leaves in the middle", oneTarget, nil, silent, func(c *client) { c.gone.Cancel() }, "400 client_gone")
}

// A body that was kept is sent again, and read on where it was; one that was too long is not.
func TestUploadAgain(t *testing.T) {
	breaks := func(s *fakeStream) { s.readAll(); resets(s) }
	check := func(name, keep string, first script, want, got string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, twoTargets+"retry = { body = \""+keep+"\" }\n")
			s.on("a", first)
			s.on("b", collects)
			c := s.request("PUT /").with(-1, "one ").start()
			c.front.body.send("two").end("X-Sum: 1")
			settle()
			time.Sleep(time.Second)
			equal(t, name, c.ended(), want)
			if got != "" {
				equal(t, name+": the body", c.front.sent(), got)
				equal(t, name+": the trailer section", s.targets["b"].stream(0).trailer, "X-Sum: 1\r\n")
			}
		})
	}
	check("after the end", "7B", breaks, "200 ok", "one two")
	check("too long", "6B", breaks, "502 reset", "")
	check("in the middle", "7B", func(s *fakeStream) { s.upload.Next(nil); resets(s) }, "200 ok", "one two")
	check("before it was read", "7B", resets, "200 ok", "one two")

	// The client sends the rest when the next target has all that is there.
	goesOn := func(name, text string, length int64, first script) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, twoTargets+text)
			s.on("a", first)
			begun := make(chan string, 1)
			s.on("b", func(s *fakeStream) {
				p, _ := s.upload.Next(nil)
				begun <- string(p)
				rest, _ := s.readAll()
				s.answer("200", rest)
			})
			c := s.request("PUT /").with(length, "one ").start()
			equal(t, name+": what was there", <-begun, "one ")
			c.front.body.send("two").end()
			settle()
			equal(t, name, c.ended(), "200 ok")
			equal(t, name+": the rest", c.front.sent(), "two")
		})
	}
	goesOn("reset", "", -1, func(s *fakeStream) { s.upload.Next(nil); resets(s) })
	goesOn("reset, by length", "", 7, func(s *fakeStream) { s.upload.Next(nil); resets(s) })
	goesOn("refused, by length", "", 7, answer("503", "busy"))
	goesOn("refused", "", -1, answer("503", "busy"))

	// What is not kept cannot be sent again: the answer stands.
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets+"retry = { body = \"3B\" }\n")
		s.on("a", func(s *fakeStream) { s.upload.Next(nil); s.answer("503", "busy") })
		s.on("b", collects)
		c := s.request("PUT /").with(-1, "one ").start()
		settle()
		equal(t, "too long, refused", c.ended(), "503 ok")
		equal(t, "what the client gets", c.front.sent(), "busy")
	})
}

// A panic in the upload ends the exchange, and no more.
func TestUploadPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget, Hooks{OnRequest: func(x *Exchange) {
			x.Tap(ToTarget, 100, func([]byte, bool) { panic("in the tap") })
		}})
		s.on("a", collects)
		s.panics = 1
		c := s.request("POST /").with(-1, "one ").start()
		equal(t, "the end", c.ended(), "500 panic")
	})
}
