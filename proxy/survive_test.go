package proxy

import (
	"strings"
	"testing"
	"time"
)

// A fetch goes on without its client while the head is not in, or little of the body is
// missing.
func TestFetchSurvivesClient(t *testing.T) {
	const chunked = "200\nCache-Control: max-age=60\nTransfer-Encoding: chunked"
	const sized = "200\nCache-Control: max-age=60\nContent-Length: 9"
	const private = "200\nCache-Control: private\nContent-Length: 9"
	// The client leaves after at steps of a second: the head, three bytes, six bytes.
	check := func(name, finish, head string, leaves int, survives bool) {
		bubble(t, func(t *testing.T) {
			s := newStand(t, strings.Replace(cachedRoute, "status = true", "finish = \""+finish+"\"", 1))
			cut := false
			pause := func(s *fakeStream) bool {
				select {
				case <-s.gone:
					cut = true
					return false
				case <-time.After(time.Second):
					return true
				}
			}
			a := s.on("a", func(s *fakeStream) {
				if !pause(s) {
					return
				}
				s.respond(head)
				for _, piece := range []string{"hel", "lo you"} {
					if !pause(s) {
						return
					}
					s.body.send(piece)
				}
				if head == chunked && pause(s) {
					s.body.end()
				}
			})
			c := s.request("GET /x").start()
			time.Sleep(time.Duration(leaves)*time.Second + time.Second/2)
			c.gone.Cancel()
			time.Sleep(10 * time.Second)
			settle()
			contains(t, name, c.ended(), "client_gone")
			equal(t, name+": cut", cut, !survives)
			want, streams := "200 ok", 2
			if survives {
				want, streams = "200 cached", 1
			}
			equal(t, name+": the next one", s.request("GET /x").serve(), want)
			equal(t, name+": streams", a.count(), streams)
			equal(t, name+": fetches", s.fetches.Cut(), 0)
			equal(t, name+": in the background", s.Proxy.upstreams["o"].background.Load(), 0)
		})
	}
	check("no head yet", "9", sized, 0, true)
	check("no head yet, and it is longer than that", "8", sized, 0, false)
	check("no head yet, never", "0", sized, 0, false)
	check("all is missing", "9", sized, 1, true)
	check("six bytes are missing", "6", sized, 2, true)
	check("more is missing", "5", sized, 2, false)
	check("unknown length", "9", chunked, 2, true)
	check("unknown length, and more than that comes", "3", chunked, 1, false)

	// What may not be stored is of no use.
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		a := s.on("a", func(s *fakeStream) {
			time.Sleep(time.Second)
			s.respond(private)
			<-s.gone
		}, answer(private, "hello you"))
		c := s.request("GET /x").start()
		settle()
		c.gone.Cancel()
		time.Sleep(2 * time.Second)
		settle()
		equal(t, "private", c.ended(), "200 client_gone")
		equal(t, "fetches", s.fetches.Cut(), 0)
		equal(t, "in the background", s.Proxy.upstreams["o"].background.Load(), 0)
		equal(t, "streams", a.count(), 1)
	})

	// At most limits.background go on.
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute+"limits = { background = 1 }\n")
		s.on("a", func(s *fakeStream) {
			select {
			case <-s.gone:
			case <-time.After(time.Second):
				s.respond(sized)
				s.body.send("hello you")
			}
		})
		first, second := s.request("GET /x").start(), s.request("GET /y").start()
		settle()
		first.gone.Cancel()
		second.gone.Cancel()
		time.Sleep(2 * time.Second)
		settle()
		equal(t, "the one that goes on", first.ended(), "0 client_gone")
		equal(t, "one too many", second.ended(), "400 client_gone")
		equal(t, "the next one", s.request("GET /x").serve(), "200 cached")
	})
}
