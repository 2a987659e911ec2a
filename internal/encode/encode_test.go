package encode_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir/internal/encode"
	"weir/internal/head"
)

func TestChoose(t *testing.T) {
	all := []encode.Coding{encode.Zstd, encode.Brotli, encode.Gzip}
	for accept, want := range map[string]string{
		"": "identity", "gzip": "gzip", "gzip, deflate, br, zstd": "zstd", "br, GZIP": "br", "gzip;q=0.8, br;q=0.7": "gzip",
		"gzip;q=0": "identity", "*": "identity", "identity": "identity", "identity;q=0.5, br;q=0.5": "br", "identity;q=0.5, br;q=0.501": "br",
		"identity;q=0, gzip": "gzip", "gzip;q=2": "identity", "gzip;q=0.0001": "identity", "gzip;q=1.": "gzip", "deflate": "identity",
	} {
		var h head.Head
		h.Add(head.AcceptEncoding, []byte(accept))
		if got := encode.Choose(&h, all); got.String() != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
	var h head.Head
	h.Add(head.AcceptEncoding, []byte("gzip, br"))
	if got := encode.Choose(&h, []encode.Coding{encode.Gzip, encode.Brotli}); got != encode.Gzip {
		t.Errorf("gzip comes first, chosen was %s", got)
	}
}

// TestEncoder: what was flushed can be read, and all of it in the end, with compressors that
// were left in the middle of a body before.
func TestEncoder(t *testing.T) {
	noise := make([]byte, 200<<10)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	bodies := []string{"", "a", strings.Repeat("text ", 50_000), string(noise)}
	for c := encode.Zstd; c < encode.Codings; c++ {
		for round := range 3 {
			for _, body := range bodies {
				e := encode.New(c)
				var out bytes.Buffer
				for i := 0; i < len(body); i += 7000 {
					out.Write(e.Write([]byte(body[i:min(i+7000, len(body))])))
					if round == 1 && e.Pending() {
						out.Write(e.Flush())
					}
				}
				if round == 0 {
					e.Release() // given up
					continue
				}
				out.Write(e.End())
				e.Release()
				if got := decode(t, c, &out); got != body {
					t.Errorf("%s: %d bytes became %d", c, len(body), len(got))
				}
			}
		}
		if b := encode.All(c, []byte(bodies[2])); decode(t, c, bytes.NewReader(b)) != bodies[2] || cap(b) != len(b) {
			t.Errorf("%s: another body", c)
		}
		if b := encode.All(c, noise); b != nil {
			t.Errorf("%s: %d bytes became %d", c, len(noise), len(b))
		}
	}
}

func decode(t *testing.T, c encode.Coding, r io.Reader) string {
	t.Helper()
	var err error
	switch c {
	case encode.Gzip:
		r, err = gzip.NewReader(r)
	case encode.Brotli:
		r = brotli.NewReader(r)
	case encode.Zstd:
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBound: more bodies than may be compressed at once are refused, and there is room again
// when one has ended.
func TestBound(t *testing.T) {
	var all []*encode.Encoder
	for {
		e := encode.New(encode.Gzip)
		if e == nil {
			break
		}
		if all = append(all, e); len(all) > 10_000 {
			t.Fatal("no bound")
		}
	}
	if encode.New(encode.Gzip) != nil {
		t.Error("one more")
	}
	all[0].Release()
	if all[0] = encode.New(encode.Gzip); all[0] == nil {
		t.Error("no room")
	}
	for _, e := range all {
		e.Release()
	}
}
