package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/config"
)

// Access says who may use the API. It never changes.
type Access struct {
	tokens []token
	// clientCAs are the authorities of clients' certificates, nil without; clientRole is what
	// clients with one may do.
	clientCAs  *x509.CertPool
	clientRole string
	// hosts are the names that requests may be for, in lower case, besides those of this machine.
	hosts []string
}

// token is the hash of a secret, and the name of its holder.
type token struct {
	name, role string
	sum        [sha256.Size]byte
}

// leastToken is how long a token must be, so that it cannot be guessed.
const leastToken = 16

// NewAccess reads the tokens that a configuration names. clientCAs are the authorities of its client_ca; nil
// without.
func NewAccess(cfg *config.Admin, clientCAs *x509.CertPool) (*Access, error) {
	a := &Access{clientCAs: clientCAs, clientRole: cfg.ClientRole}
	for i := range cfg.Tokens {
		t := &cfg.Tokens[i]
		secret, err := ReadToken(t)
		if err != nil {
			return nil, fmt.Errorf("admin.tokens[%d]: %w", i, err)
		}
		sum := sha256.Sum256([]byte(secret))
		for _, other := range a.tokens {
			if other.sum == sum {
				return nil, fmt.Errorf("admin.tokens[%d]: found the token of %q again: want another one for %q", i, other.name, t.Name)
			}
		}
		a.tokens = append(a.tokens, token{t.Name, t.Role, sum})
	}
	for _, name := range cfg.Hosts {
		a.hosts = append(a.hosts, strings.ToLower(name))
	}
	if name, err := os.Hostname(); err == nil {
		a.hosts = append(a.hosts, strings.ToLower(name))
	}
	return a, nil
}

// ReadToken reads the secret of a token from its file, or from the credential of the service
// manager.
func ReadToken(t *config.AdminToken) (string, error) {
	path := t.File
	if t.Credential != "" {
		folder := os.Getenv("CREDENTIALS_DIRECTORY")
		if folder == "" {
			return "", fmt.Errorf("cannot read credential %q: the service manager has passed none (CREDENTIALS_DIRECTORY is not set)", t.Credential)
		}
		path = filepath.Join(folder, t.Credential)
	}
	text, err := config.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < leastToken || strings.ContainsFunc(secret, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("found a token of %d bytes in %q: want at least %d visible ASCII characters on one line", len(secret), path, leastToken)
	}
	return secret, nil
}

// open says that everyone who reaches the address may do everything.
func (a *Access) open() bool { return len(a.tokens) == 0 && a.clientCAs == nil }

// find returns the token of a secret. It takes the same time for every wrong one.
func (a *Access) find(secret string) *token {
	sum := sha256.Sum256([]byte(secret))
	var found *token
	for i := range a.tokens {
		if t := &a.tokens[i]; subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1 {
			found = t
		}
	}
	return found
}

// certified returns the caller that chain, the certificates of a connection, stands for; nil if
// no authority of now has signed it. Each request calls it, because a reload may have changed
// the authorities.
func (a *Access) certified(chain []*x509.Certificate) *caller {
	if a.clientCAs == nil || len(chain) == 0 {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: a.clientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: time.Now(),
	}); err != nil {
		return nil
	}
	return &caller{Role: a.clientRole, Name: chain[0].Subject.String(), By: "certificate"}
}
