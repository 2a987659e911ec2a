package server_test

import (
	"fmt"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// An urgent body comes before one that is not, whichever was asked for first, and a
// PRIORITY_UPDATE changes that; without priorities a small answer does not wait for a large one.
func TestH2Priorities(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 512<<10)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			body := large
			if m.Target() == "/small" {
				body = "small"
			}
			if c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) != nil {
				return
			}
		}
	})
	w := overTLS(t, "", "%s", toOne(origin.URL))
	// What comes from memory is all there, so that no stream has to wait for its next bytes while
	// others go on, and a body waits for the window as soon as its head has come.
	stored := w.dial()
	stream := uint32(1)
	for _, path := range []string{"/large", "/small"} {
		testkit.Eventually(t, path+" is stored", func() bool {
			stored.Get(stream, path)
			a := stored.Whole(stream)
			stream += 2
			return a.Field("age") != ""
		})
	}
	// The window of the connection is used up first, so that all bodies wait for it.
	begin := func() *testkit.Frames {
		c := w.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 30})
		c.Still(true)
		c.Get(1, "/large")
		c.Until(1, "the window is used up", func(a *testkit.Answered) bool { return len(a.Body) == 64<<10-1 })
		return c
	}
	waits := func(c *testkit.Frames, stream uint32) {
		c.Until(stream, "the head comes", func(a *testkit.Answered) bool { return a.Head != "" })
	}
	t.Run("urgency", func(t *testing.T) {
		c := begin()
		c.Get(3, "/large", "priority: u=7")
		c.Get(5, "/large", "priority: u=0")
		c.Get(7, "/large", "priority: u=1")
		for _, s := range []uint32{3, 5, 7} {
			waits(c, s)
		}
		after := func(what string, stream uint32, others map[uint32]int) {
			t.Helper()
			c.Grant(0, len(large)/2) // which is given twice, to all streams
			equal(t, what, len(c.Whole(stream).Body), len(large))
			for s, n := range others {
				a := c.Until(s, "the head came", func(*testkit.Answered) bool { return true })
				equal(t, fmt.Sprintf("what has come on stream %d", s), len(a.Body), n)
			}
		}
		after("what is urgent", 5, map[uint32]int{1: 64<<10 - 1, 3: 0, 7: 0})
		after("what is less urgent", 7, map[uint32]int{1: 64<<10 - 1, 3: 0})
		c.Framer.WritePriorityUpdate(3, "u=0")
		after("what has become urgent", 3, map[uint32]int{1: 64<<10 - 1})
	})
	t.Run("streams that were never used", func(t *testing.T) {
		c := w.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 30})
		c.Still(true)
		const first = 1001
		for stream := uint32(1); stream < first; stream += 2 {
			c.Framer.WritePriorityUpdate(stream, "u=1")
		}
		c.Get(first, "/large")
		c.Until(first, "the window is used up", func(a *testkit.Answered) bool { return len(a.Body) == 64<<10-1 })
		c.Framer.WritePriorityUpdate(first+2, "u=7")
		c.Get(first+2, "/large")
		waits(c, first+2)
		c.Grant(0, len(large)/2) // which is given twice, to all streams
		equal(t, "what is urgent", len(c.Whole(first).Body), len(large))
		c.Until(first+2, "the other has the rest of the window", func(a *testkit.Answered) bool { return len(a.Body) == 64<<10-1 })
	})
	t.Run("small beside large", func(t *testing.T) {
		c := begin()
		c.Get(3, "/small")
		waits(c, 3)
		c.Grant(0, 64<<10)
		equal(t, "the small answer", c.Whole(3).Body, "small")
	})
}
