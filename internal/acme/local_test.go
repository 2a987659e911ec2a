package acme

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// A root that ends soon is warned of, and one that would end before its certificates is replaced.
func TestRootEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		life     time.Duration
		replaced bool
		log      string
	}{
		{rootLife, false, ""},
		{20 * 24 * time.Hour, false, "the local CA ends soon"},
		{leafLife / 2, true, "made a local CA"},
		{-time.Hour, true, "made a local CA"},
	} {
		storage := &certmagic.FileStorage{Path: t.TempDir()}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{Subject: pkix.Name{CommonName: "before"}, IsCA: true, BasicConstraintsValid: true}
		der, err := sign(template, template, &key.PublicKey, key, c.life)
		if err != nil {
			t.Fatal(err)
		}
		text, err := certmagic.PEMEncodePrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string][]byte{rootCert: encode("CERTIFICATE", der), rootKey: text} {
			if err := storage.Store(t.Context(), name, value); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		ca := &localCA{storage: storage, log: slog.New(slog.NewTextHandler(&log, nil))}
		root, _, err := ca.root(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if replaced := root.Subject.CommonName != "before"; replaced != c.replaced || !strings.Contains(log.String(), c.log) || c.log == "" && log.Len() > 0 {
			t.Errorf("a root that ends in %s: replaced %v, the log is %q", c.life, replaced, log.String())
		}
	}
}
