package rule_test

import (
	"testing"

	"weir/cache/rule"
	"weir/internal/head"
)

// TestEncodings: spellings of Accept-Encoding that mean the same to origins have one form, and
// that form stands for itself.
func TestEncodings(t *testing.T) {
	for want, spellings := range map[string][]string{
		"identity": {
			"", "-", "identity", "deflate", "compress, deflate", "*", "*;q=0.5", "gzip;q=0", "gzip;q=0.000", "br; q=0, identity;q=1", "gzip;q=", "gzip;q=x",
			"gzip, gzip;q=0", "gzipp", "*;q=0, identity",
		},
		"gzip": {
			"gzip", "GZIP", "gzip, deflate", "deflate,gzip", "x-gzip", "gzip;q=1.0, *;q=0.5", " gzip ;q=0.001", "gzip, br;q=0", "gzip,,identity;q=0.5",
			"gzip;level=9", "compress, gzip",
		},
		"gzip, br":           {"gzip, deflate, br", "br,gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1"},
		"gzip, br, zstd":     {"gzip, deflate, br, zstd", "zstd, br, gzip"},
		"br, dcb, dcz":       {"dcz, br, dcb"},
		"gzip, identity;q=0": {"gzip, identity;q=0", "gzip, *;q=0"},
		"identity;q=0":       {"identity;q=0", "*;q=0"},
	} {
		for _, s := range append(spellings, want) {
			var h head.Head
			if s != "-" {
				h.Add(head.AcceptEncoding, []byte(s))
			}
			if got := string(rule.AppendEncodings([]byte("x"), &h)); got != "x"+want {
				t.Errorf("%q becomes %q, want %q", s, got, "x"+want)
			}
		}
	}
	var h head.Head
	h.Add(head.AcceptEncoding, []byte("br"))
	h.Add(head.AcceptEncoding, []byte("deflate, gzip"))
	if got := string(rule.AppendEncodings(nil, &h)); got != "gzip, br" {
		t.Errorf("two lines become %q", got)
	}
}
