package cache_test

import (
	"bytes"
	"testing"

	"weir/cache"
	"weir/config"
)

// FuzzControl: no field makes the parsers fail or read what is not there.
func FuzzControl(f *testing.F) {
	for _, s := range []string{"max-age=1, no-store", `no-cache="a, b", private=x`, `a="b\"c", max-age="5"`, "max-age =1", ",,;=", `"`,
		"max-age=1;x=?1, b=(a \"c\" 1.5);q, c=:YQ==:", "max-age=99999999999999999999", "a=@1, b=-1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		c := cache.ParseControl(b)
		r := cache.ParseRequestControl(b)
		g, ok := cache.ParseTargeted(b)
		if !bytes.Equal(in, b) {
			t.Fatal("the field was changed")
		}
		for _, n := range []int64{c.MaxAge, c.SMaxAge, c.StaleIfError, c.StaleWhileRevalidate, r.MaxAge, r.MaxStale, r.MinFresh,
			g.MaxAge, g.SMaxAge} {
			if n < -1 || n > 1<<31 {
				t.Fatalf("%q: %d seconds", b, n)
			}
		}
		if ok && bytes.ContainsAny(b, "&\n") && !bytes.ContainsAny(b, `"(*`) && !bytes.ContainsFunc(b, func(r rune) bool { return r == '=' }) {
			t.Fatalf("%q is no dictionary", b)
		}
	})
}

// FuzzKey: two requests share a key only if they are the same request.
func FuzzKey(f *testing.F) {
	f.Add("h", "/a?b", "h", "/a?b=", "x", "y")
	f.Add("h", "/a", "h/a", "/", "", "x:")
	f.Add("a.example", "/", "A.example", "/", "1", "1")
	c := config.DefaultRouteCache()
	c.Key.Headers = []string{"A", "B"}
	p, err := cache.NewPolicy(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, h1, t1, h2, t2, a, b string) {
		for _, s := range []string{h1, h2, t1, t2} {
			for _, c := range []byte(s) {
				if c <= ' ' || c == 0x7f {
					return // the front end refuses these
				}
			}
		}
		if t1 == "" || t2 == "" || t1[0] != '/' || t2[0] != '/' || bytes.ContainsAny([]byte(h1+h2), "/?#@") {
			return
		}
		k1, ok1 := cache.KeyForTest(p, h1, t1, a, b)
		k2, ok2 := cache.KeyForTest(p, h2, t2, b, a)
		if !ok1 || !ok2 {
			return
		}
		lower := func(s string) string { return string(bytes.ToLower([]byte(s))) }
		if isASCII(h1+h2) && k1 == k2 && (lower(h1) != lower(h2) || t1 != t2) {
			t.Fatalf("%q and %q share %q", h1+t1, h2+t2, k1)
		}
		if k1 != k2 && h1 == h2 && t1 == t2 && a == b {
			t.Fatalf("%q and %q differ", k1, k2)
		}
	})
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c > 0x7e {
			return false
		}
	}
	return true
}

// FuzzDate: what is read can be written and read again.
func FuzzDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"Tue, 29 Feb 2000 23:59:60 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at, ok := cache.DateForTest(b)
		if !ok {
			return
		}
		text := cache.AppendDateForTest(at)
		if again, ok := cache.DateForTest(text); !ok || again != at {
			t.Fatalf("%q is %d, which is %q", b, at, text)
		}
	})
}

// FuzzEntry: no bytes of a far tier or a disk make the decoder fail, and what
// it takes for an entry stays the same entry.
func FuzzEntry(f *testing.F) {
	d := newDriver(f, 8<<20, nil)
	d.fillWith(f, "http://h/x", 3000, "Vary: Foo, Bar", "Surrogate-Key: a b", "ETag: \"a\"")
	for _, compress := range []int{0, 1} {
		b := cache.EncodedForTest(d.store, "http://h/x", compress)
		f.Add(b[:len(b)-4])
	}
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		cache.RecodeForTest(b)
		again, ok := cache.RecodeForTest(cache.SealForTest(bytes.Clone(b)))
		if !ok {
			return
		}
		twice, ok := cache.RecodeForTest(again)
		if !ok || !bytes.Equal(again, twice) {
			t.Fatalf("%q became %q and then %q", b, again, twice)
		}
	})
}

// TestEncoding: an entry that was encoded is the same one, and a damaged one is
// none.
func TestEncoding(t *testing.T) {
	d := newDriver(t, 8<<20, nil)
	d.fillWith(t, "http://h/x", 3000, "Vary: Foo, Bar", "Surrogate-Key: a b", "ETag: \"a\"")
	plain := cache.EncodedForTest(d.store, "http://h/x", 0)
	packed := cache.EncodedForTest(d.store, "http://h/x", 1000)
	if len(packed) > len(plain)-2000 {
		t.Errorf("%d bytes packed, %d plain", len(packed), len(plain))
	}
	for _, b := range [][]byte{plain, packed} {
		again, ok := cache.RecodeForTest(b)
		if !ok || !bytes.Equal(again, plain) {
			t.Errorf("%.100q became %.100q", b, again)
		}
		for i := range b {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1
			if _, ok := cache.RecodeForTest(damaged); ok {
				t.Fatalf("byte %d of %d is of no importance", i, len(b))
			}
			if _, ok := cache.RecodeForTest(b[:i]); ok {
				t.Fatalf("%d of %d bytes are an entry", i, len(b))
			}
		}
	}
}
