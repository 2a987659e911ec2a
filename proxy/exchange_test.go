package proxy

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"weir/internal/body"
)

// A panic anywhere ends its exchange with a 500, or with a cut answer, and gives
// everything back.
func TestPanic(t *testing.T) {
	at := func(point string, hooks *Hooks) {
		now := func(x *Exchange) { panic("at " + point) }
		switch point {
		case "request":
			hooks.OnRequest = now
		case "upstream":
			hooks.OnUpstream = now
		case "response":
			hooks.OnResponse = now
		case "reply":
			hooks.OnReply = now
		case "done":
			hooks.OnDone = now
		}
	}
	check := func(point, text, want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			var hooks Hooks
			at(point, &hooks)
			done := 0
			s := newStand(t, text, Hooks{OnDone: func(*Exchange) { done++ }}, hooks)
			s.on("a", func(s *fakeStream) { s.respond("103"); s.answer("200\nCache-Control: max-age=60", "hello") })
			c := s.request("GET /")
			for _, call := range []string{"inform", "start", "write", "finish"} {
				if call == point {
					c.front.on[call] = func() error { panic("at " + point) }
				}
			}
			s.panics = 1
			c.serve()
			equal(t, point, fmt.Sprint(c.Result.Status, " ", c.Result.Cause), want)
			equal(t, point+": calls of OnDone", done, 1)
		})
	}
	const cached = "[[routes]]\nupstream = \"o\"\ncache = { enabled = true }\n[upstreams.o]\ntargets = [\"http://a\"]\n"
	for _, text := range []string{oneTarget, cached} {
		check("request", text, "500 panic")
		check("upstream", text, "500 panic")
		check("response", text, "500 panic")
		check("reply", text, "500 panic")
		check("done", text, "200 ok")
		check("inform", text, "500 panic")
	}
	for _, text := range []string{oneTarget, cached} {
		bubble(t, func(t *testing.T) {
			for _, call := range []string{"start", "write", "finish"} {
				s := newStand(t, text)
				s.on("a", answer("200\nCache-Control: max-age=60", "hello"))
				c := s.request("GET /")
				c.front.on[call] = func() error { panic("at " + call) }
				s.panics = 1
				s.Serve(c.Exchange)
				equal(t, call, c.Result.Cause, CausePanic)
				equal(t, call+": whether the answer was cut", c.front.did("abort"), true)
				s.settled()
			}
		})
	}
}

// remains lists what of a value is not as it was made, but for room in buffers.
func remains(path string, v reflect.Value, made reflect.Value, found *[]string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			remains(path+"."+v.Type().Field(i).Name, v.Field(i), made.Field(i), found)
		}
	case reflect.Array:
		for i := range v.Len() {
			remains(fmt.Sprintf("%s[%d]", path, i), v.Index(i), made.Index(i), found)
		}
	case reflect.Slice:
		if v.Len() > 0 {
			*found = append(*found, path)
		}
	case reflect.Func:
		if v.IsNil() != made.IsNil() {
			*found = append(*found, path)
		}
	case reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Map:
		switch path {
		case "x.Response", "x.Body": // they point into x
		case "x.cached.request", "x.cached.store", "x.cached.cleaned", "x.room.attempt.own": // made once, and kept
			if !v.IsNil() {
				remains(path, v.Elem(), reflect.New(v.Type().Elem()).Elem(), found)
			}
		default:
			if v.IsNil() != made.IsNil() {
				*found = append(*found, path)
			}
		}
	default:
		if !v.Equal(made) {
			*found = append(*found, path)
		}
	}
}

// Every exchange that waits for its target holds an Exchange: what few of them need is not a part of it.
func TestExchangeIsSmall(t *testing.T) {
	t.Parallel()
	const most = 2688 // a size of the allocator's
	if size := unsafe.Sizeof(Exchange{}); size > most {
		t.Errorf("an Exchange has %d bytes, want at most %d", size, most)
	}
}

// Reset leaves nothing of an exchange but buffers, whatever the exchange went through.
func TestReset(t *testing.T) {
	const text = `
[[routes]]
path = ["/cached/{name}"]
upstream = "two"
cache = { enabled = true, stale_while_revalidate = "60s", status = true }
request_headers = { set = { X-Name = "{name}" } }
[[routes]]
path = ["/{rest...}"]
strip_prefix = true
upstream = "two"
host_header = "target"
[upstreams.two]
targets = ["http://a", "http://b"]
timeouts = { total = "60s", deadline_header = "X-Left" }
sticky = { cookie = "where" }
balance = "hash"
hash = { by = "path" }
`
	bubble(t, func(t *testing.T) {
		s := newStand(t, text, Hooks{
			OnRequest:  func(x *Exchange) { x.Tap(ToTarget, 1<<20, func([]byte, bool) {}) },
			OnUpstream: func(x *Exchange) { x.Outgoing().Add(allow, []byte("x")) },
			OnReply: func(x *Exchange) {
				x.Tap(ToClient, 1<<20, func([]byte, bool) {})
				x.Tap(ToClient, 1<<20, func([]byte, bool) {})
			},
		})
		for _, f := range s.targets {
			f.scripts = []script{func(s *fakeStream) {
				all, err := s.readAll()
				if strings.Contains(s.head, "/broken") || err != nil {
					return
				}
				if strings.Contains(s.head, "/slow") {
					s.respond("200\nCache-Control: max-age=60\nContent-Length: 9")
					<-s.gone
					return
				}
				s.respond("103\nLink: </x>")
				s.answer("200\nCache-Control: max-age=60\nVary: X-Name\nSet-Cookie: a=b\nConnection: x-c\nX-C: 1", "hello "+all)
			}}
		}
		c := s.request("GET /")
		check := func(name string, drive func()) {
			t.Helper()
			drive()
			s.settled()
			c.Exchange.Reset()
			var found []string
			remains("x", reflect.ValueOf(c.Exchange).Elem(), reflect.ValueOf(NewExchange()).Elem(), &found)
			if len(found) > 0 {
				t.Errorf("%s leaves %q", name, found)
			}
		}
		serve := func(text string) func() {
			return func() {
				c.fill(text)
				s.Serve(c.Exchange)
			}
		}
		check("an exchange", serve("GET /x?y#z\nCookie: where=there\nConnection: x-a\nX-A: 1\nX-Forwarded-For: 1.2.3.4"))
		check("an upload", func() {
			c.fill("PUT /x")
			c.with(-1, "one ", "two").front.body.end("X-Sum: 1")
			s.Serve(c.Exchange)
		})
		check("a held body", func() {
			c.fill("PUT /x")
			c.with(3, "one")
			s.Serve(c.Exchange)
		})
		check("a miss", serve("GET /cached/a\nConnection: x-a\nX-A: 1"))
		check("a hit", serve("GET /cached/a"))
		check("a part", serve("GET /cached/a\nRange: bytes=1-2"))
		check("a failure", serve("POST /broken"))
		check("a client that leaves", func() {
			c.fill("GET /x")
			c.gone.Cancel()
			s.Serve(c.Exchange)
		})
		check("a client that leaves while its answer is stored", func() {
			c.fill("GET /cached/slow")
			c.front.on["flush"] = func() error { c.gone.Cancel(); return nil }
			s.Serve(c.Exchange)
		})
		check("no target", func() {
			c.fill("GET /x/../y")
			for _, t := range s.sets["two"].Targets() {
				s.sets["two"].SetDrain(t, true)
				defer s.sets["two"].SetDrain(t, false)
			}
			s.Serve(c.Exchange)
		})
		check("an upgrade that is refused", serve("GET /x\nConnection: upgrade\nUpgrade: websocket"))
		check("a refusal", func() {
			c.fill("GET /x")
			s.Refuse(c.Exchange, 400, CauseBadRequest, errBroken)
		})
		s.panics = 1
		check("a panic", func() {
			c.fill("GET /x")
			c.front.on["start"] = func() error { panic("in start") }
			s.Serve(c.Exchange)
		})
	})
}

// An exchange that weir makes itself has nothing that belongs to the one it is made for.
func TestSub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var sub *Exchange
		s := newStand(t, oneTarget, Hooks{OnReply: func(x *Exchange) {
			if sub == nil {
				sub = x.newSub()
			}
		}})
		c := s.request("GET /a/../b?c\nX-A: 1")
		equal(t, "the end", c.serve(), "200 ok")
		c.Reset()
		c.fill("PUT /overwritten/by/the/next/request\nHost: other.test\nX-B: 2")
		equal(t, "the next one's end", c.serve(), "200 ok")
		equal(t, "the head", string(sub.Request.AppendTo(nil)), "GET /a/../b?c HTTP/1.1\r\nHost: weir.test\r\nX-A: 1\r\n\r\n")
		equal(t, "the path", string(sub.Path)+" "+string(sub.Canonical)+" "+string(sub.Query), "/a/../b /b c")
		equal(t, "the host", string(sub.Host), "weir.test")
		equal(t, "the address", sub.ClientAddr, netip.MustParseAddr("192.0.2.7"))
		equal(t, "the body", sub.Body.Done(), true)
		// Its client takes everything and is never there.
		f := sub.Client.Front
		for _, err := range []error{f.Inform(nil), f.Start(nil, 1, false), f.Write([]byte("x")), f.Flush(), f.Finish(nil)} {
			if err != nil {
				t.Error(err)
			}
		}
		if _, _, err := f.Tunnel(nil); err == nil {
			t.Error("a tunnel without a client")
		}
		// What cancels it stays the same when it asks a cache.
		equal(t, "the match", sub.match(), goOn)
		sub.askCache()
		equal(t, "the client's Cancel is the store's", sub.Client.Cancel == &sub.cached.store.cancel, true)
		if _, _, err := f.Move(body.Kernel{}, 1); err == nil {
			t.Error("bytes were moved to no client")
		}
	})
}
