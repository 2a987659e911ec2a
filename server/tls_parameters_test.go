package server_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
	"weir/server"
)

// secureListener is the text of a listener with a certificate, and with more keys.
func secureListener(p testkit.Pair, keys string) string {
	return fmt.Sprintf("[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\ncertificates = [{ cert = %q, key = %q }]\n%s\n", p.Cert, p.Key, keys)
}

// Clients get the versions, ciphers and key exchanges that a listener allows, and no others. A
// reload that takes the keys away brings the defaults.
func TestListenerParameters(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	const rest = "[[routes]]\nrespond = { status = 200 }\n"
	w := run(t, "%s", secureListener(pair, "")+rest)
	check := func(what string, change func(c *tls.Config), want func(s tls.ConnectionState) bool) {
		t.Helper()
		cfg := tlsClient(authority)
		cfg.NextProtos = []string{"h2", "http/1.1"}
		change(cfg)
		c, err := tls.Dial("tcp", w.addr.String(), cfg)
		if err != nil {
			if want != nil {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		defer c.Close()
		if state := c.ConnectionState(); want == nil || !want(state) {
			t.Errorf("%s: agreed on %s, %s, %s, %q", what, tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.CurveID, state.NegotiatedProtocol)
		}
	}
	use := func(keys string) {
		t.Helper()
		if err := w.Reload(parse(t, secureListener(pair, keys)+rest)); err != nil {
			t.Fatal(err)
		}
	}
	upTo := func(version uint16, ciphers ...uint16) func(c *tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion, c.CipherSuites = tls.VersionTLS10, version, ciphers }
	}
	with := func(curves ...tls.CurveID) func(c *tls.Config) {
		return func(c *tls.Config) { c.CurvePreferences = curves }
	}
	speaks := func(version uint16) func(s tls.ConnectionState) bool {
		return func(s tls.ConnectionState) bool { return s.Version == version }
	}
	curve := func(id tls.CurveID) func(s tls.ConnectionState) bool {
		return func(s tls.ConnectionState) bool { return s.CurveID == id }
	}
	defaults := func() {
		t.Helper()
		check("any", func(*tls.Config) {}, func(s tls.ConnectionState) bool {
			return s.Version == tls.VersionTLS13 && s.CurveID == tls.X25519MLKEM768 && s.NegotiatedProtocol == "h2"
		})
		check("P-384 alone", with(tls.CurveP384), curve(tls.CurveP384))
		check("1.2", upTo(tls.VersionTLS12), speaks(tls.VersionTLS12))
		check("1.1", upTo(tls.VersionTLS11), nil)
		check("CBC with SHA-256", upTo(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256), nil)
	}
	defaults()

	use("max_tls = \"1.2\"\nciphers = [\"ECDHE-ECDSA-AES256-GCM-SHA384\"]")
	check("at most 1.2", func(*tls.Config) {}, func(s tls.ConnectionState) bool {
		return s.Version == tls.VersionTLS12 && s.CipherSuite == tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	})
	check("another cipher", upTo(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), nil)

	use(`min_tls = "1.0"`)
	check("1.0, which must not speak HTTP/2", upTo(tls.VersionTLS10), func(s tls.ConnectionState) bool {
		return s.Version == tls.VersionTLS10 && s.NegotiatedProtocol == "http/1.1"
	})
	check("1.3 beside it", func(*tls.Config) {}, func(s tls.ConnectionState) bool {
		return s.Version == tls.VersionTLS13 && s.NegotiatedProtocol == "h2"
	})

	use("min_tls = \"1.3\"\ncurves = \"P-256\"")
	check("1.2 where 1.3 is asked for", upTo(tls.VersionTLS12), nil)
	check("P-256", func(*tls.Config) {}, curve(tls.CurveP256))
	check("X25519", with(tls.X25519), nil)
	use("")
	defaults()
}

// The same towards targets.
func TestTargetParameters(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	hellos := make(chan *tls.ClientHelloInfo, 10)
	cfg := tlsServer(authority.Issue("127.0.0.1"))
	cfg.MinVersion = tls.VersionTLS10
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hellos <- h
		return nil, nil
	}
	origin := testkit.ListenTLS(t, cfg, testkit.Answer(ok))
	check := func(keys string, versions []uint16, curve tls.CurveID, cipher uint16) {
		t.Helper()
		w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n[upstreams.o.tls]\nca = %q\n%s\n", origin.URL, authority.File, keys)
		equal(t, keys, w.dial().Get("/").Status(), 200)
		h := receive(t, hellos)
		if !slices.Equal(h.SupportedVersions, versions) || !slices.Contains(h.SupportedCurves, curve) || !slices.Contains(h.CipherSuites, cipher) {
			t.Errorf("%s: versions %x, curves %v, ciphers %x", keys, h.SupportedVersions, h.SupportedCurves, h.CipherSuites)
		}
	}
	check("", []uint16{tls.VersionTLS13, tls.VersionTLS12}, tls.X25519MLKEM768, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	check("", []uint16{tls.VersionTLS13, tls.VersionTLS12}, tls.X25519MLKEM768, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA) // of old targets
	check("min_tls = \"1.3\"\ncurves = [\"P-256\", \"X25519\"]", []uint16{tls.VersionTLS13}, tls.CurveP256, tls.TLS_AES_128_GCM_SHA256)
	check("max_tls = \"1.2\"\nmin_tls = \"1.0\"\nciphers = \"ECDHE-ECDSA-AES128-SHA\"", []uint16{tls.VersionTLS12, tls.VersionTLS11, tls.VersionTLS10},
		tls.X25519, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA)
}

// Authorities and certificates towards targets are read again when their files change, without a
// reload; what cannot be used changes nothing.
func TestTargetFilesChange(t *testing.T) {
	t.Parallel()
	authority, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	one, two := authority.Issue("one"), authority.Issue("two")
	cfg := tlsServer(authority.Issue("127.0.0.1"))
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool
	names := make(chan string, 100)
	origin := testkit.ListenTLS(t, cfg, func(c *testkit.Conn) {
		names <- c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
		testkit.Answer(ok)(c)
	})
	dir := t.TempDir()
	install := func(name, from string) {
		t.Helper()
		pem, err := os.ReadFile(from)
		if err == nil {
			if err = os.WriteFile(filepath.Join(dir, "new"), pem, 0o600); err == nil {
				err = os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pair := func(p testkit.Pair) {
		install("weir.key", p.Key)
		install("weir.crt", p.Cert)
	}
	pair(one)
	install("ca.pem", authority.File)
	var logs textLog
	w := launch(t, fmt.Sprintf(`
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
tls = { ca = '%[2]s/ca.pem', cert = '%[2]s/weir.crt', key = '%[2]s/weir.key' }
`, origin.URL, dir), server.WithLog(logs.logger()))
	c := w.dial()
	equal(t, "at first", c.Get("/").Status(), 200)
	equal(t, "at first", receive(t, names), "one")

	install("weir.crt", two.Cert) // does not fit the key
	logs.await(t, "cannot use the changed files of a target's TLS, the old ones stay")
	equal(t, "with files that do not fit", c.Get("/").Status(), 200)
	pair(two)
	logs.await(t, "the files of a target's TLS were read again")
	// Unused connections are closed, so that a new one is made.
	testkit.Eventually(t, "the new certificate is shown", func() bool {
		equal(t, "afterwards", c.Get("/").Status(), 200)
		select {
		case name := <-names:
			return name == "two"
		default:
			return false
		}
	})
	install("ca.pem", other.File)
	testkit.Eventually(t, "a target that is not trusted any more is refused", func() bool { return c.Get("/").Status() == 502 })
}

// await waits until the log has a text.
func (l *textLog) await(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, "the log has: "+text, func() bool { return strings.Contains(l.String(), text) })
}

// A target is refused whose certificate is revoked, or whose authority has no list; the file is read again when it
// changes.
func TestTargetRevoked(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	origin := testkit.ListenTLS(t, tlsServer(pair), testkit.Answer(ok))
	file := filepath.Join(t.TempDir(), "targets.crl")
	write := func(list []byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", list, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	soon := time.Now().Add(time.Hour)
	write(authority.Revoke(soon))
	w := run(t, "%s", fmt.Sprintf("[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\ntls = { ca = %q, crl = %q }\n", origin.URL, authority.File, file))
	c := w.dial()
	equal(t, "at first", c.Get("/").Status(), 200)
	write(authority.Revoke(soon, pair.Serial()))
	testkit.Eventually(t, "a target that is revoked is refused", func() bool { return c.Get("/").Status() == 502 })
	write(authority.Revoke(soon))
	testkit.Eventually(t, "it is good again", func() bool { return c.Get("/").Status() == 200 })
	write(testkit.NewAuthority(t).Revoke(soon))
	testkit.Eventually(t, "a target without a list is refused", func() bool { return c.Get("/").Status() == 502 })
}
