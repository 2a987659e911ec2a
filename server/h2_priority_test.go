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
	large := strings.Repeat("x", 4<<20)
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
			if c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) != nil {
				return
			}
		}
	})
	w := framedThrough(t, origin)
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
		c.Grant(0, len(large))
		equal(t, "what is urgent", len(c.Whole(5).Body), len(large))
		for _, s := range []uint32{1, 3} {
			a := c.Until(s, "the head came", func(*testkit.Answered) bool { return true })
			if len(a.Body) > len(large)/2 {
				t.Errorf("stream %d is at %d bytes", s, len(a.Body))
			}
		}
		c.Framer.WritePriorityUpdate(3, "u=0")
		c.Grant(0, len(large))
		equal(t, "what has become urgent", len(c.Whole(3).Body), len(large))
	})
	t.Run("small beside large", func(t *testing.T) {
		c := begin()
		c.Get(3, "/small")
		waits(c, 3)
		c.Grant(0, 64<<10)
		equal(t, "the small answer", c.Whole(3).Body, "small")
	})
}
