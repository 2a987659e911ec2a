package cli

import (
	"cmp"
	"crypto/x509"
	"os"
	"runtime"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// useOwnRoots makes weir believe the authorities that it contains, those of Mozilla, where the system has none,
// such as in a container without files.
func useOwnRoots() error {
	if runtime.GOOS != "linux" || systemHasRoots() {
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

// Where crypto/x509 looks for authorities on Linux.
const (
	rootFiles = "/etc/ssl/certs/ca-certificates.crt:/etc/pki/tls/certs/ca-bundle.crt:/etc/ssl/ca-bundle.pem:" +
		"/etc/pki/tls/cacert.pem:/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem:/etc/ssl/cert.pem"
	rootFolders = "/etc/ssl/certs:/etc/pki/tls/certs"
)

// systemHasRoots looks for files, because reading them would take 5 MB that most of weir's users do not need.
func systemHasRoots() bool {
	for _, file := range strings.Split(cmp.Or(os.Getenv("SSL_CERT_FILE"), rootFiles), ":") {
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return true
		}
	}
	for _, folder := range strings.Split(cmp.Or(os.Getenv("SSL_CERT_DIR"), rootFolders), ":") {
		if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
			return true
		}
	}
	return false
}
