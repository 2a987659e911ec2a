package listener

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"weir/config"
	"weir/internal/secure"
)

// certificates are those of one listener, with the files they come from.
type certificates struct {
	pairs []*pair // touched by load and refresh only, which take turns
	table atomic.Pointer[certificateTable]
}

// pair is a certificate and its key.
type pair struct {
	files   config.Certificate
	looked  *secure.Files // at files, as of the last reading
	content *tls.Certificate
	failure secure.Failure // of the last reading
}

// certificateTable is what a handshake looks into. It is never changed.
type certificateTable struct {
	first  []*tls.Certificate            // for other names: the first, and those for the same name
	byName map[string][]*tls.Certificate // "www.example.org", "*.example.org"
	leaves []leaf
}

// leaf is the certificate that a file begins with.
type leaf struct {
	*x509.Certificate
	file string
}

// loadCertificates reads all files; each one that cannot be read is in the error.
func loadCertificates(files []config.Certificate) (*certificates, error) {
	c := &certificates{}
	var errs []error
	for _, f := range files {
		p := &pair{files: f, looked: secure.NewFiles(f.Cert, f.Key)}
		errs = append(errs, p.read())
		c.pairs = append(c.pairs, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.index()
	return c, nil
}

// refresh reads the files that have changed since they were last read, and those that could not be
// read then, and says whether anything came of it that was not said before. A pair that cannot be read keeps its
// old content.
func (c *certificates) refresh() (changed bool, err error) {
	var errs []error
	for _, p := range c.pairs {
		moved := p.looked.Changed()
		if !moved && p.failure == "" {
			continue
		}
		err := p.read()
		if p.failure.Note(err) || moved {
			changed = true
			errs = append(errs, err)
		}
	}
	if changed {
		c.index()
	}
	return changed, errors.Join(errs...)
}

// read takes the content from the files; on an error the old one stays.
func (p *pair) read() error {
	content, err := LoadCertificate(p.files)
	if err != nil {
		return err
	}
	p.content = content
	return nil
}

// LoadCertificate reads a certificate and its key, which must belong together.
func LoadCertificate(files config.Certificate) (*tls.Certificate, error) {
	content, err := config.LoadKeyPair(files.Cert, files.Key)
	if err != nil {
		hint := ""
		if key, readErr := config.ReadFile(files.Key); readErr == nil && bytes.Contains(key, []byte("ENCRYPTED")) {
			hint = " (the key has a pass phrase: want a key without one)"
		}
		return nil, fmt.Errorf("cannot load certificate %q with key %q: %w%s", files.Cert, files.Key, err, hint)
	}
	return &content, nil
}

// index builds the table anew.
func (c *certificates) index() {
	t := &certificateTable{byName: make(map[string][]*tls.Certificate)}
	for _, p := range c.pairs {
		t.leaves = append(t.leaves, leaf{p.content.Leaf, p.files.Cert})
		for _, name := range p.names() {
			t.byName[name] = append(t.byName[name], p.content)
		}
	}
	t.first = []*tls.Certificate{c.pairs[0].content}
	if names := c.pairs[0].names(); len(names) > 0 {
		t.first = t.byName[names[0]]
	}
	c.table.Store(t)
}

// names are the host names that the certificate is for, in lower case; none if it is for addresses alone.
func (p *pair) names() []string {
	leaf := p.content.Leaf
	if len(leaf.DNSNames) == 0 && leaf.Subject.CommonName != "" {
		return []string{strings.ToLower(leaf.Subject.CommonName)}
	}
	names := slices.Clone(leaf.DNSNames)
	for i, name := range names {
		names[i] = strings.ToLower(name)
	}
	return names
}

// prepareStaples asks what authorities say of the certificates in files, before clients do.
func (s *settings) prepareStaples() {
	if s.staples == nil || s.certificates == nil {
		return
	}
	for _, p := range s.certificates.pairs {
		s.staples.Prepare(p.content)
	}
}

// isFromFile says whether a certificate is in use that is in a file.
func (l *Listener) isFromFile(leaf *x509.Certificate) bool {
	for _, used := range l.Certificates() {
		if used == leaf {
			return true
		}
	}
	return false
}

// choose finds the certificate for the name that the client asks for (SNI,
// RFC 6066 section 3): one with exactly that name, else one with the wildcard
// for it, else the first. Of several for the same name (say RSA and ECDSA) the first that the
// client can use is taken.
func (c *certificates) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	if found := c.chooseExact(hello); found != nil {
		return found
	}
	return c.forOthers(hello)
}

// forOthers finds the certificate for a name that none of them has.
func (c *certificates) forOthers(hello *tls.ClientHelloInfo) *tls.Certificate {
	return usable(hello, c.table.Load().first)
}

// chooseExact is choose without the first certificate for other names: it returns nil for those.
func (c *certificates) chooseExact(hello *tls.ClientHelloInfo) *tls.Certificate {
	t := c.table.Load()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if found := usable(hello, t.byName[name]); found != nil {
		return found
	}
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		if found := usable(hello, t.byName["*"+name[dot:]]); found != nil {
			return found
		}
	}
	return nil
}

// usable returns the first of list that the client supports, the first if it
// supports none, or nil if the list is empty.
func usable(hello *tls.ClientHelloInfo, list []*tls.Certificate) *tls.Certificate {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	asked := *hello
	asked.ServerName = "" // SupportsCertificate would want it in the certificate
	for _, c := range list {
		if asked.SupportsCertificate(c) == nil {
			return c
		}
	}
	return list[0]
}

// Certificates yields the files and the leaves of the certificates in use. The leaves are
// shared: do not change them.
func (l *Listener) Certificates() iter.Seq2[string, *x509.Certificate] {
	return func(yield func(string, *x509.Certificate) bool) {
		c := l.settings.Load().certificates
		if c == nil {
			return
		}
		for _, leaf := range c.table.Load().leaves {
			if !yield(leaf.file, leaf.Certificate) {
				return
			}
		}
	}
}
