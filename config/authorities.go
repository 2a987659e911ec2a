package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// AddAuthorities adds the certificates of a file of PEM to pool. All of them must be sound: one that is left out is an authority
// that is lacking, which shows only when a peer of its is refused. Blocks of other kinds, such as keys, are
// passed over, but not those that other programs take for certificates.
func AddAuthorities(pool *x509.CertPool, path string) error {
	data, err := ReadPEM(path)
	if err != nil {
		return err
	}
	found := false
	for n := 1; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return fmt.Errorf("block %d of %q: %w", n, path, err)
			}
			pool.AddCert(c)
			found = true
		case strings.Contains(block.Type, "CERTIFICATE"):
			return fmt.Errorf("block %d of %q: found a %q, want a CERTIFICATE", n, path, block.Type)
		}
	}
	if !found {
		return fmt.Errorf("%q: no certificate in it, want PEM", path)
	}
	return nil
}

// LoadAuthorities is AddAuthorities to a new pool; nil, which stands for the system's, if path is empty.
func LoadAuthorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if err := AddAuthorities(pool, path); err != nil {
		return nil, err
	}
	return pool, nil
}
