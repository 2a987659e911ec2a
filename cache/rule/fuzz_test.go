package rule_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
)

// FuzzControl: no field makes the parsers fail or read what is not there.
func FuzzControl(f *testing.F) {
	for _, s := range []string{"max-age=1, no-store", `no-cache="a, b", private=x`, `a="b\"c", max-age="5"`, "max-age =1", ",,;=", `"`,
		"max-age=1;x=?1, b=(a \"c\" 1.5);q, c=:YQ==:", "max-age=99999999999999999999", "a=@1, b=-1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		c := rule.ParseControl(b)
		r := rule.ParseRequestControl(b)
		g, ok := rule.ParseTargeted(b)
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
	f.Add("a.example.", "/", "A.example:80", "/", "1", "1")
	f.Add("a.example:443", "/", "a.example.:", "/", "1", "1")
	c := config.DefaultRouteCache()
	c.Key.Headers = []string{"A", "B"}
	p, err := rule.NewPolicy(c)
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
		if t1 == "" || t2 == "" || t1[0] != '/' || t2[0] != '/' || bytes.ContainsAny([]byte(h1+h2), "/?#@[") {
			return
		}
		k1 := key(p, h1, t1, a, b)
		k2 := key(p, h2, t2, b, a)
		one := func(s string) string {
			name, port := strings.ToLower(s), ""
			if i := strings.LastIndexByte(name, ':'); i >= 0 {
				name, port = name[:i], name[i+1:]
			}
			if len(name) > 1 {
				name = strings.TrimSuffix(name, ".")
			}
			if port != "" && port != "80" {
				name += ":" + port
			}
			return name
		}
		if isASCII(h1+h2) && k1 == k2 && (one(h1) != one(h2) || t1 != t2) {
			t.Fatalf("%q and %q share %q", h1+t1, h2+t2, k1)
		}
		if k1 != k2 && h1 == h2 && t1 == t2 && a == b {
			t.Fatalf("%q and %q differ", k1, k2)
		}
	})
}

// key is the key of a request with the fields A and B.
func key(p *rule.Policy, host, target, a, b string) string {
	var h head.Head
	h.Set(head.NewName("A"), []byte(a))
	h.Set(head.NewName("B"), []byte(b))
	return string(p.AppendKey(nil, []byte("http"), []byte(host), []byte(target), func(string) *head.Head { return &h }))
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c > 0x7e {
			return false
		}
	}
	return true
}

// FuzzContentRange: what is accepted is sound, and written again the same but
// for case, space around it and leading zeros.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/10", "bytes 0-4/*", "bytes */10", "bytes 4-0/10", "bytes 0-10/10", "bytes 0-4/10, bytes 0-4/10",
		"bytes=0-4/10", "BYTES 00-04/010", " bytes 9-9/10 ", "bytes 0-99999999999999999999/99999999999999999999", "bytes -1-4/10", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, length, ok := rule.ParseContentRange(b)
		if !ok {
			return
		}
		if s.First < 0 || s.First > s.Last || s.Last >= length {
			t.Fatalf("%q is %d-%d/%d", b, s.First, s.Last, length)
		}
		again := fmt.Sprintf("bytes %d-%d/%d", s.First, s.Last, length)
		if s2, n2, ok := rule.ParseContentRange([]byte(again)); !ok || s2 != s || n2 != length {
			t.Fatalf("%q, written again as %q, is %d-%d/%d, %v", b, again, s2.First, s2.Last, n2, ok)
		}
	})
}
