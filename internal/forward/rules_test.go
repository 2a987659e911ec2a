package forward_test

import (
	"testing"

	"weir/config"
	"weir/internal/forward"
	"weir/internal/head"
)

func templates(pairs ...string) map[string]config.Template {
	m := map[string]config.Template{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = config.MustTemplate(pairs[i+1])
	}
	return m
}

func lookup(name string) []byte {
	switch name {
	case forward.ClientAddr:
		return []byte("192.0.2.1")
	case forward.Path:
		return []byte("/p\r\nX-Evil: 1\x00")
	case "service":
		return []byte("one")
	}
	return nil
}

func TestRequestRules(t *testing.T) {
	check := func(r config.HeaderRules, in, want string) {
		t.Helper()
		rules, err := forward.CompileRequest(r, []string{"service"})
		if err != nil {
			t.Fatal(err)
		}
		for kind, make := range requests {
			h := make(t, in)
			rules.Apply(h, lookup)
			if got := text(h); got != want {
				t.Errorf("%s: %v from\n%s\n\ngot\n%s\n\nwant\n%s", kind, r, in, got, want)
			}
		}
	}
	// No rules at all.
	check(config.HeaderRules{}, "Host: a\nX-A: 1", "Host: a\nX-A: 1")
	// Removed, set, added, in this order; names in any case.
	check(config.HeaderRules{Remove: []string{"x-a"}, Add: templates("X-A", "3"), Set: templates("X-A", "2", "X-C", "{client_addr}/{service}")},
		"Host: a\nX-A: 1\nX-B: 1", "Host: a\nX-B: 1\nX-A: 2\nX-C: 192.0.2.1/one\nX-A: 3")
	// Set leaves one line; the others keep their order.
	check(config.HeaderRules{Set: templates("X-A", "3")}, "Host: a\nX-A: 1\nX-B: 1\nX-A: 2\nX-B: 2\nX-B: 3",
		"Host: a\nX-B: 1\nX-B: 2\nX-B: 3\nX-A: 3")
	// Values cannot end their line.
	check(config.HeaderRules{Set: templates("X-A", "{path}!")}, "Host: a", "Host: a\nX-A: /p  X-Evil: 1 !")
	// Empty values are not sent.
	check(config.HeaderRules{Set: templates("X-A", "{target}"), Add: templates("X-B", "{target}")}, "Host: a\nX-A: 1\nX-B: 1", "Host: a\nX-B: 1")
	// Names are written as the rule has them.
	check(config.HeaderRules{Set: templates("user-agent", "u", "content-type", "c", "Content-Encoding", "d")},
		"Host: a\nUser-Agent: x\nContent-Type: y", "Host: a\nContent-Encoding: d\ncontent-type: c\nuser-agent: u")
	// A field may have several lines.
	check(config.HeaderRules{Add: templates("User-Agent", "u", "Accept", "2")}, "Host: a\nUser-Agent: x\naccept: 1",
		"Host: a\nUser-Agent: x\naccept: 1\nAccept: 2\nUser-Agent: u")
	check(config.HeaderRules{Remove: []string{"user-agent", "content-type", "cookie", "date"}},
		"Host: a\nUser-Agent: x\nContent-Type: y\nCookie: a=b\nCookie: c=d\nDate: x", "Host: a")
	// Cookies stay as they were written.
	check(config.HeaderRules{Set: templates("Cookie", "x=\"y z\"; =1")}, "Host: a\nCookie: a=b\nCookie: c=d", "Host: a\nCookie: x=\"y z\"; =1")
	check(config.HeaderRules{Add: templates("Cookie", "x=y")}, "Host: a\nCookie: a=\"1 2\"; b\nX-A: 1", "Host: a\nX-A: 1\nCookie: a=\"1 2\"; b; x=y")
	check(config.HeaderRules{Add: templates("cookie", "{service}=1")}, "Host: a\nCookie: a=b\nX-A: 1\nCookie: c=d\nCookie:",
		"Host: a\nX-A: 1\ncookie: a=b; c=d; one=1")
	check(config.HeaderRules{Add: templates("Cookie", "x=y")}, "Host: a", "Host: a\nCookie: x=y")
	check(config.HeaderRules{Set: templates("X-A", "1")}, "Host: a\nCookie: =odd; a=\"b", "Host: a\nCookie: =odd; a=\"b\nX-A: 1")
}

func TestResponseRules(t *testing.T) {
	check := func(r config.HeaderRules, in, want string) {
		t.Helper()
		rules, err := forward.CompileResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for kind, make := range responses {
			h := make(t, in)
			rules.Apply(h, lookup)
			if got := text(h); got != want {
				t.Errorf("%s: %v from\n%s\n\ngot\n%s\n\nwant\n%s", kind, r, in, got, want)
			}
		}
	}
	const length = "Content-Length: 0"
	check(config.HeaderRules{}, length, length)
	check(config.HeaderRules{Remove: []string{"x-a"}, Add: templates("X-B", "2"), Set: templates("X-C", "{client_addr}")},
		length+"\nX-A: 1\nX-B: 1\nX-A: 2", length+"\nX-B: 1\nX-C: 192.0.2.1\nX-B: 2")
	check(config.HeaderRules{Remove: []string{"X-A"}}, length+"\nX-A: 1\nLink: 1\nLink: 2\nLink: 3", length+"\nLink: 1\nLink: 2\nLink: 3")
	check(config.HeaderRules{Set: templates("server", "s", "content-type", "t", "content-encoding", "e")},
		length+"\nServer: x\nContent-Type: y\nContent-Encoding: z", length+"\ncontent-encoding: e\ncontent-type: t\nserver: s")
	check(config.HeaderRules{Add: templates("Server", "s", "Content-Encoding", "e")},
		length+"\nServer: x\nContent-Encoding: z", length+"\nServer: x\nContent-Encoding: z\nContent-Encoding: e\nServer: s")
	check(config.HeaderRules{Remove: []string{"server", "content-type", "content-encoding", "set-cookie"}},
		length+"\nServer: x\nContent-Type: y\nContent-Encoding: z\nSet-Cookie: a=b", length)
	// Set-Cookie is one line per cookie.
	check(config.HeaderRules{Add: templates("Set-Cookie", "c=d; Path=/")}, length+"\nSet-Cookie: a=b", length+"\nSet-Cookie: a=b\nSet-Cookie: c=d; Path=/")
	check(config.HeaderRules{Set: templates("Set-Cookie", "c=d")}, length+"\nSet-Cookie: a=b\nSet-Cookie: a=c", length+"\nSet-Cookie: c=d")
}

func TestRuleProblems(t *testing.T) {
	check := func(err error, want string) {
		t.Helper()
		if _, ok := err.(config.Errors); !ok || err.Error() != want {
			t.Errorf("problems:\n%v\nwant\n%s", err, want)
		}
	}
	req := func(r config.HeaderRules, captures ...string) error {
		_, err := forward.CompileRequest(r, captures)
		return err
	}
	const all = "client_addr, client_port, client_subject, client_issuer, client_serial, client_fingerprint, client_sans, client_certificate, client_verified, auth_user, host, hostname, path, query, search, method, scheme, request_id, trace_id, route, upstream, target"
	check(req(config.HeaderRules{Set: templates("X", "{nope}")}), "set.X: unknown variable {nope}: want "+all)
	check(req(config.HeaderRules{Add: templates("X", "{nope}")}, "a", "b"), "add.X: unknown variable {nope}: want "+all+", or a capture of the route's path: a, b")
	check(req(config.HeaderRules{Set: templates("X", "{host}")}, "host"),
		"set.X: {host} is both a variable and a capture of the path: want another name for the capture")
}

func TestVariables(t *testing.T) {
	for _, name := range forward.Variables() {
		if !forward.Known(name) {
			t.Errorf("%s is not known", name)
		}
	}
	if forward.Known("nope") || forward.Known("") {
		t.Error("unknown names are known")
	}
}

func TestRulesAllocate(t *testing.T) {
	r := config.HeaderRules{Remove: []string{"X-A", "X-None"}, Set: templates("X-B", "{client_addr}", "User-Agent", "u"), Add: templates("X-C", "c")}
	requestRules, err := forward.CompileRequest(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Set = templates("X-B", "{client_addr}", "Server", "u")
	responseRules, err := forward.CompileResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	template := request(t, "Host: a\nX-A: 1\nX-D: 1\nCookie: a=b")
	rtemplate := response(t, "Content-Length: 0\nX-A: 1\nX-D: 1\nSet-Cookie: a=b")
	var h head.Head
	address := []byte("192.0.2.1")
	lookup := func(string) []byte { return address }
	if n := testing.AllocsPerRun(100, func() {
		template.CopyTo(&h)
		requestRules.Apply(&h, lookup)
		rtemplate.CopyTo(&h)
		responseRules.Apply(&h, lookup)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRules(b *testing.B) {
	rules, err := forward.CompileRequest(config.HeaderRules{
		Remove: []string{"X-A"}, Set: templates("X-B", "{client_addr}"), Add: templates("X-C", "c"),
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, rules *forward.Rules) {
		b.Run(name, func(b *testing.B) {
			template := request(b, "Host: a\nX-A: 1\nX-D: 1\nCookie: a=b")
			var h head.Head
			b.ReportAllocs()
			address := []byte("192.0.2.1")
			lookup := func(string) []byte { return address }
			for b.Loop() {
				template.CopyTo(&h)
				rules.Apply(&h, lookup)
			}
		})
	}
	run("none", nil)
	run("three", rules)
}
