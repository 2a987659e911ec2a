package bench_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"weir/bench"
)

func TestMakeCertificate(t *testing.T) {
	cert, key, err := bench.MakeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, name := range []string{bench.CertificateName, "127.0.0.1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: time.Now()}); err != nil {
			t.Errorf("for %s: %v", name, err)
		}
	}
}
