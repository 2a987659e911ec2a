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
