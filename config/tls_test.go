package config_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/config"
)

// Names of versions, ciphers and key exchanges that are not known are errors that name what
// is allowed, on listeners and towards targets.
func TestTLSParameters(t *testing.T) {
	check := func(keys string, want ...string) {
		t.Helper()
		for _, place := range []string{"[[listeners]]\naddress = \":1\"\n%s", "[[listeners]]\naddress = \":1\"\n[upstreams.o.tls]\n%s"} {
			text := fmt.Sprintf(place, keys) + "\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [\"demo:a\"]\n"
			_, err := config.Parse("f", []byte(text))
			got := fmt.Sprint(err)
			if len(want) == 0 && err != nil {
				t.Errorf("%s: %v", keys, err)
			}
			for _, w := range want {
				if !strings.Contains(got, w) {
					t.Errorf("%s gives\n%s\nwhich lacks %q", keys, got, w)
				}
			}
		}
	}
	check(`min_tls = "1.0"`)
	check(`min_tls = "TLSv1.2"`, `min_tls: found "TLSv1.2": want one of "1.0", "1.1", "1.2", "1.3"`)
	check("min_tls = \"1.3\"\nmax_tls = \"1.2\"", `max_tls: found "1.2": want a version that is not older than min_tls, which is "1.3"`)
	check(`ciphers = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`)
	check(`ciphers = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "AES128-SHA", "ECDHE-RSA-AES256-SHA"]`)
	check(`ciphers = ["ECDHE-RSA-AES128-GCM-SHA265"]`, `ciphers[0]: found "ECDHE-RSA-AES128-GCM-SHA265": want one of "TLS_ECDHE_`)
	check(`ciphers = ["TLS_AES_128_GCM_SHA256"]`, "a cipher of TLS 1.2 or older, because those of TLS 1.3 are all good and always on")
	check(`curves = ["X25519MLKEM768", "x25519", "prime256v1", "P-384"]`)
	check(`curves = ["X448"]`, `curves[0]: found "X448": want one of "X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "X25519", "P-256", "P-384", "P-521"`)
}

func TestTLSNames(t *testing.T) {
	l := config.DefaultListener()
	l.MaxTLS, l.Curves = "1.2", config.Strings{"X25519MLKEM768", "secp384r1"}
	l.Ciphers = config.Strings{"AES128-SHA", "DES-CBC3-SHA", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "AES256-GCM-SHA384"}
	p := l.TLS()
	if p.Min != tls.VersionTLS12 || p.Max != tls.VersionTLS12 {
		t.Errorf("versions %x to %x", p.Min, p.Max)
	}
	if want := []tls.CurveID{tls.X25519MLKEM768, tls.CurveP384}; !slices.Equal(p.Curves, want) {
		t.Errorf("curves %v, want %v", p.Curves, want)
	}
	want := []uint16{
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	}
	if !slices.Equal(p.Ciphers, want) {
		t.Errorf("ciphers %x, want %x", p.Ciphers, want)
	}
	for name, want := range map[string]string{
		"ECDHE-RSA-AES128-GCM-SHA256": "", "AES128-SHA": "static RSA", "ECDHE-RSA-AES128-SHA": "CBC", "DES-CBC3-SHA": "3DES", "RC4-SHA": "RC4",
	} {
		if got := config.WeakCipher(name); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s is weak: %q, want %q", name, got, want)
		}
	}
}
