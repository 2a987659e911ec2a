package proxy

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"weir/internal/body"
)

// pieces cuts text at random places and makes a body of the parts.
func pieces(r *rand.Rand, text string) *feed {
	f := newFeed(-1)
	for len(text) > 0 {
		n := min(len(text), 1+r.IntN(9))
		f.send(text[:n])
		text = text[n:]
	}
	return f
}

// drained is all that a body delivers.
func drained(src body.Source) (string, error) {
	var b strings.Builder
	for !src.Done() {
		p, err := src.Next(nil)
		b.Write(p)
		if err != nil && !(err == io.EOF && src.Done()) {
			return b.String(), err
		}
	}
	return b.String(), nil
}

// Base64 is decoded wherever its pieces are cut, and may be several texts, each with its own
// padding.
func TestWebRequest(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		var text, want strings.Builder
		for range r.IntN(4) {
			part := make([]byte, r.IntN(12))
			for i := range part {
				part[i] = byte(r.Uint32())
			}
			want.Write(part)
			text.WriteString(base64.StdEncoding.EncodeToString(part))
		}
		f := pieces(r, text.String())
		f.end()
		w := &webRequest{src: f}
		got, err := drained(w)
		if err != nil || got != want.String() || w.Seen() != int64(len(got)) || !w.Done() {
			t.Fatalf("%d: %q became %q, %v, want %q", i, text.String(), got, err, want.String())
		}
	}
	for _, bad := range []string{"A", "AA=", "AAAA\n", "A===", "AA=A", "====", "AAA=A", "AA\r\n==AA", "AA__", "AAAA AAAA"} {
		f := pieces(r, bad)
		f.end()
		w := &webRequest{src: f}
		if got, err := drained(w); err != errBase64 || w.Done() || w.Proven() {
			t.Errorf("%q became %q, %v", bad, got, err)
		}
	}
	broken := errors.New("broken")
	f := pieces(r, "AAAA")
	f.fail(broken)
	w := &webRequest{src: f}
	if got, err := drained(w); err != broken || got != "\x00\x00\x00" || w.Done() {
		t.Errorf("a broken body became %q, %v", got, err)
	}
	f = pieces(r, "AAAA")
	f.end().pause(true)
	w = &webRequest{src: f}
	if got, err := drained(w); err != body.ErrPaused || got != "" {
		t.Errorf("a body that is paused became %q, %v", got, err)
	}
	f.pause(false)
	if got, err := drained(w); err != nil || got != "\x00\x00\x00" {
		t.Errorf("one that goes on after a pause became %q, %v", got, err)
	}
}

// A response is the same whatever pieces it comes in, with the trailer section at its end. A body that
// breaks off gets none.
func TestWebResponse(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	const frame = "\x80\x00\x00\x00\x1cgrpc-status: 5\r\nx-two: a b\r\n"
	for i := range 1000 {
		text := r.IntN(2) == 0
		want := strings.Repeat("abcdefghij", 5)[:r.IntN(50)]
		f := pieces(r, want)
		f.end("Grpc-Status: 5", "X-Two: a b")
		got, err := drained(&webResponse{src: f, text: text})
		if text {
			w := &webRequest{src: pieces(r, got)}
			w.src.(*feed).end()
			got, err = drained(w)
		}
		if err != nil || got != want+frame {
			t.Fatalf("%d: %q, %v, want %q", i, got, err, want+frame)
		}
	}
	const unsaid = "\x80\x00\x00\x00\x40grpc-status: 13\r\ngrpc-message: weir: the target sent no status\r\n"
	for _, c := range []struct{ what, want string }{{"no trailer", unsaid}, {"said", ""}} {
		f := pieces(r, "")
		f.end()
		w := &webResponse{src: f, said: c.want == ""}
		if got, err := drained(w); err != nil || got != c.want || (grpcStatusOf(w.Trailer()) == 14) != (c.want != "") {
			t.Errorf("%s: %q, %v, %v", c.what, got, err, grpcStatusOf(w.Trailer()))
		}
	}
	broken := errors.New("broken")
	f := pieces(r, "abcd")
	f.fail(broken)
	w := &webResponse{src: f, text: true}
	if got, err := drained(w); err != broken || !strings.HasPrefix("YWJjZA==", got) || w.Done() {
		t.Errorf("a broken body became %q, %v", got, err)
	}
}

// What has come of a message is sent before more of it is waited for.
func TestWebResponseWaits(t *testing.T) {
	t.Parallel()
	f := newFeed(-1)
	f.send("abcd")
	w := &webResponse{src: f, text: true}
	var got string
	for w.Ready() {
		p, err := w.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		got += string(p)
	}
	if got != "YWJjZA==" {
		t.Errorf("before the wait came %q", got)
	}
}

func TestWebType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ value, want string }{
		{"application/grpc-web", "suffix \"\", text false, ok true"},
		{"application/grpc-web+proto", "suffix \"+proto\", text false, ok true"},
		{"Application/gRPC-Web-Text+json; a=b", "suffix \"+json; a=b\", text true, ok true"},
		{"application/grpc-web-texts", "suffix \"\", text false, ok false"},
		{"application/grpc-website", "suffix \"\", text false, ok false"},
		{"application/grpc", "suffix \"\", text false, ok false"},
		{"application/grpc+proto", "suffix \"\", text false, ok false"},
		{"", "suffix \"\", text false, ok false"},
	} {
		suffix, text, ok := webType([]byte(c.value))
		if got := fmt.Sprintf("suffix %q, text %v, ok %v", suffix, text, ok); got != c.want {
			t.Errorf("%q: %s, want %s", c.value, got, c.want)
		}
	}
}
