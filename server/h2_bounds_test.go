package server_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// batch makes frames to be sent in one write.
func batch(make func(f *h2.Framer)) []byte {
	var b bytes.Buffer
	f := h2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	make(f)
	return b.Bytes()
}

// queueing starts a weir whose requests for /queued wait in a queue, so that nothing reads their bodies, and whose others get ok.
func queueing(t *testing.T) *framed {
	t.Helper()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			if m.Target() != "/" {
				c.Rest()
				return
			}
			if m.ReadBody(c.Reader) != nil || c.TrySend(ok) != nil {
				return
			}
		}
	})
	return overTLS(t, "", `
[[routes]]
path = "/queued"
upstream = "full"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
[upstreams.full]
targets = [%q]
limits = { in_flight = 1, queue = 100, queue_timeout = "1h" }
`, origin.URL, origin.URL)
}

// A client that only makes work is sent away, with a reason that is counted, and costs others
// nothing.
func TestH2Bounds(t *testing.T) {
	t.Parallel()
	w := queueing(t)
	counts := make(map[string]int)
	check := func(name, reason string, code h2.ErrCode, drive func(c *testkit.Frames)) {
		t.Run(name, func(t *testing.T) {
			c := testkit.DialFrames(t, w.addr, w.secure)
			c.Ping()
			drive(c)
			c.Left(code)
			c.GoAways()
			counts[reason]++
			series := fmt.Sprintf("weir_listener_ended_total{listener=%q,reason=%q} %d\n", "main", reason, counts[reason])
			testkit.Eventually(t, series, func() bool { return strings.Contains(w.metrics(), series) })
			other := testkit.DialFrames(t, w.addr, w.secure)
			other.Get(1, "/")
			equal(t, "another client's answer", other.Whole(1).Status(), "200")
		})
	}
	const calm = h2.ErrCodeEnhanceYourCalm
	flood := func(n int, one func(f *h2.Framer, i int)) func(c *testkit.Frames) {
		return func(c *testkit.Frames) {
			c.Get(1, "/silent")
			c.Post(3, "/silent")
			for i := 0; i < n; i += 100 {
				if _, err := c.Write(batch(func(f *h2.Framer) {
					for k := range 100 {
						one(f, i+k)
					}
				})); err != nil {
					return
				}
			}
		}
	}
	// A second gives some resets back, so the frames of a thousand streams come at once.
	streams := func(c *testkit.Frames, one func(f *h2.Framer, stream uint32)) {
		c.Write(batch(func(f *h2.Framer) {
			for i := range uint32(1000) {
				one(f, 2*i+1)
			}
		}))
	}
	get := func(c *testkit.Frames) []byte {
		return c.Block(":method: GET", ":scheme: https", ":authority: a", ":path: /silent")
	}
	headers := func(stream uint32, block []byte) h2.HeadersFrameParam {
		return h2.HeadersFrameParam{StreamID: stream, EndStream: true, EndHeaders: true, BlockFragment: block}
	}
	check("resets", "too_many_resets", calm, func(c *testkit.Frames) {
		block := get(c)
		streams(c, func(f *h2.Framer, stream uint32) {
			f.WriteHeaders(headers(stream, block))
			f.WriteRSTStream(stream, h2.ErrCodeCancel)
		})
	})
	check("resets that the client provokes", "too_many_resets", calm, func(c *testkit.Frames) {
		block := get(c)
		streams(c, func(f *h2.Framer, stream uint32) {
			f.WriteHeaders(headers(stream, block))
			f.WriteRawFrame(h2.FrameWindowUpdate, 0, stream, []byte{0, 0, 0, 0})
		})
	})
	check("malformed requests", "too_many_resets", calm, func(c *testkit.Frames) {
		block := c.Block(":method: GET")
		streams(c, func(f *h2.Framer, stream uint32) { f.WriteHeaders(headers(stream, block)) })
	})
	check("more streams than allowed", "too_many_resets", calm, func(c *testkit.Frames) {
		block := get(c)
		streams(c, func(f *h2.Framer, stream uint32) { f.WriteHeaders(headers(stream, block)) })
		equal(t, "the first one beyond", h2.ErrCode(c.Whole(201).Reset), h2.ErrCodeRefusedStream)
	})
	check("settings", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WriteSettings() }))
	check("pings", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WritePing(false, [8]byte{}) }))
	check("answers to no ping", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WritePing(true, [8]byte{}) }))
	check("priorities", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) {
		f.WritePriority(uint32(2*i+1), h2.PriorityParam{StreamDep: 0})
	}))
	check("updates of priorities", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WritePriorityUpdate(uint32(2*i+1), "u=1") }))
	check("empty DATA", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WriteData(3, false, nil) }))
	check("padding alone", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WriteDataPadded(3, false, nil, make([]byte, 10)) }))
	check("windows", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WriteWindowUpdate(1, 1) }))
	check("unknown frames", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WriteRawFrame(0x77, 0, 0, nil) }))
	check("GOAWAY", "idle_frames", calm, flood(3000, func(f *h2.Framer, i int) { f.WriteGoAway(0, h2.ErrCodeNo, nil) }))
	check("bodies of streams that weir has ended", "protocol_error", h2.ErrCodeFlowControl, flood(100, func(f *h2.Framer, i int) {
		f.WriteData(3, false, make([]byte, 16<<10))
	}))
	check("header lists of a stream that weir has ended", "idle_frames", calm, func(c *testkit.Frames) {
		block := c.Block("a: b")
		c.Post(1, "/silent")
		c.Framer.WriteRawFrame(h2.FrameWindowUpdate, 0, 1, []byte{0, 0, 0, 0})
		equal(t, "the reset", h2.ErrCode(c.Whole(1).Reset), h2.ErrCodeProtocol)
		c.Write(batch(func(f *h2.Framer) {
			for range 2000 {
				f.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: block})
			}
		}))
	})
	check("resets of what has ended", "idle_frames", calm, func(c *testkit.Frames) {
		c.Get(1, "/")
		c.Whole(1)
		for range 20 {
			c.Write(batch(func(f *h2.Framer) {
				for range 100 {
					f.WriteRSTStream(1, h2.ErrCodeCancel)
				}
			}))
		}
	})
	check("continuations", "continuations", calm, func(c *testkit.Frames) {
		block := get(c)
		c.Write(batch(func(f *h2.Framer) {
			f.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
			for range 100 {
				f.WriteContinuation(1, false, nil)
			}
		}))
	})
	check("a table that is too large", "protocol_error", h2.ErrCodeCompression, func(c *testkit.Frames) {
		c.Write(batch(func(f *h2.Framer) {
			f.WriteHeaders(headers(1, []byte{0x3f, 0xe1, 0xff, 0x03}))
		}))
	})
}

// As many frames as an honest client sends are no reason to end it.
func TestH2HonestFrames(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 128<<10)
	origin := testkit.Listen(t, testkit.Answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large)))
	w := framedThrough(t, origin)
	c := w.dial()
	for stream := uint32(1); stream < 20; stream += 2 {
		c.Get(stream, "/") // two updates of windows for each frame
		equal(t, "whether the body is whole", c.Whole(stream).Body == large, true)
	}
	for stream := uint32(21); stream < 600; stream += 2 {
		c.Headers(stream, true, ":method: GET", ":scheme: https", ":authority: a", ":path: /..%2f")
		equal(t, "an answer", c.Whole(stream).Status(), "400")
	}
}

// A client that stalls a stream loses that stream after timeouts.grace, and no other; one that reads
// nothing at all loses its connection.
func TestH2Stalled(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 1<<20)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			switch {
			case err != nil, m.ReadBody(c.Reader) != nil:
				return
			case m.Target() == "/small":
				c.TrySend(ok)
			default:
				c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
			}
		}
	})
	w := overTLS(t, "timeouts = { grace = \"2s\" }", "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\n", origin.URL)
	c := w.dial()
	c.Still(true)
	c.Get(1, "/large")
	equal(t, "a stream without window", h2.ErrCode(c.Whole(1).Reset), h2.ErrCodeCancel)
	c.Grant(0, 1<<20)
	c.Post(3, "/small", "content-length: 5")
	a := c.Whole(3)
	if a.Status() != "408" && a.Reset < 0 {
		t.Errorf("an upload without body is %+v", a)
	}
	c.Get(5, "/small")
	equal(t, "another stream", c.Whole(5).Status(), "200")
	slow := 0
	for _, line := range w.logged(3) {
		if line.Cause == "client_slow" {
			slow++
		}
	}
	equal(t, "lines of a slow client", slow, 2)
}

// The connection of a client that reads nothing of large answers ends, and is counted.
func TestH2ReadsNothing(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 8<<20)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
	})
	w := overTLS(t, "timeouts = { grace = \"2s\" }", "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%q]\n", origin.URL)
	c := w.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 30})
	c.Deaf()
	c.Grant(0, 1<<29)
	for stream := uint32(1); stream < 20; stream += 2 {
		c.Get(stream, "/")
	}
	series := `weir_listener_ended_total{listener="main",reason="stalled"} 1`
	testkit.Eventually(t, "the connection ends", func() bool { return strings.Contains(w.metrics(), series) })
	for _, line := range w.logged(10) {
		equal(t, "the cause", line.Cause, "client_slow")
	}
}

// A frame that does not come to its end, and a connection that says nothing, end.
func TestH2Silence(t *testing.T) {
	t.Parallel()
	w := overTLS(t, "timeouts = { header = \"2s\", idle = \"2s\" }", "[[routes]]\nrespond = {}\n")
	check := func(name string, drive func(c *testkit.Frames)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			c := testkit.DialSilent(t, w.addr, w.secure)
			drive(c)
			c.GoAways()
			if d := time.Since(began); d < 2*time.Second {
				t.Errorf("ended after %v", d)
			}
		})
	}
	check("no preface", func(c *testkit.Frames) {})
	check("a part of the preface", func(c *testkit.Frames) { c.Write([]byte("PRI *")) })
	check("no settings", func(c *testkit.Frames) { c.Write([]byte(h2.ClientPreface)) })
	check("no frame", func(c *testkit.Frames) {
		c.Write([]byte(h2.ClientPreface))
		c.Framer.WriteSettings()
	})
	check("a part of a frame", func(c *testkit.Frames) {
		c.Write([]byte(h2.ClientPreface))
		c.Framer.WriteSettings()
		c.Write([]byte{0, 0, 9, 1})
	})
	check("a part of a header list", func(c *testkit.Frames) {
		c.Write([]byte(h2.ClientPreface))
		c.Framer.WriteSettings()
		c.Framer.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
	})
}

// Requests for answers that are not read end the connection before they fill the memory.
func TestH2UnreadAcks(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 8<<20)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
	})
	w := framedThrough(t, origin)
	c := w.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 30})
	c.Deaf()
	c.Grant(0, 1<<29)
	for stream := uint32(1); stream < 20; stream += 2 {
		c.Get(stream, "/")
	}
	series := `weir_listener_ended_total{listener="main",reason="unread_acks"} 1`
	testkit.Eventually(t, "the connection ends", func() bool {
		c.Write(batch(func(f *h2.Framer) { f.WritePing(false, [8]byte{}) }))
		return strings.Contains(w.metrics(), series)
	})
}
