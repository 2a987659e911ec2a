package acme

import (
	"testing"

	"github.com/caddyserver/certmagic"

	"weir/config"
)

// No attempt goes to a CA that the configuration does not name: certmagic has one for second attempts at Let's
// Encrypt.
func TestOneCA(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("weir.toml", []byte(`
[[listeners]]
address = ":443"
tls = "acme"
[certificates]
on_demand = { ask = "http://127.0.0.1:1/" }
[[routes]]
respond = { body = "hello" }
`))
	if err != nil {
		t.Fatal(err)
	}
	m := New(Options{Folder: t.TempDir()})
	s, err := m.newSetup(config.IssuerACME, cfg)
	if err != nil {
		t.Fatal(err)
	}
	source := m.newSource(config.IssuerACME)
	s.bind(source)
	source.setup.Store(s)
	defer source.close()
	for _, c := range []*certmagic.Config{s.config, s.anew, s.onDemand.config} {
		for _, issuer := range c.Issuers {
			if i := issuer.(*certmagic.ACMEIssuer); i.CA != cfg.Certificates.CA || i.TestCA != "" {
				t.Errorf("certificates are from %q and %q", i.CA, i.TestCA)
			}
		}
	}
}

// Addresses are no names to ask for, whatever the application would say.
func TestDemandable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"a.test": true, "A-1.test": true, "xn--bcher-kva.test": true, "192.0.2.1": false, "::1": false, "": false} {
		if isDemandable(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}
