package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// watch taps a body and returns what the tap has heard.
func watch(x *Exchange, d Direction, limit int64) *strings.Builder {
	var heard strings.Builder
	x.Tap(d, limit, func(piece []byte, end bool) {
		fmt.Fprintf(&heard, "[%s]", piece)
		if end {
			heard.WriteString(".")
		}
	})
	return &heard
}

// A tap hears its bytes once, and the end once, whatever becomes of the exchange.
func TestTap(t *testing.T) {
	check := func(name, text string, play script, request func(s *stand) *client, up, down string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			var heard [2]*strings.Builder
			s := newStand(t, text, Hooks{OnRequest: func(x *Exchange) {
				heard[0], heard[1] = watch(x, ToTarget, 8), watch(x, ToClient, 8)
			}})
			if play != nil {
				s.on("a", play)
			}
			c := request(s).start()
			time.Sleep(time.Second) // a retry may wait
			s.settled()
			equal(t, name+": the phase", c.phase, phaseSettled)
			equal(t, name+": up", heard[0].String(), up)
			equal(t, name+": down", heard[1].String(), down)
		})
	}
	get := func(s *stand) *client { return s.request("GET /") }
	post := func(length int64, pieces ...string) func(s *stand) *client {
		return func(s *stand) *client {
			c := s.request("PUT /").with(length, pieces...)
			if length < 0 {
				c.front.body.end()
			}
			return c
		}
	}
	check("both", oneTarget, collects, post(-1, "one ", "two"), "[one ][two][].", "[one two][].")
	check("held", oneTarget, collects, post(7, "one ", "two"), "[one ][two][].", "[one two][].")
	check("to the limit", oneTarget, collects, post(-1, "one ", "two ", "three"), "[one ][two ].", "[one two ].")
	check("none", oneTarget, answer("204"), get, "[].", "[].")
	check("own page", oneTarget, resets, get, "[].", "[502 Bad ].")
	check("a retry", twoTargets, resets, post(3, "one"), "[one][].", "[hello][].")
	check("broken", oneTarget, func(s *fakeStream) { s.respond("200\nContent-Length: 9"); s.body.send("hel") }, get, "[].", "[hel][].")
	check("refused", "[[routes]]\npath = [\"/x\"]\nrespond = { status = 200 }\n", nil, post(-1, "one"), "[].", "[404 Not ].")
	check("the client leaves", oneTarget, silent, func(s *stand) *client {
		c := get(s)
		c.gone.Cancel()
		c.front.on["start"] = func() error { return errBroken }
		return c
	}, "[].", "[].")
}

// A tap that panics costs the exchange; the others hear the end.
func TestTapPanics(t *testing.T) {
	for _, d := range []Direction{ToTarget, ToClient} {
		bubble(t, func(t *testing.T) {
			var heard [2]*strings.Builder
			calls := 0
			s := newStand(t, oneTarget, Hooks{OnRequest: func(x *Exchange) {
				heard[0] = watch(x, d, 100)
				x.Tap(d, 100, func([]byte, bool) { calls++; panic("in the tap") })
				heard[1] = watch(x, d, 100)
			}})
			s.on("a", collects)
			s.panics = 1
			c := s.request("PUT /").with(3, "abc")
			c.serve()
			equal(t, "the cause", c.Result.Cause, CausePanic)
			equal(t, "calls", calls, 1)
			equal(t, "the first tap", strings.HasSuffix(heard[0].String(), "[]."), true)
			equal(t, "the last tap", strings.HasSuffix(heard[1].String(), "[]."), true)
		})
	}
}
