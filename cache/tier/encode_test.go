package tier_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"weir/cache/rule"
	"weir/cache/tier"
	"weir/config"
)

// stored is a record with a body that gets much smaller.
func stored(t testing.TB) *tier.Record {
	t.Helper()
	c := config.DefaultRouteCache()
	c.SurrogateKeys = []string{"Surrogate-Key"}
	p, err := rule.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1767323045, 0)
	r := &rule.Response{
		Status: 200, Length: 3000, Requested: at, Received: at,
		Fields: rule.Fields("Cache-Control: max-age=1000\r\nContent-Type: text/html; charset=utf-8\r\n" +
			"Vary: Foo, Bar\r\nSurrogate-Key: a b\r\nETag: \"a\"\r\n"),
	}
	terms, control, reason := p.JudgeResponse(rule.Asked{}, r)
	if reason != rule.ReasonNone {
		t.Fatal(reason)
	}
	kept := p.Keep(r, terms, &control)
	if len(kept.Vary) != 2 || len(kept.Groups) != 2 {
		t.Fatalf("%q, %q", kept.Vary, kept.Groups)
	}
	return &tier.Record{Stored: kept, Key: "GET http://h/x", Variant: "\n\x00\n\x00", Body: []byte(strings.Repeat("x", 3000))}
}

// recode decodes a record and encodes it again; ok is false if b is not a record.
func recode(b []byte) (again []byte, ok bool) {
	r, err := tier.Decode(b, nil)
	if err != nil {
		return nil, false
	}
	return r.Append(nil, 0), true
}

// FuzzEntry: no bytes of a far tier or a disk make the decoder fail, and what
// it takes for an entry stays the same entry.
func FuzzEntry(f *testing.F) {
	r := stored(f)
	for _, compress := range []int{0, 1} {
		b := r.Append(nil, compress)
		f.Add(b[:len(b)-4])
	}
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		recode(b)
		again, ok := recode(tier.Seal(bytes.Clone(b), 0))
		if !ok {
			return
		}
		twice, ok := recode(again)
		if !ok || !bytes.Equal(again, twice) {
			t.Fatalf("%q became %q and then %q", b, again, twice)
		}
	})
}

// TestEncoding: an entry that was encoded is the same one, and a damaged one is
// none.
func TestEncoding(t *testing.T) {
	r := stored(t)
	plain := r.Append(nil, 0)
	packed := r.Append(nil, 1000)
	if len(packed) > len(plain)-2000 {
		t.Errorf("%d bytes packed, %d plain", len(packed), len(plain))
	}
	for _, b := range [][]byte{plain, packed} {
		again, ok := recode(b)
		if !ok || !bytes.Equal(again, plain) {
			t.Errorf("%.100q became %.100q", b, again)
		}
		for i := range b {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1
			if _, ok := recode(damaged); ok {
				t.Fatalf("byte %d of %d is of no importance", i, len(b))
			}
			if _, ok := recode(b[:i]); ok {
				t.Fatalf("%d of %d bytes are an entry", i, len(b))
			}
		}
	}
}
