package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	// File is its own certificate, in PEM; Pool has it alone.
	File string
	Pool *x509.CertPool

	t     testing.TB
	dir   string
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	above *Authority // nil for one that stands for itself
}

// NewAuthority makes an authority whose files live as long as the test.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), Pool: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "testkit"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, key := a.sign(template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, key
	a.Pool.AddCert(cert)
	a.File = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

// Intermediate returns an authority whose own certificate a has issued. Pool and File are those of a; Certificate
// of a Pair that it issues has the intermediate certificate, too.
func (a *Authority) Intermediate(name string) *Authority {
	a.t.Helper()
	b := &Authority{t: a.t, dir: a.t.TempDir(), Pool: a.Pool, File: a.File, above: a}
	der, key := b.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, a)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	b.cert, b.key = cert, key
	return b
}

// Revoke returns a revocation list, in PEM, that is valid from one hour ago until next. Serials are those of
// the certificates that it has.
func (a *Authority) Revoke(next time.Time, serials ...*big.Int) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(next.Unix()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: next}
	if next.Before(time.Now()) {
		list.ThisUpdate = next.Add(-time.Hour)
	}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// Serial is the serial number of a's own certificate.
func (a *Authority) Serial() *big.Int { return a.cert.SerialNumber }

// Serial is the serial number of the certificate.
func (p Pair) Serial() *big.Int { return p.Certificate.Leaf.SerialNumber }

// Pair is a certificate with its key, in files and ready for use.
type Pair struct {
	Cert, Key   string
	Certificate tls.Certificate
}

// Issue makes a certificate for names and addresses, good for servers and
// clients.
func (a *Authority) Issue(names ...string) Pair {
	a.t.Helper()
	return a.IssueWith(func(*x509.Certificate) {}, names...)
}

// IssueWith is Issue with changes to what is signed.
func (a *Authority) IssueWith(change func(*x509.Certificate), names ...string) Pair {
	a.t.Helper()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	change(template)
	der, key := a.sign(template, a)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	p := Pair{Cert: a.write(names[0]+".pem", "CERTIFICATE", der), Key: a.write(names[0]+".key", "PRIVATE KEY", raw)}
	if p.Certificate, err = tls.LoadX509KeyPair(p.Cert, p.Key); err != nil {
		a.t.Fatal(err)
	}
	if a.above != nil {
		p.Certificate.Certificate = append(p.Certificate.Certificate, a.cert.Raw)
	}
	return p
}

// sign makes a key and a certificate for it; a nil issuer is the key itself.
func (a *Authority) sign(template *x509.Certificate, issuer *Authority) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

func (a *Authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// SelfSigned makes a certificate that is its own authority, for tests that have no T yet: both in PEM.
func SelfSigned(name string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.ParseIP(name)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), err
}

// URLs parses URLs, for alternative names.
func URLs(t testing.TB, list ...string) (urls []*url.URL) {
	t.Helper()
	for _, text := range list {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, u)
	}
	return urls
}

// Fingerprint is the SHA-256 of c in hexadecimal digits.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
