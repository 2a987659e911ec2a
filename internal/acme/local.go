package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// Where the local CA is in the storage.
const (
	rootCert = "local/root.crt"
	rootKey  = "local/root.key"
)

const (
	// rootLife is how long the certificate of the local CA is valid. It is trusted by hand, so it lasts.
	rootLife = 10 * 365 * 24 * time.Hour
	// leafLife is how long those that it gives are valid; they are renewed when a third is left.
	leafLife = 12 * time.Hour
	// backdated makes certificates good for clients whose clocks are late.
	backdated = 5 * time.Minute
	// rootWarning is how long before its end a start warns of that of the root.
	rootWarning = 60 * 24 * time.Hour
)

// localCA is a certmagic.Issuer that needs no other machine.
type localCA struct {
	storage certmagic.Storage
	log     *slog.Logger

	mu   sync.Mutex
	cert *x509.Certificate // nil before the first use
	key  crypto.Signer
}

// IssuerKey implements certmagic.Issuer.
func (*localCA) IssuerKey() string { return "local" }

// Issue implements certmagic.Issuer.
func (c *localCA) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	root, key, err := c.root(ctx)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := sign(template, root, request.PublicKey, key, leafLife)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: encode("CERTIFICATE", der)}, nil
}

// sign makes a certificate that is valid from now on.
func sign(template, parent *x509.Certificate, public any, key crypto.Signer, life time.Duration) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-backdated)
	template.NotAfter = time.Now().Add(life)
	if template.NotAfter.After(parent.NotAfter) && template != parent {
		template.NotAfter = parent.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// root returns the certificate and the key of the CA, which the first weir makes.
func (c *localCA) root(ctx context.Context) (*x509.Certificate, crypto.Signer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && time.Until(c.cert.NotAfter) > leafLife {
		return c.cert, c.key, nil
	}
	err := c.load(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		err = c.create(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the local CA: %w", err)
	}
	if left := time.Until(c.cert.NotAfter); left < rootWarning {
		c.log.Warn("the local CA ends soon; one that must be trusted anew will follow it", "ends", c.cert.NotAfter)
	}
	return c.cert, c.key, nil
}

// load reads the CA from the storage. The error is fs.ErrNotExist if there is none, or if it ends too soon.
func (c *localCA) load(ctx context.Context) error {
	text, err := c.storage.Load(ctx, rootCert)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("its file has no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if time.Until(cert.NotAfter) < leafLife {
		return fs.ErrNotExist
	}
	if text, err = c.storage.Load(ctx, rootKey); err != nil {
		return fmt.Errorf("no key: %v", err)
	}
	key, err := certmagic.PEMDecodePrivateKey(text)
	if err != nil {
		return err
	}
	c.cert, c.key = cert, key
	return nil
}

// create makes the CA, unless another weir has meanwhile.
func (c *localCA) create(ctx context.Context) error {
	const lock = "local_root"
	if err := c.storage.Lock(ctx, lock); err != nil {
		return err
	}
	defer c.storage.Unlock(context.WithoutCancel(ctx), lock)
	if err := c.load(ctx); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "weir local CA " + time.Now().UTC().Format("2006-01-02 15:04")},
		IsCA:    true, BasicConstraintsValid: true, MaxPathLenZero: true, // it signs names, and no other CA
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := sign(template, template, &key.PublicKey, key, rootLife)
	if err != nil {
		return err
	}
	text, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return err
	}
	if err := c.storage.Store(ctx, rootKey, text); err != nil {
		return err
	}
	if err := c.storage.Store(ctx, rootCert, encode("CERTIFICATE", der)); err != nil {
		return err
	}
	c.log.Info("made a local CA, which nothing trusts yet: weir trust says how to change that")
	return c.load(ctx)
}

// Root returns the certificate of the local CA in PEM, and the file that has it, which is empty if the
// storage is no folder. The error is fs.ErrNotExist before the first weir with tls = "internal" has started.
func Root(ctx context.Context, storage certmagic.Storage) (text []byte, file string, err error) {
	if folder, ok := storage.(*certmagic.FileStorage); ok {
		file = filepath.Join(folder.Path, filepath.FromSlash(rootCert))
	}
	text, err = storage.Load(ctx, rootCert)
	return text, file, err
}
