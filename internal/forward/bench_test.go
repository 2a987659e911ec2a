package forward_test

import (
	"net/netip"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/forward"
	"weir/internal/head"
)

const smallRequest = "GET /p HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\n\r\n"

var browserRequest = "GET /articles/2024/06/some-title?utm_source=news HTTP/1.1\r\n" + strings.ReplaceAll(`Host: www.example.org
Connection: keep-alive
Cache-Control: max-age=0
sec-ch-ua: "Chromium";v="126", "Not;A=Brand";v="24", "Google Chrome";v="126"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Linux"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9,de;q=0.8
Cookie: session=0f5c2f1e6d7a4b3c9e8d; theme=dark; consent=1

`, "\n", "\r\n")

// requestPath is what is done to every request head, from the bytes that came to
// those that leave.
type requestPath struct {
	forwarder *forward.Forwarder
	rules     *forward.Rules
	peer      *forward.Peer
	h         head.Head
	client    netip.Addr
	id, out   []byte
	lookup    func(string) []byte
}

func newRequestPath(t testing.TB, rules config.HeaderRules) *requestPath {
	compiled, err := forward.CompileRequest(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := []byte("192.0.2.1")
	return &requestPath{
		forwarder: forwarder(t, config.Default().Forwarding, "10.0.0.0/8"),
		rules:     compiled,
		peer:      peer("192.0.2.1:5000", true),
		lookup:    func(string) []byte { return address },
	}
}

func (p *requestPath) run(raw []byte) error {
	p.h.Reset()
	if err := p.h.ScanRequest(raw); err != nil {
		return err
	}
	forward.Clean(&p.h)
	p.client = p.forwarder.Client(&p.h, p.peer)
	p.id = p.forwarder.RequestID(p.id[:0], &p.h, p.peer)
	p.forwarder.Apply(&p.h, p.peer, p.id)
	p.rules.Apply(&p.h, p.lookup)
	p.out = p.h.AppendTo(p.out[:0])
	return nil
}

func someRules() config.HeaderRules {
	return config.HeaderRules{
		Remove: []string{"X-Debug"}, Set: templates("X-Client", "{client_addr}", "X-Service", "one"), Add: templates("X-Tag", "c"),
	}
}

func TestRequestPathAllocates(t *testing.T) {
	p := newRequestPath(t, someRules())
	for _, raw := range []string{smallRequest, browserRequest} {
		bytes := []byte(raw)
		if n := testing.AllocsPerRun(100, func() {
			if err := p.run(bytes); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations for\n%s", n, raw)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	run := func(name, raw string, rules config.HeaderRules) {
		b.Run(name, func(b *testing.B) {
			p, bytes := newRequestPath(b, rules), []byte(raw)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.run(bytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("small", smallRequest, config.HeaderRules{})
	run("small/rules", smallRequest, someRules())
	run("browser", browserRequest, config.HeaderRules{})
	run("browser/rules", browserRequest, someRules())
}

func BenchmarkNewPeer(b *testing.B) {
	remote := netip.MustParseAddrPort("192.0.2.1:5000")
	b.ReportAllocs()
	for b.Loop() {
		forward.NewPeer(remote, true)
	}
}
