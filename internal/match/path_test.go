package match_test

import (
	"bytes"
	"strings"
	"testing"

	"weir/internal/match"
)

func TestCanonical(t *testing.T) {
	check := func(raw, want string, refusal match.Refusal) {
		t.Helper()
		got, r := match.Canonical(nil, []byte(raw))
		if string(got) != want || r != refusal {
			t.Errorf("Canonical(%q) = %q, %v; want %q, %v", raw, got, r, want, refusal)
		}
	}
	ok := func(raw, want string) { t.Helper(); check(raw, want, match.Accepted) }
	refused := func(raw string, r match.Refusal) { t.Helper(); check(raw, "", r) }

	// What needs no change.
	ok("/", "/")
	ok("/a/b.html", "/a/b.html")
	ok("/.well-known/acme", "/.well-known/acme")
	ok("/a/...", "/a/...")
	ok("/a/..b/.c/d..", "/a/..b/.c/d..")
	// Slashes are neither merged nor made.
	ok("//a///b/", "//a///b/")
	ok("/a%2Fb", "/a%2Fb")
	ok("/a%2fb", "/a%2Fb")
	// What needs no encoding is decoded; the rest keeps it, in upper case.
	ok("/%61%2D%5f%7E", "/a-_~")
	ok("/a%3bb%3Fc%23d%25e", "/a%3Bb%3Fc%23d%25e")
	ok("/%20%5c", "/%20%5C")
	ok("/%7bx%7D%22", `/{x}"`)
	ok("/%C3%bcber", "/über")
	ok("/über", "/über")
	// Decoding happens once.
	ok("/%252e%252e/", "/%252e%252e/")
	ok("/%2561", "/%2561")

	refused("", match.NotAbsolute)
	refused("a/b", match.NotAbsolute)
	refused("*", match.NotAbsolute)
	refused("/%", match.BrokenEscape)
	refused("/%4", match.BrokenEscape)
	refused("/%4g", match.BrokenEscape)
	refused("/%u002e", match.BrokenEscape)
	refused("/%00", match.NullByte)
	refused("/a%00.html", match.NullByte)
	refused("/\x00", match.ControlByte)
	refused("/a b", match.ControlByte)
	refused("/\x7f", match.ControlByte)
	// Encoded control bytes are for the route to judge, if nothing else is wrong.
	check("/%0d%0aX:y", "/%0D%0AX:y", match.EncodedControl)
	check("/a/../%7f", "/%7F", match.EncodedControl)
	refused("/%0a/%00", match.NullByte)
	refused("/%0a/../..", match.AboveRoot)
	refused("/%0a%4", match.BrokenEscape)
	refused(`/a\b`, match.Backslash)
	refused(`/a\..\b`, match.Backslash)
	refused("/a#/../b", match.Fragment)
	// Dot segments are removed.
	ok("/.", "/")
	ok("/./", "/")
	ok("/a/.", "/a/")
	ok("/a/..", "/")
	ok("/a/../", "/")
	ok("/a/../b", "/b")
	ok("/a/./b", "/a/b")
	ok("/a/b/../../c", "/c")
	ok("/a/b/c/./../../g", "/a/g")
	ok("/a//b/..", "/a//")
	ok("/a//b/../%2F%41;v=1", "/a//%2FA;v=1")
	ok("/a;x/../b", "/b")
	ok("/%2e", "/")
	ok("/a/%2e%2E/b", "/b")
	ok("/a/.%2e/b", "/b")
	ok("/.../..x/../b", "/.../b")
	refused("/..", match.AboveRoot)
	refused("/../a", match.AboveRoot)
	refused("/a/../../b", match.AboveRoot)
	refused("/%2e%2e/a", match.AboveRoot)
	refused("/./..", match.AboveRoot)
	// But not those that other servers do not see, or see in another place.
	refused("/a/..%2fb", match.DotSegment)
	refused("/a%2f..%2fb", match.DotSegment)
	refused("/a%2f../b", match.DotSegment)
	refused("/a%5c..%5cb", match.DotSegment)
	refused("/a/..;x/b", match.DotSegment)
	refused("/a/..%3bx/b", match.DotSegment)
	refused("/a/.;/b", match.DotSegment)
	refused("/a//../b", match.DotSegment)
	refused("/a/b%2fc/../d", match.DotSegment)
	refused("/a/b%5cc/../d", match.DotSegment)
}

func TestRefusalNames(t *testing.T) {
	seen := map[string]bool{}
	for r := match.Accepted; r <= match.AboveRoot; r++ {
		if name := r.String(); name == "" || seen[name] {
			t.Errorf("refusal %d has the name %q", r, name)
		} else {
			seen[name] = true
		}
	}
}

func TestRemoveDots(t *testing.T) {
	check := func(raw, want string) {
		t.Helper()
		if got := match.RemoveDots([]byte(raw)); string(got) != want {
			t.Errorf("RemoveDots(%q) = %q, want %q", raw, got, want)
		}
	}
	check("/", "/")
	check("/.well-known/%61", "/.well-known/%61")
	check("/a/.", "/a/")
	check("/a/%2e%2E", "/")
	check("/%61/./%62/../%63//d", "/%61/%63//d")
	check("/a/.../b", "/a/.../b")
}

func TestStripPrefix(t *testing.T) {
	check := func(raw string, slashes int, want string) {
		t.Helper()
		if got := match.StripPrefix([]byte(raw), slashes); string(got) != want {
			t.Errorf("StripPrefix(%q, %d) = %q, want %q", raw, slashes, got, want)
		}
	}
	check("/api/v1/users", 0, "/api/v1/users")
	check("/api/v1/users", 1, "/api/v1/users")
	check("/api/v1/users", 2, "/v1/users")
	check("/api/v1/users", 3, "/users")
	check("/api/v1/", 3, "/")
	check("/api", 2, "/api")
	// Encoded bytes count as what they are in the raw path.
	check("/%61pi/v%31/us%2Fers", 3, "/us%2Fers")
	check("//a", 2, "/a")
}

// What StripPrefix leaves of the raw path is what it leaves of the canonical one.
func TestStripPrefixOfEncodedPath(t *testing.T) {
	for _, raw := range []string{"/%61%2fb/%C3%BC/c%20d/%2B", "/x%2Fy//z/%7e", "/%41/", "/a/./%2e%2e/b/c/%2e"} {
		canonical, _ := match.Canonical(nil, []byte(raw))
		for n := range 6 {
			a, _ := match.Canonical(nil, match.StripPrefix(match.RemoveDots([]byte(raw)), n))
			if b := match.StripPrefix(canonical, n); !bytes.Equal(a, b) {
				t.Errorf("%q after %d slashes: raw gives %q, canonical %q", raw, n, a, b)
			}
		}
	}
}

func TestCanonicalAllocates(t *testing.T) {
	buf := make([]byte, 0, 64)
	for _, raw := range [][]byte{[]byte("/a/b/c.html"), []byte("/.well-known/x"), []byte("/a%2fb/%61")} {
		if n := testing.AllocsPerRun(100, func() { match.Canonical(buf, raw) }); n != 0 {
			t.Errorf("Canonical(%q) allocates %v times", raw, n)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e%2f", "/%61//b;x=1", "/a%5c..", "/%C3%BC", `/\`, "/.%00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		path, refusal := match.Canonical(nil, raw)
		if !bytes.Equal(raw, before) {
			t.Fatalf("Canonical changed its input %q", before)
		}
		if refusal != match.Accepted {
			if path != nil {
				t.Fatalf("Canonical(%q) = %q with %v", raw, path, refusal)
			}
			return
		}
		again, refusal := match.Canonical(nil, path)
		if refusal != match.Accepted || !bytes.Equal(again, path) {
			t.Fatalf("Canonical(%q) = %q, and of that %q, %v", raw, path, again, refusal)
		}
		plain := match.RemoveDots(raw)
		if bytes.Count(plain, []byte("/")) != bytes.Count(path, []byte("/")) {
			t.Fatalf("Canonical(%q) = %q has other slashes than %q", raw, path, plain)
		}
		if same, _ := match.Canonical(nil, plain); !bytes.Equal(same, path) {
			t.Fatalf("Canonical(%q) = %q, but without dots, %q, it is %q", raw, path, plain, same)
		}
		// Everything that a server may read as a slash and as the end of a segment.
		all := strings.NewReplacer("%2F", "/", "%5C", "/", `\`, "/").Replace(string(path))
		for _, segment := range strings.Split(all, "/") {
			segment, _, _ = strings.Cut(strings.ReplaceAll(segment, "%3B", ";"), ";")
			if segment == "." || segment == ".." {
				t.Fatalf("Canonical(%q) = %q has a dot segment", raw, path)
			}
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	run := func(name, raw string) {
		p, buf := []byte(raw), make([]byte, 0, 256)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				match.Canonical(buf, p)
			}
		})
	}
	run("plain", "/api/v1/users/1234/orders.json")
	run("well-known", "/.well-known/acme-challenge/token")
	run("encoded", "/api/v1/%C3%BCser/a%2Fb/orders.json")
}
