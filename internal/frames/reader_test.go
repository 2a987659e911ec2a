package frames

import (
	"bufio"
	"bytes"
	"testing"

	h2 "golang.org/x/net/http2"
)

// PlainHeaders reads what the Framer reads, and leaves to it all but whole blocks.
func TestPlainHeaders(t *testing.T) {
	check := func(want bool, write func(f *h2.Framer)) {
		t.Helper()
		var b bytes.Buffer
		write(h2.NewFramer(&b, nil))
		b.WriteString("what follows")
		br := bufio.NewReader(bytes.NewReader(b.Bytes()))
		br.Peek(1)
		here := br.Buffered()
		h, ok := PlainHeaders(br)
		if ok != want {
			t.Fatalf("%v, want %v", ok, want)
		}
		if !ok {
			if br.Buffered() != here {
				t.Error("something was read of a frame that is left to the Framer")
			}
			return
		}
		f, err := h2.NewFramer(nil, bytes.NewReader(b.Bytes())).ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if g := HeadersOf(f.(*h2.HeadersFrame)); g.Stream != h.Stream || g.Flags != h.Flags || g.DependsOnItself != h.DependsOnItself || !bytes.Equal(g.Block, h.Block) {
			t.Errorf("%+v, the Framer reads %+v", h, g)
		}
		if rest, _ := br.Peek(br.Buffered()); string(rest) != "what follows" {
			t.Errorf("%q is left", rest)
		}
	}
	headers := func(p h2.HeadersFrameParam) func(f *h2.Framer) {
		return func(f *h2.Framer) {
			f.AllowIllegalWrites = true
			if err := f.WriteHeaders(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	check(true, headers(h2.HeadersFrameParam{StreamID: 1<<31 - 1, BlockFragment: []byte("block"), EndHeaders: true}))
	check(true, headers(h2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("block"), EndHeaders: true, EndStream: true}))
	check(true, headers(h2.HeadersFrameParam{StreamID: 2, EndHeaders: true}))
	check(false, headers(h2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("block")}))
	check(false, headers(h2.HeadersFrameParam{StreamID: 0, BlockFragment: []byte("block"), EndHeaders: true}))
	check(false, headers(h2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("block"), EndHeaders: true, PadLength: 3}))
	check(false, headers(h2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("block"), EndHeaders: true, Priority: h2.PriorityParam{StreamDep: 1, Weight: 3}}))
	check(false, func(f *h2.Framer) {
		f.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndHeaders, 1, make([]byte, MaxFrame+1))
	})
	check(false, func(f *h2.Framer) {
		f.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndHeaders|0x40, 1, []byte("block"))
	})
	check(false, func(f *h2.Framer) { f.WriteData(1, true, []byte("block")) })
	check(false, func(f *h2.Framer) { f.WritePing(false, [8]byte{}) })
}
