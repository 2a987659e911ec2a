package server_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"weir/internal/testkit"
)

// dying starts two origins that answer once free is closed, but for the first request to the one that
// breaks its connection when dies is closed.
func dying(t *testing.T) (dies, free chan struct{}, bad, good *testkit.Origin) {
	dies, free = make(chan struct{}), make(chan struct{})
	answer := func(c *testkit.Conn) {
		for {
			c.Request()
			c.Wait(free)
			c.Send(ok)
		}
	}
	var first atomic.Bool
	bad = testkit.Listen(t, func(c *testkit.Conn) {
		if first.CompareAndSwap(false, true) {
			c.Request()
			c.Wait(dies)
			c.Reset()
			return
		}
		answer(c)
	})
	return dies, free, bad, testkit.Listen(t, answer)
}

// A target that dies costs no request that can be repeated while others wait for a place: an exchange
// keeps its own until it has an answer, and a retry waits before new requests for a place at a target.
func TestRetriesWhileOthersWait(t *testing.T) {
	t.Parallel()
	const text = plainListener + `
[metrics]
address = "127.0.0.1:0"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q]
limits = { %s, queue = 2, queue_timeout = "1m" }
`
	check := func(name, limits, afterReload string, toBad, toGood, queued int) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dies, free, bad, good := dying(t)
			w := launch(t, fmt.Sprintf(text, bad.URL, good.URL, limits))
			var clients []*testkit.Client
			asks := func() {
				c := w.dial()
				c.Send(get)
				clients = append(clients, c)
			}
			is := func(toBad, toGood, queued int) bool {
				return bad.Requests() == toBad && good.Requests() == toGood &&
					w.metric(`weir_upstream_queued{upstream="origin"}`) == fmt.Sprint(queued)
			}
			asks()
			asks()
			testkit.Eventually(t, "each target has a request", func() bool { return is(1, 1, 0) })
			asks()
			asks()
			testkit.Eventually(t, "two wait", func() bool { return is(1, 1, 2) })
			if afterReload != "" {
				if err := w.Reload(parse(t, fmt.Sprintf(text, bad.URL, good.URL, afterReload))); err != nil {
					t.Fatal(err)
				}
			}
			close(dies)
			testkit.Eventually(t, "the retry is where it belongs", func() bool { return is(toBad, toGood, queued) })
			close(free)
			for i, c := range clients {
				equal(t, fmt.Sprintf("request %d", i), c.Response("GET").Status(), 200)
			}
		})
	}
	// The exchange whose target has died has kept its place, and goes to the other target.
	check("the upstream's limit", "in_flight = 2", "", 1, 2, 2)
	check("a lower limit", "in_flight = 2", "in_flight = 1", 1, 2, 2)
	check("a higher limit", "in_flight = 2", "in_flight = 3", 1, 2, 2)
	// Another has the place at the target that has died; the retry waits for the other one.
	check("the targets' limits", "target_in_flight = 1", "", 2, 1, 2)
}
