package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir/internal/head"
)

// What is not understood of a priority says nothing (RFC 9218 section 4).
func TestParsePriority(t *testing.T) {
	check := func(value string, want priority) {
		t.Helper()
		if got := parsePriority([]byte(value)); got != want {
			t.Errorf("%q is %+v, want %+v", value, got, want)
		}
	}
	check("", priority{0, sharingWhole})
	check("u=0", priority{3, sharingWhole})
	check("u=7, i", priority{-4, sharingIncremental})
	check("i, u=5", priority{-2, sharingIncremental})
	check("i=?0", priority{0, sharingWhole})
	check("u=8", priority{0, sharingWhole})
	check("u=-1, x=y", priority{0, sharingWhole})
	check("u=1.5", priority{0, sharingWhole})
	check("u=1,,", priority{})
	check("\x00", priority{})
}

// The most urgent streams are chosen first; those that want to be whole go one after the other,
// the others take turns, and none without a window is chosen.
func TestChoose(t *testing.T) {
	check := func(what, want string, window int64, list ...*stream) {
		t.Helper()
		c := &conn{}
		c.output.init()
		c.window, c.sending = window, list
		var got []string
		for range 6 {
			if s := c.choose(); s != nil {
				got = append(got, fmt.Sprint(s.id))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	s := func(id uint32, before int8, mode sharing) *stream {
		return &stream{id: id, priority: priority{before, mode}, window: 1}
	}
	check("none", "", 1)
	check("no window of the connection", "", 0, s(1, 0, sharingUnsaid))
	check("nothing said", "1 3 5 1 3 5", 1, s(1, 0, sharingUnsaid), s(3, 0, sharingUnsaid), s(5, 0, sharingUnsaid))
	check("urgent", "3 3 3 3 3 3", 1, s(1, 0, sharingUnsaid), s(3, 1, sharingUnsaid), s(5, -1, sharingUnsaid))
	check("whole", "1 1 1 1 1 1", 1, s(5, 0, sharingWhole), s(1, 0, sharingWhole), s(3, 0, sharingWhole))
	check("incremental", "1 3 1 3 1 3", 1, s(1, 0, sharingIncremental), s(3, 0, sharingIncremental))
	blocked := s(1, 3, sharingWhole)
	blocked.window = 0
	check("no window of the stream", "3 3 3 3 3 3", 1, blocked, s(3, 0, sharingUnsaid))
}

// Whatever a head has, a decoder reads the same, block after block, whatever table it allows.
func TestEncoder(t *testing.T) {
	for _, table := range []uint32{0, 64, 4096, 1 << 20} {
		var e encoder
		d := hpack.NewDecoder(4096, nil)
		e.tableSize(table)
		for i := range 200 {
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
			e.begin()
			e.status(h.Status)
			e.fields(&h)
			fields, err := d.DecodeFull(bytes.Clone(e.block))
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

// Resets are bounded by a rate, beyond those of streams that were answered.
func TestResetBound(t *testing.T) {
	var b bounds
	now := time.Now()
	b.init(now)
	for i := range maxResets {
		if err := b.reset(now); err != nil {
			t.Fatalf("reset %d: %v", i, err)
		}
	}
	b.answered()
	if b.reset(now) != nil || b.reset(now) == nil {
		t.Error("an answer allows one reset")
	}
	if b.reset(now.Add(time.Second)) != nil {
		t.Error("time allows none")
	}
}
