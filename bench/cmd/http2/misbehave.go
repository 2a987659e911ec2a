package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"
)

// only is the flag that chooses one way.
var only string

// way is one way to misbehave, by one client.
type way struct {
	name string
	// drive misbehaves until it has sent what it sends, or the connection has ended.
	drive func(p *proxy, c *client)
	// raw begins without preface and settings.
	raw bool
	// deaf reads nothing that comes, still opens no windows.
	deaf, still bool
	settings    []h2.Setting
	// lives says that the connection may live on: what it does costs little.
	lives bool
}

const (
	maxFrames = 20_000
	// batch is how many frames are sent in one write.
	batch = 200
)

// flood sends up to maxFrames frames, after requests with an open body on stream 1, and for silence on stream 3.
func flood(one func(c *client, i int)) func(p *proxy, c *client) {
	return func(p *proxy, c *client) {
		c.request(1, "POST", "/wait", false)
		c.request(3, "GET", "/wait", true)
		c.batches(maxFrames/batch, func(k int) {
			for i := range batch {
				one(c, k*batch+i)
			}
		})
	}
}

// streams makes up to n requests, each on a stream of its own.
func streams(n int, one func(c *client, stream uint32)) func(p *proxy, c *client) {
	return func(p *proxy, c *client) {
		c.batches(n/batch, func(k int) {
			for i := range batch {
				one(c, uint32(2*(k*batch+i)+1))
			}
		})
	}
}

// batches sends n batches, until the connection has ended.
func (c *client) batches(n int, one func(k int)) {
	for k := range n {
		one(k)
		if c.send() != nil {
			return
		}
		select {
		case <-c.ended:
			return
		default:
		}
	}
}

var window = []h2.Setting{{ID: h2.SettingInitialWindowSize, Val: 1<<31 - 1}}

func ways() []way {
	cancel := func(c *client, stream uint32) { c.frames.WriteRSTStream(stream, h2.ErrCodeCancel) }
	get := func(c *client, stream uint32, path string) { c.request(stream, "GET", path, true) }
	crumbs := make([]string, 0, 24_000)
	for range 12_000 {
		crumbs = append(crumbs, "cookie", "a=b")
	}
	return []way{
		{name: "requests that are reset at once", drive: streams(10_000, func(c *client, s uint32) { get(c, s, toReset); cancel(c, s) })},
		{name: "resets provoked by a window of 0", drive: streams(10_000, func(c *client, s uint32) {
			get(c, s, toReset)
			c.frames.WriteRawFrame(h2.FrameWindowUpdate, 0, s, make([]byte, 4))
		})},
		{name: "resets provoked by a body after the end", drive: streams(10_000, func(c *client, s uint32) { get(c, s, toReset); c.frames.WriteData(s, true, []byte("x")) })},
		{name: "resets provoked by a priority of itself", drive: streams(10_000, func(c *client, s uint32) {
			get(c, s, toReset)
			c.frames.WritePriority(s, h2.PriorityParam{StreamDep: s})
		})},
		{name: "requests without a path", drive: streams(10_000, func(c *client, s uint32) { c.headers(s, true, c.list(":method", "GET", ":scheme", "https")) })},
		{name: "names in upper case", drive: streams(10_000, func(c *client, s uint32) { c.request(s, "GET", "/", true, "Upper", "x") })},
		{name: "bodies longer than said", drive: streams(10_000, func(c *client, s uint32) {
			c.request(s, "POST", toReset, false, "content-length", "1")
			c.frames.WriteData(s, true, []byte("xx"))
		})},
		{name: "more streams than allowed", drive: streams(10_000, func(c *client, s uint32) { get(c, s, "/wait") })},
		{name: "SETTINGS", drive: flood(func(c *client, i int) { c.frames.WriteSettings() })},
		{name: "SETTINGS that change windows", drive: flood(func(c *client, i int) {
			c.frames.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: uint32(i)})
		})},
		{name: "SETTINGS, answers unread", deaf: true, drive: flood(func(c *client, i int) { c.frames.WriteSettings() })},
		{name: "PING", drive: flood(func(c *client, i int) { c.frames.WritePing(false, [8]byte{}) })},
		{name: "PING, answers unread", deaf: true, drive: flood(func(c *client, i int) { c.frames.WritePing(false, [8]byte{}) })},
		{name: "answers to no PING", drive: flood(func(c *client, i int) { c.frames.WritePing(true, [8]byte{}) })},
		{name: "PRIORITY", drive: flood(func(c *client, i int) { c.frames.WritePriority(uint32(2*i+101), h2.PriorityParam{}) })},
		{name: "PRIORITY_UPDATE", drive: flood(func(c *client, i int) { c.frames.WritePriorityUpdate(uint32(2*i+101), "u=1") })},
		{name: "empty DATA", drive: flood(func(c *client, i int) { c.frames.WriteData(1, false, nil) })},
		{name: "padding alone", drive: flood(func(c *client, i int) { c.frames.WriteDataPadded(1, false, nil, make([]byte, 255)) })},
		{name: "WINDOW_UPDATE of a stream", drive: flood(func(c *client, i int) { c.frames.WriteWindowUpdate(3, 1) })},
		{name: "WINDOW_UPDATE of the connection", drive: flood(func(c *client, i int) { c.frames.WriteWindowUpdate(0, 1) })},
		{name: "windows that overflow", drive: flood(func(c *client, i int) { c.frames.WriteWindowUpdate(0, 1<<31-1) })},
		{name: "unknown frames", drive: flood(func(c *client, i int) { c.frames.WriteRawFrame(0x77, 0, 0, make([]byte, 100)) })},
		{name: "DATA of a stream that was reset", drive: func(p *proxy, c *client) {
			c.request(1, "POST", "/wait", false)
			c.frames.WriteRawFrame(h2.FrameWindowUpdate, 0, 1, make([]byte, 4))
			flood(func(c *client, i int) { c.frames.WriteData(1, false, make([]byte, 1000)) })(p, c)
		}},
		{name: "header lists of a stream that was reset", drive: func(p *proxy, c *client) {
			c.request(1, "POST", "/wait", false)
			c.frames.WriteRawFrame(h2.FrameWindowUpdate, 0, 1, make([]byte, 4))
			c.batches(maxFrames/batch, func(int) {
				for range batch {
					c.headers(1, false, c.list("x-a", "b"))
				}
			})
		}},
		{name: "resets of what has ended", drive: flood(func(c *client, i int) { cancel(c, 3) })},
		{name: "GOAWAY", drive: flood(func(c *client, i int) { c.frames.WriteGoAway(0, h2.ErrCodeNo, nil) })},
		{name: "CONTINUATION without bytes", drive: func(p *proxy, c *client) {
			c.frames.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: c.list(":method", "GET")})
			c.batches(maxFrames/batch, func(int) {
				for range batch {
					c.frames.WriteContinuation(1, false, nil)
				}
			})
		}},
		{name: "CONTINUATION with fields", drive: func(p *proxy, c *client) {
			c.frames.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: c.list(":method", "GET")})
			c.batches(maxFrames/batch, func(int) {
				for range batch {
					c.frames.WriteContinuation(1, false, c.list("x-a", strings.Repeat("a", 100)))
				}
			})
		}},
		{name: "12,000 crumbs of cookies", lives: true, drive: streams(batch, func(c *client, s uint32) {
			block := c.list(append([]string{":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/"}, crumbs...)...)
			c.headers(s, true, block[:min(len(block), 16<<10)])
		})},
		{name: "a table of large fields, named again and again", lives: true, drive: streams(batch, func(c *client, s uint32) {
			more := make([]string, 0, 600)
			for range 300 {
				more = append(more, "x-large", strings.Repeat("b", 3500))
			}
			c.request(s, "GET", "/", true, more...)
		})},
		{name: "a table that changes with each request", lives: true, drive: streams(2_000, func(c *client, s uint32) {
			c.request(s, "GET", "/none", true, fmt.Sprint("x-", s), strings.Repeat("c", 3000))
		})},
		{name: "sizes of the table", drive: streams(10_000, func(c *client, s uint32) {
			c.headers(s, true, append([]byte{0x20, 0x3f, 0xe1, 0x1f, 0x20}, c.list(":method", "GET")...))
		})},
		{name: "large answers, windows shut", still: true, drive: func(p *proxy, c *client) {
			for s := uint32(1); s < 200; s += 2 {
				get(c, s, "/bytes/16777216")
			}
			c.send()
			c.await(context.Background(), 20*time.Second, func() bool {
				return len(c.whole) >= 100 && !slices.Contains(slices.Collect(maps.Values(c.whole)), false)
			})
		}, lives: true},
		{name: "large answers, nothing read", deaf: true, settings: window, drive: func(p *proxy, c *client) {
			c.frames.WriteWindowUpdate(0, 1<<30)
			for s := uint32(1); s < 200; s += 2 {
				get(c, s, "/bytes/16777216")
			}
			c.send()
		}},
		{name: "a window of one byte at a time", still: true, settings: []h2.Setting{{ID: h2.SettingInitialWindowSize, Val: 1}}, drive: func(p *proxy, c *client) {
			get(c, 1, "/bytes/16777216")
			c.batches(maxFrames/batch, func(int) {
				for range batch {
					c.frames.WriteWindowUpdate(1, 1)
				}
			})
		}},
		{name: "uploads of which nothing comes", lives: true, drive: func(p *proxy, c *client) {
			for s := uint32(1); s < 200; s += 2 {
				c.request(s, "POST", "/", false, "content-length", "1000000")
			}
			c.send()
			c.await(context.Background(), 20*time.Second, func() bool { return len(c.whole) >= 100 })
		}},
		{name: "an upload in bytes", lives: true, drive: flood(func(c *client, i int) { c.frames.WriteData(1, false, []byte("x")) })},
		{name: "more than the window", drive: flood(func(c *client, i int) { c.frames.WriteData(1, false, make([]byte, 16<<10)) })},
		{name: "frames that are too large", drive: flood(func(c *client, i int) { c.frames.WriteRawFrame(h2.FrameData, 0, 1, make([]byte, 17<<10)) })},
		{name: "PUSH_PROMISE", drive: flood(func(c *client, i int) { c.frames.WriteRawFrame(h2.FramePushPromise, 4, 1, []byte{0, 0, 0, 2, 0x82}) })},
		{name: "streams of even numbers", drive: flood(func(c *client, i int) { get(c, uint32(2*i+2), "/") })},
		{name: "no preface", raw: true, drive: func(p *proxy, c *client) { <-c.ended }},
		{name: "no settings", raw: true, drive: func(p *proxy, c *client) { c.Write([]byte(h2.ClientPreface)); <-c.ended }},
		{name: "a part of a frame", drive: func(p *proxy, c *client) { c.Write([]byte{0, 0, 100, 1}); <-c.ended }},
	}
}

// showMisbehaviour lets clients misbehave, one way after the other, beside a normal one.
func showMisbehaviour(ctx context.Context, weir string) error {
	p, err := startWeir(weir)
	if err != nil {
		return err
	}
	defer func() { p.stop() }()
	if _, err := p.clients(ctx, 10); err != nil {
		return err
	}
	time.Sleep(time.Second)
	n, err := newNormal(ctx, p)
	if err != nil {
		return err
	}
	// What the normal client alone costs is not counted.
	before, began := p.cpu(), time.Now()
	time.Sleep(2 * time.Second)
	alone := float64(p.cpu()-before) / float64(time.Since(began))
	n.reset()
	p.ended() // the memory that the page of metrics takes is not charged to these clients
	memory, peak, all, tried, resets := p.resident(), 0.0, time.Duration(0), 0, 0
	fmt.Printf("\n## Clients that misbehave, with at most %d frames each\n\n| way | took | CPU | ended by | GOAWAY | resident MiB |\n|---|---|---|---|---|---|\n", maxFrames)
	for _, w := range ways() {
		if only != "" && w.name != only {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		ended, before, began := p.ended(), p.cpu(), time.Now()
		c, err := w.run(p)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if !w.lives {
			for range 100 { // a client that reads nothing cannot see the end
				if more(ended, p.ended()) != "" {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		c.Close()
		took := time.Since(began)
		cpu := p.cpu() - before - time.Duration(alone*float64(took))
		reasons := more(ended, p.ended())
		peak = max(peak, p.resident())
		c.mu.Lock()
		goaway := ""
		if c.left {
			goaway = c.code.String()
		}
		c.mu.Unlock()
		if reasons == "" && !w.lives {
			reasons = "**nothing**"
			missed++
		}
		fmt.Printf("| %s | %d ms | %d ms | %s | %s | %.1f |\n", w.name, took.Milliseconds(), max(cpu, 0).Milliseconds(), reasons, goaway, p.resident()/1024)
		all += max(cpu, 0)
		resets += c.resets
		tried++
	}
	latency, lost := n.stop()
	if tried == 0 {
		return fmt.Errorf("no way to misbehave is called %q (-only): the names are in the table that all of them give", only)
	}
	promises()
	promise(fmt.Sprintf("CPU of all %d ways together", tried), all.Seconds(), 1, "s")
	promise("p99 of a normal client", latency, 30, "ms")
	promise("lost requests of a normal client", float64(lost), 0, "")
	promise("more memory at the most", (peak-memory)/1024, 8, "MiB")
	if resets > 0 {
		fmt.Printf("\nOf %d requests that were reset at once, or in a way that resets them, %d reached the origin.\n", resets, p.origin.resets.Load())
	}
	return nil
}

// run misbehaves in one way. The connection stays open.
func (w *way) run(p *proxy) (*client, error) {
	dial := func() (*client, error) { return p.dial(w.deaf, w.still, w.settings...) }
	if w.raw {
		dial = func() (*client, error) { return p.dialSilent(w.deaf, w.still) }
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	w.drive(p, c)
	if !w.lives && !w.deaf {
		select {
		case <-c.ended:
		case <-time.After(10 * time.Second):
		}
	}
	return c, nil
}

// more names the reasons that were counted since before.
func more(before, after map[string]int) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if n := after[name] - before[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s (%d)", name, n))
		}
	}
	return strings.Join(names, ", ")
}

// normal is a client that asks a hundred times a second.
type normal struct {
	c      *client
	cancel context.CancelFunc
	done   chan struct{}
	took   []time.Duration
	lost   int
	again  atomic.Bool
}

func newNormal(ctx context.Context, p *proxy) (*normal, error) {
	c, err := p.dial(false, false)
	if err != nil {
		return nil, err
	}
	n := &normal{c: c, done: make(chan struct{})}
	ctx, n.cancel = context.WithCancel(ctx)
	go n.ask(ctx)
	return n, nil
}

func (n *normal) ask(ctx context.Context) {
	defer close(n.done)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for stream := uint32(1); ; stream += 2 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n.again.Swap(false) {
			n.took, n.lost = nil, 0
		}
		began := time.Now()
		n.c.request(stream, "GET", "/", true)
		err := n.c.send()
		if err == nil {
			err = n.c.await(ctx, 10*time.Second, func() bool { return n.c.whole[stream] })
		}
		switch {
		case err == nil:
			n.took = append(n.took, time.Since(began))
		case ctx.Err() == nil:
			n.lost++
		}
	}
}

// reset forgets what was measured.
func (n *normal) reset() { n.again.Store(true) }

// stop ends the client and says how many milliseconds 99 of 100 answers took at the most.
func (n *normal) stop() (p99 float64, lost int) {
	n.cancel()
	<-n.done
	n.c.Close()
	if len(n.took) == 0 {
		return 0, n.lost
	}
	slices.Sort(n.took)
	return float64(n.took[len(n.took)*99/100]) / float64(time.Millisecond), n.lost
}
