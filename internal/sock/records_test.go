package sock_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"weir/internal/sock"
)

// OneRecord tells where records of TLS end, however reads divide them.
func TestOneRecord(t *testing.T) {
	record := func(size int) []byte {
		r := append([]byte{23, 3, 3, 0, 0}, bytes.Repeat([]byte{0xff}, size)...)
		binary.BigEndian.PutUint16(r[3:], uint16(size))
		return r
	}
	check := func(what string, sent []byte, buffer int, want bool) {
		t.Helper()
		stream, peer := pair(t)
		s := &sock.PacedStream{Stream: stream}
		if _, err := peer.Write(sent); err != nil {
			t.Fatal(err)
		}
		for left := len(sent); left > 0; {
			n, err := s.Read(make([]byte, buffer))
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
		if got := s.OneRecord(); got != want {
			t.Errorf("%s: OneRecord is %v, want %v", what, got, want)
		}
		if s.OneRecord() {
			t.Errorf("%s: OneRecord is true again", what)
		}
		peer.Close()
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the end brings %v", what, err)
		}
	}
	one, empty := record(20), record(0)
	with := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	check("nothing", nil, 100, false)
	check("one", one, 100, true)
	check("an empty one", empty, 100, true)
	check("one that fills the buffer", one, 25, false)
	check("one that leaves a byte of the buffer", one, 26, true)
	check("a part of the header", one[:3], 100, false)
	check("the header", one[:5], 100, false)
	check("all but the last byte", one[:24], 100, false)
	check("the header in pieces", one, 3, true)
	check("two", with(one, one), 100, false)
	check("two, of which one is empty", with(empty, one), 100, false)
	check("one and a byte of the next", with(one, one[:1]), 100, false)
	check("one and the header of the next", with(one, one[:5]), 100, false)
	check("one and nearly all of the next", with(one, one[:24]), 7, false)
	check("the largest", record(1<<14+256), 1<<15, true)
}
