package forward_test

import (
	"net/netip"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/forward"
	"weir/internal/head"
)

func forwarder(t testing.TB, c config.Forwarding, trusted ...string) *forward.Forwarder {
	t.Helper()
	for _, s := range trusted {
		p, err := config.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		c.TrustedProxies = append(c.TrustedProxies, p)
	}
	f, err := forward.NewForwarder(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func peer(address string, tls bool) *forward.Peer {
	var remote netip.AddrPort
	if address != "" {
		remote = netip.MustParseAddrPort(address)
	}
	p := forward.NewPeer(remote, tls)
	return &p
}

func TestPeer(t *testing.T) {
	check := func(p *forward.Peer, text, port, scheme string, valid bool) {
		t.Helper()
		if string(p.Text) != text || string(p.Port) != port || string(p.Scheme) != scheme || p.Address.IsValid() != valid {
			t.Errorf("peer %s %s %s %t, want %s %s %s %t", p.Text, p.Port, p.Scheme, p.Address.IsValid(), text, port, scheme, valid)
		}
	}
	check(peer("192.0.2.1:5000", false), "192.0.2.1", "5000", "http", true)
	check(peer("[::ffff:192.0.2.1]:5000", true), "192.0.2.1", "5000", "https", true)
	check(peer("[2001:db8::1]:80", true), "2001:db8::1", "80", "https", true)
	check(peer("[fe80::1%eth0]:80", false), "fe80::1", "80", "http", true)
	check(peer("", false), "unknown", "", "http", false)
}

func TestClient(t *testing.T) {
	f := forwarder(t, config.Forwarding{}, "10.0.0.0/8", "fd00::/8")
	check := func(remote, lines, want string) {
		t.Helper()
		for kind, make := range requests {
			h := make(t, "Host: a\n"+lines)
			if got := f.Client(h, peer(remote, false)); got != netip.MustParseAddr(want) {
				t.Errorf("peer %s, %s\n%s\nclient %v, want %s", remote, kind, lines, got, want)
			}
		}
	}
	const trusted, other = "10.0.0.1:1", "192.0.2.9:1"
	// Others are not believed.
	check(other, "X-Forwarded-For: 1.1.1.1", "192.0.2.9")
	check(other, "Forwarded: for=1.1.1.1", "192.0.2.9")
	check(trusted, "Accept: x", "10.0.0.1")
	// The rightmost that is not trusted, over several lines.
	check(trusted, "X-Forwarded-For: 1.1.1.1", "1.1.1.1")
	check(trusted, "X-Forwarded-For: 6.6.6.6, 1.1.1.1 ,10.2.3.4", "1.1.1.1")
	check(trusted, "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 10.2.3.4,, fd00::1", "1.1.1.1")
	// All trusted: the first.
	check(trusted, "X-Forwarded-For: 10.9.9.9, 10.2.3.4", "10.9.9.9")
	// What is no address ends the walk.
	check(trusted, "X-Forwarded-For: 6.6.6.6, unknown, 10.2.3.4", "10.2.3.4")
	check(trusted, "X-Forwarded-For: 1.1.1.1, fd00::1%eth0", "10.0.0.1")
	check(trusted, "X-Forwarded-For: x", "10.0.0.1")
	// Forms.
	check(trusted, "X-Forwarded-For: 1.1.1.1:4711", "1.1.1.1")
	check(trusted, "X-Forwarded-For: [2001:db8::1]:4711", "2001:db8::1")
	check(trusted, "X-Forwarded-For: [2001:db8::1]", "2001:db8::1")
	check(trusted, "X-Forwarded-For: 2001:db8::1", "2001:db8::1")
	check(trusted, "X-Forwarded-For: ::ffff:1.1.1.1", "1.1.1.1")
	check(trusted, "X-Forwarded-For: [2001:db8::1", "10.0.0.1")
	// Forwarded counts when there is no X-Forwarded-For.
	check(trusted, `Forwarded: for=6.6.6.6, For="[2001:db8::1]:80";proto=https, by=x;for=10.1.1.1`, "2001:db8::1")
	check(trusted, `Forwarded: for="1.1.1.1, 2.2.2.2"`, "10.0.0.1")
	// What a trusted proxy quotes is the client's text, and says nothing.
	check(trusted, `Forwarded: host="a;for=6.6.6.6;b";for=1.2.3.4`, "1.2.3.4")
	check(trusted, `Forwarded: for=1.2.3.4;host="a;for=6.6.6.6;b"`, "1.2.3.4")
	check(trusted, `Forwarded: for=1.2.3.4;host="a\\"`, "1.2.3.4")
	check(trusted, `Forwarded: for=1.2.3.4;host="a\\\", for=6.6.6.6, b"`, "1.2.3.4")
	check(trusted, `Forwarded: for=6.6.6.6, host="a\\";for=1.2.3.4`, "1.2.3.4")
	check(trusted, `Forwarded: host="a, for=6.6.6.6, b\"";for=1.2.3.4`, "1.2.3.4")
	check(trusted, `Forwarded: for=6.6.6.6;host=", for=1.2.3.4`, "1.2.3.4") // the client's own element does not end
	check(trusted, `Forwarded: host="a;for=6.6.6.6`, "10.0.0.1")
	check(trusted, `Forwarded: for=6.6.6.6;for=1.2.3.4`, "10.0.0.1") // one of two is forged
	check(trusted, `Forwarded: for=_hidden, for=10.1.1.1`, "10.1.1.1")
	check(trusted, `Forwarded: proto=https`, "10.0.0.1")
	check(trusted, "Forwarded: for=2.2.2.2\nX-Forwarded-For: 1.1.1.1", "1.1.1.1")
	check(trusted, "Forwarded: for=2.2.2.2\nX-Forwarded-Proto: https", "2.2.2.2")
}

// allFields sends every field that a Forwarder can write.
func allFields() config.Forwarding {
	return config.Forwarding{XForwarded: true, Forwarded: true, Via: "weir", RequestID: "X-Request-Id"}
}

func TestApply(t *testing.T) {
	all := allFields()
	check := func(c config.Forwarding, p *forward.Peer, in, want string) {
		t.Helper()
		f := forwarder(t, c, "10.0.0.0/8")
		for kind, make := range requests {
			h := make(t, in)
			f.Apply(h, p, []byte("id1"))
			if got := text(h); got != want {
				t.Errorf("%s from\n%s\n\ngot\n%s\n\nwant\n%s", kind, in, got, want)
			}
		}
	}
	trusted, other := peer("10.0.0.1:1", true), peer("192.0.2.9:1", false)
	// All of it.
	check(all, other, "Host: a:80", "Host: a:80\nX-Forwarded-For: 192.0.2.9\nX-Forwarded-Proto: http\nX-Forwarded-Host: a:80\n"+
		"Forwarded: for=192.0.2.9;host=\"a:80\";proto=http\nVia: 1.1 weir\nX-Request-Id: id1")
	// IPv6 is quoted, a unix socket has no address.
	check(config.Forwarding{Forwarded: true}, peer("[2001:db8::1]:1", true), "Host: a", "Host: a\nForwarded: for=\"[2001:db8::1]\";host=\"a\";proto=https")
	check(config.Forwarding{Forwarded: true, XForwarded: true}, peer("", false), "Host: a",
		"Host: a\nX-Forwarded-For: unknown\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nForwarded: for=unknown;host=\"a\";proto=http")
	// Others cannot forge anything, however often they say it.
	check(all, other, "Host: a\nX-Forwarded-For: 1.1.1.1\nX-FORWARDED-FOR: 2.2.2.2\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nX-Forwarded-Prefix: /x\n"+
		"X-Real-Ip: 1.1.1.1\nForwarded: for=1.1.1.1\nX-Request-Id: evil\nAccept: 1\nX-Request-Id: evil2\nAccept: 2",
		"Host: a\nAccept: 1\nAccept: 2\nX-Forwarded-For: 192.0.2.9\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"+
			"Forwarded: for=192.0.2.9;host=\"a\";proto=http\nVia: 1.1 weir\nX-Request-Id: id1")
	check(config.Forwarding{RequestID: "X-Request-Id"}, other, "Host: a\nX-Request-Id:\nX-Request-Id: evil", "Host: a\nX-Request-Id: id1")
	// Not even if weir sends none.
	check(config.Forwarding{}, other, "Host: a\nX-Forwarded-For: 1.1.1.1\nForwarded: for=1.1.1.1\nX-Real-Ip: 1.1.1.1", "Host: a")
	// A trusted peer's are continued or kept.
	check(all, trusted, "Host: a\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: b\nX-Forwarded-Prefix: /x\n"+
		"X-Real-Ip: 1.1.1.1\nForwarded: for=1.1.1.1\nVia: 1.0 x\nX-Request-Id: id1",
		"Host: a\nX-Forwarded-For: 1.1.1.1, 10.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: b\nX-Forwarded-Prefix: /x\n"+
			"X-Real-Ip: 1.1.1.1\nForwarded: for=1.1.1.1, for=10.0.0.1;host=\"a\";proto=https\nVia: 1.0 x, 1.1 weir\nX-Request-Id: id1")
	// What the peer left out is filled in; several lines stay several.
	check(config.Forwarding{XForwarded: true, Via: "weir"}, trusted, "Host: a\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 2.2.2.2\nVia: 1.1 x\nVia: 1.1 y",
		"Host: a\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 2.2.2.2\nVia: 1.1 x\nVia: 1.1 y\nX-Forwarded-For: 10.0.0.1\n"+
			"X-Forwarded-Proto: https\nX-Forwarded-Host: a\nVia: 1.1 weir")
	// The client's scheme is the same in all fields, whichever of them told it.
	plain := peer("10.0.0.1:1", false)
	check(config.Forwarding{XForwarded: true}, plain, "Host: a\nForwarded: for=1.1.1.1;proto=https",
		"Host: a\nForwarded: for=1.1.1.1;proto=https\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a")
	check(config.Forwarding{Forwarded: true}, plain, "Host: a\nX-Forwarded-Proto: https",
		"Host: a\nX-Forwarded-Proto: https\nForwarded: for=10.0.0.1;host=\"a\";proto=https")
	// And passed on if weir sends none.
	check(config.Forwarding{}, trusted, "Host: a\nX-Forwarded-For: 1.1.1.1", "Host: a\nX-Forwarded-For: 1.1.1.1")
	// Via is continued whether its sender is trusted or not: it says nothing about the client.
	check(config.Forwarding{Via: "weir"}, other, "Host: a\nVia: 1.0 x", "Host: a\nVia: 1.0 x, 1.1 weir")
}

func TestViaNamesTheVersion(t *testing.T) {
	f := forwarder(t, config.Forwarding{Via: "weir"})
	check := func(version head.Version, want string) {
		t.Helper()
		for _, before := range []string{"", "1.1 x"} {
			h := request(t, "Host: a")
			if before != "" {
				h.Add(head.Via, []byte(before))
				before += ", "
			}
			h.Version = version
			f.Apply(h, peer("", false), nil)
			if got := string(h.Get(head.Via)); got != before+want {
				t.Errorf("Via of %v: %q, want %q", version, got, before+want)
			}
		}
	}
	check(head.HTTP10, "1.0 weir")
	check(head.HTTP11, "1.1 weir")
	check(head.HTTP2, "2 weir")
	check(head.HTTP3, "3 weir")
}

func TestViaOfResponses(t *testing.T) {
	check := func(via, in, want string) {
		t.Helper()
		for kind, make := range responses {
			h := make(t, in)
			forwarder(t, config.Forwarding{Via: via}).Via(h)
			if got := text(h); got != want {
				t.Errorf("%s from\n%s\n\ngot\n%s\n\nwant\n%s", kind, in, got, want)
			}
		}
	}
	check("weir", "Content-Length: 0", "Content-Length: 0\nVia: 1.1 weir")
	check("weir", "Content-Length: 0\nVia: 1.1 x", "Content-Length: 0\nVia: 1.1 x, 1.1 weir")
	check("weir", "Content-Length: 0\nVia: 1.1 x\nVia: 1.1 y", "Content-Length: 0\nVia: 1.1 x\nVia: 1.1 y\nVia: 1.1 weir")
	check("", "Content-Length: 0\nVia: 1.1 x", "Content-Length: 0\nVia: 1.1 x")
}

func TestRequestID(t *testing.T) {
	f := forwarder(t, config.Forwarding{RequestID: "X-Request-Id"}, "10.0.0.0/8")
	taken := func(remote, id string, want bool) {
		t.Helper()
		h := &head.Head{}
		h.StartRequest(head.HTTP11, []byte("GET"), []byte("/"))
		h.Add(head.RequestID, []byte(id))
		got := string(f.RequestID([]byte("x"), h, peer(remote, false)))
		if (got == "x"+id) != want || !want && len(got) != 27 {
			t.Errorf("id %q of %s became %q", id, remote, got)
		}
	}
	taken("10.0.0.1:1", "abc-123", true)
	taken("10.0.0.1:1", strings.Repeat("a", 128), true)
	taken("10.0.0.1:1", strings.Repeat("a", 129), false)
	taken("10.0.0.1:1", "a b", false)
	taken("10.0.0.1:1", "a\x80", false)
	taken("10.0.0.1:1", "", false)
	taken("192.0.2.1:1", "abc-123", false)

	h := request(t, "Host: a")
	seen := map[string]bool{}
	for range 1000 {
		id := string(f.RequestID(nil, h, peer("", false)))
		if seen[id] || len(id) != 26 {
			t.Fatalf("id %q again, or of another length", id)
		}
		seen[id] = true
	}
}

func TestForwarderProblems(t *testing.T) {
	check := func(c config.Forwarding, key string) {
		t.Helper()
		_, err := forward.NewForwarder(c)
		p, _ := err.(config.Errors)
		if len(p) != 1 || p[0].Key != key {
			t.Errorf("%+v: problems %v, want one of %s", c, err, key)
		}
	}
	check(config.Forwarding{RequestID: "Host"}, "request_id")
	check(config.Forwarding{RequestID: "cookie"}, "request_id")
	check(config.Forwarding{RequestID: "User-Agent"}, "request_id")
}

func TestForwardAllocates(t *testing.T) {
	f := forwarder(t, config.Forwarding{XForwarded: true, Forwarded: true, Via: "weir", RequestID: "X-Request-Id"}, "10.0.0.0/8")
	for _, p := range []*forward.Peer{peer("192.0.2.1:1", true), peer("10.0.0.1:1", true)} {
		for _, lines := range []string{"Host: a", "Host: a\nX-Forwarded-For: 1.1.1.1, [2001:db8::1]:80\nForwarded: for=1.1.1.1\nVia: 1.1 x\nX-Request-Id: y"} {
			template, rtemplate := request(t, lines), response(t, "Content-Length: 0\nVia: 1.1 x")
			var h head.Head
			var id []byte
			var client netip.Addr
			if n := testing.AllocsPerRun(100, func() {
				template.CopyTo(&h)
				client = f.Client(&h, p)
				id = f.RequestID(id[:0], &h, p)
				f.Apply(&h, p, id)
				rtemplate.CopyTo(&h)
				f.Via(&h)
			}); n != 0 {
				t.Errorf("peer %v (client %v), %q: %v allocations", p.Address, client, lines, n)
			}
		}
	}
}

func FuzzClient(f *testing.F) {
	for _, s := range []string{"1.1.1.1", "10.0.0.1, [::1]:80", `for="[::1]";proto=x, for=_x`, `for="a\",b"`, ",,;=\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		fw := forwarder(t, config.Forwarding{XForwarded: true, Forwarded: true}, "0.0.0.0/0")
		for _, name := range []head.Name{head.XForwardedFor, head.Forwarded} {
			h := request(t, "Host: a")
			h.Set(name, []byte(value))
			client := fw.Client(h, peer("10.0.0.1:1", false))
			if !client.IsValid() || client.Zone() != "" || client.Is4In6() {
				t.Fatalf("%s %q gives %v", name, value, client)
			}
		}
	})
}

func BenchmarkForward(b *testing.B) {
	run := func(name string, c config.Forwarding, lines string) {
		b.Run(name, func(b *testing.B) {
			f := forwarder(b, c, "10.0.0.0/8")
			p := peer("10.0.0.1:1", true)
			template := request(b, lines)
			var h head.Head
			var id []byte
			b.ReportAllocs()
			for b.Loop() {
				template.CopyTo(&h)
				f.Client(&h, p)
				id = f.RequestID(id[:0], &h, p)
				f.Apply(&h, p, id)
			}
		})
	}
	const lines = "Host: a\nAccept: x\nX-A: 1\nX-B: 2"
	run("off", config.Forwarding{}, lines)
	run("default", config.Forwarding{XForwarded: true, Via: "weir", RequestID: "X-Request-Id"}, lines)
	run("chain", config.Forwarding{XForwarded: true, Via: "weir", RequestID: "X-Request-Id"}, lines+"\nX-Forwarded-For: 1.1.1.1, 10.1.1.1")
	run("all", config.Forwarding{XForwarded: true, Forwarded: true, Via: "weir", RequestID: "X-Request-Id"}, lines)
}
