package wire_test

import (
	"strings"
	"testing"

	"weir/internal/wire"
)

func TestLookup(t *testing.T) {
	check := func(name string, want wire.Fields) {
		t.Helper()
		for _, n := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := wire.Lookup([]byte(n)); got != want {
				t.Errorf("Lookup(%q) = %b, want %b", n, got, want)
			}
		}
	}
	// Fields that end at the next hop.
	check("Connection", wire.FieldConnection)
	check("Keep-Alive", wire.FieldKeepAlive)
	check("Proxy-Connection", wire.FieldProxyConnection)
	check("TE", wire.FieldTE)
	check("Trailer", wire.FieldTrailer)
	check("Transfer-Encoding", wire.FieldTransferEncoding)
	check("Upgrade", wire.FieldUpgrade)
	check("Proxy-Authenticate", wire.FieldProxyAuth)
	check("Proxy-Authorization", wire.FieldProxyAuth)
	check("Proxy-Authentication-Info", wire.FieldProxyAuth)
	// Framing and target.
	check("Expect", wire.FieldExpect)
	check("Content-Length", wire.FieldContentLength)
	check("Host", wire.FieldHost)
	// Who the client was: the whole family.
	check("Forwarded", wire.FieldForwarded)
	check("X-Forwarded-For", wire.FieldXForwarded)
	check("X-Forwarded-Proto", wire.FieldXForwarded)
	check("X-Forwarded-Host", wire.FieldXForwarded)
	check("X-Forwarded-Anything", wire.FieldXForwarded)
	check("X-Real-IP", wire.FieldXForwarded)
	check("Via", wire.FieldVia)
	// Caching.
	check("Date", wire.FieldDate)
	check("Cookie", wire.FieldCookie)
	check("Set-Cookie", wire.FieldSetCookie)
	check("Authorization", wire.FieldAuthorization)
	check("Cache-Control", wire.FieldCacheControl)
	check("Pragma", wire.FieldPragma)
	check("Age", wire.FieldAge)
	check("Expires", wire.FieldExpires)
	check("Vary", wire.FieldVary)
	check("ETag", wire.FieldETag)
	check("Last-Modified", wire.FieldLastModified)
	check("If-Match", wire.FieldConditional)
	check("If-None-Match", wire.FieldConditional)
	check("If-Modified-Since", wire.FieldConditional)
	check("If-Unmodified-Since", wire.FieldConditional)
	check("If-Range", wire.FieldConditional)
	check("Range", wire.FieldRange)
	// Nothing of interest, although the length or the start fits.
	check("", 0)
	check("T", 0)
	check("Accept", 0)
	check("User-Agent", 0)
	check("Connectiom", 0)
	check("X-Forwarded-", 0)
	check("X-Forwardedness", 0)
	check("Content-Lengths", 0)
	check("Hosts", 0)
	check("Dates", 0)
	check(strings.Repeat("x", 300), 0)
}

// A byte that folds onto a letter by setting one bit is not that letter.
func TestLookupFoldsLettersOnly(t *testing.T) {
	for _, name := range []string{"te\x00", "T\x05", "H\x0fst", "\x48ost\x20", "A\x27e"} {
		if got := wire.Lookup([]byte(name)); got != 0 {
			t.Errorf("Lookup(%q) = %b, want 0", name, got)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	run := func(name string) {
		n := []byte(name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var sum wire.Fields
			for b.Loop() {
				sum |= wire.Lookup(n)
			}
			_ = sum
		})
	}
	run("Accept")
	run("User-Agent")
	run("X-Request-Id")
	run("Content-Type")
	run("Connection")
	run("X-Forwarded-Proto")
}
