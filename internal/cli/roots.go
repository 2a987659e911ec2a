package cli

import (
	"crypto/x509"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// useOwnRoots makes weir believe the authorities that it contains, those of Mozilla, where the system has none,
// such as in a container without files.
func useOwnRoots() error {
	if system, err := x509.SystemCertPool(); err == nil && !system.Equal(x509.NewCertPool()) {
		return nil
	}
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		c, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return err
		}
		if root.Constraint == nil {
			pool.AddCert(c)
		} else {
			pool.AddCertWithConstraint(c, root.Constraint)
		}
	}
	x509.SetFallbackRoots(pool)
	return nil
}
