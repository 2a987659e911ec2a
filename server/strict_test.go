package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// The corpus. Each refusal must reach the client, also one that goes on sending,
// and must be in the access log.
func TestStrictInput(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			got <- c.Request()
			c.Send(ok)
		}
	})
	w := through(t, origin)
	// The log's lines by the client's address, which a later client may have again.
	want, lines := make(map[string][]string), 0
	for _, c := range testkit.StrictCases(t, "testdata/strict.txt") {
		junk := []string{"", strings.Repeat("x", 1<<20)}
		if c.Status == 200 {
			junk = junk[:1]
		}
		for _, more := range junk {
			t.Run(fmt.Sprintf("%s, %d more bytes", c.Name, len(more)), func(t *testing.T) {
				client := testkit.Dial(t, w.addr)
				address := client.LocalAddr().String()
				want[address] = append(want[address], fmt.Sprintf("%d %s", c.Status, c.Cause))
				lines++
				client.Send(c.Send + more)
				m := client.Response("GET")
				equal(t, "status", m.Status(), c.Status)
				if m.Status() == 200 {
					judgeOrigin(t, c, receive(t, got))
					return
				}
				equal(t, "Connection", m.Get("Connection"), "close")
				rest, end := client.Rest()
				equal(t, "what follows", rest, "")
				equal(t, "the end", end, testkit.Closed)
			})
		}
	}
	for _, line := range w.logged(lines) {
		if len(want[line.Peer]) == 0 {
			t.Errorf("unexpected line %s of %s", line, line.Peer)
			continue
		}
		equal(t, "the log's line", line.String(), want[line.Peer][0])
		want[line.Peer] = want[line.Peer][1:]
	}
	equal(t, "requests that reached the origin and were not looked at", len(got), 0)
}

// judgeOrigin compares what the origin got.
func judgeOrigin(t *testing.T, c testkit.StrictCase, m *testkit.Message) {
	t.Helper()
	for _, want := range c.Want {
		if !strings.Contains("\r\n"+m.Head, "\r\n"+want+"\r\n") {
			t.Errorf("origin got %q, without %q", m.Head, want)
		}
	}
	for _, not := range c.Not {
		if strings.Contains(m.Head, not) {
			t.Errorf("origin got %q, with %q", m.Head, not)
		}
	}
}
