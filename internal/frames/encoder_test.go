package frames

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"weir/internal/head"
)

// Whatever a head has, a decoder reads the same, block after block, whatever table it allows.
func TestEncoder(t *testing.T) {
	for _, table := range []uint32{0, 64, 4096, 1 << 20} {
		var e Encoder
		d := hpack.NewDecoder(4096, nil)
		e.TableSize(table)
		for i := range 200 {
			switch i { // the peer may change its mind
			case 100:
				e.TableSize(table / 2)
				e.TableSize(100)
			case 150:
				e.TableSize(table)
			}
			var h head.Head
			h.StartResponse(200 + i%7)
			want := fmt.Sprintf(":status: %d\n", 200+i%7)
			add := func(name, value string, kept bool) {
				h.Add(head.NewName(name), []byte(value))
				if kept {
					want += strings.ToLower(name) + ": " + value + "\n"
				}
			}
			add("Content-Type", "text/html", true)
			add("Connection", "close", false)
			add("Date", fmt.Sprint("date ", i), true)
			add("Set-Cookie", fmt.Sprint("a=", i), true)
			add("X-Number", fmt.Sprint(i), true)
			add("X-Long", strings.Repeat("x", i*7), true)
			add("Transfer-Encoding", "chunked", false)
			add("Server", "s", true)
			e.Begin()
			e.Status(h.Status)
			e.Fields(&h, 0)
			fields, err := d.DecodeFull(bytes.Clone(e.Block()))
			if err != nil {
				t.Fatalf("table of %d, block %d: %v", table, i, err)
			}
			got := ""
			for _, f := range fields {
				got += f.Name + ": " + f.Value + "\n"
			}
			if got != want {
				t.Fatalf("table of %d, block %d: %q, want %q", table, i, got, want)
			}
		}
		if len(e.known) > maxKnown {
			t.Errorf("%d fields are known", len(e.known))
		}
	}
}

// Heads that were scanned, and stored ones whose lines have no index, are written as their fields say, in whatever order and spelling they
// come, though what is known is found by lines.
func TestEncoderLines(t *testing.T) {
	var e Encoder
	d := hpack.NewDecoder(4096, nil)
	check := func(lines ...string) {
		t.Helper()
		text := strings.Join(lines, "\r\n") + "\r\n"
		want := ""
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ":")
			if name = strings.ToLower(name); name != "connection" {
				want += name + ": " + strings.TrimSpace(value) + "\n"
			}
		}
		var scanned, lent head.Head
		if err := scanned.ScanResponse([]byte("HTTP/1.1 200 OK\r\n" + text + "\r\n")); err != nil {
			t.Fatal(err)
		}
		present, _ := head.CheckFields([]byte(text))
		lent.LendResponse([]byte("HTTP/1.1 200 OK\r\n"+text), present, 200, 0)
		for _, h := range []*head.Head{&scanned, &lent} {
			e.Begin()
			e.Fields(h, 0)
			fields, err := d.DecodeFull(bytes.Clone(e.Block()))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range fields {
				got += f.Name + ": " + f.Value + "\n"
			}
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	for range 3 {
		check("Server: a", "Content-Type: text/html", "Cache-Control: no-store")
		check("Content-Type: text/html", "Server: a", "Date: x")
		check("server: a", "CONTENT-TYPE: text/html", "Connection: close", "Cache-Control:no-store")
		check("Server: ab", "Content-Type: text/html; charset=utf-8", "Server: a")
		check("X-A^: 1", "X-A~: 1", "Server: a", "Set-Cookie: a=b")
		e.TableSize(0)
		check("Server: a", "Content-Type: text/html")
		e.TableSize(4096)
	}
}

func TestAppendNumber(t *testing.T) {
	check := func(bits uint, n uint64, want ...byte) {
		t.Helper()
		if got := appendNumber([]byte{0}, bits, n); !bytes.Equal(got, want) {
			t.Errorf("%d in %d bits is %x, want %x", n, bits, got, want)
		}
	}
	check(5, 10, 10) // RFC 7541 appendix C.1
	check(5, 1337, 31, 154, 10)
	check(7, 126, 126)
	check(7, 127, 127, 0)
	check(7, 300, 127, 173, 1)
}

// What tells clients apart enters no table, and says that it must not enter that of another hop.
func TestSecretFields(t *testing.T) {
	var e Encoder
	var h head.Head
	h.StartRequest(head.HTTP2, []byte("GET"), []byte("/"))
	h.Add(head.Authorization, []byte("Bearer x"))
	h.Add(head.Cookie, []byte("a=b"))
	h.Add(head.UserAgent, []byte("u"))
	first := 0
	for i := range 2 {
		e.Begin()
		e.Method(h.Method())
		e.Scheme(true)
		e.Fields(&h, 0)
		if i == 0 {
			first = len(e.Block())
		} else if len(e.Block()) >= first {
			t.Error("nothing entered the table")
		}
		d := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
			if secret := f.Name == "authorization" || f.Name == "cookie"; secret != f.Sensitive {
				t.Errorf("%s: sensitive is %v", f.Name, f.Sensitive)
			}
		})
		d.Write(e.Block()) // of the second block what the table would have is missing
	}
}
