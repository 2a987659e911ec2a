package secure

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"weir/config"
)

// Revocation has lists of certificates that their authorities have revoked (CRLs, RFC 5280 section
// 5). The nil Revocation revokes nothing. Its methods may be called from any goroutine.
type Revocation struct {
	lists []*revocationList

	mu sync.Mutex
	// signed are the lists of each issuer, whose certificate is the key, with its signature verified.
	signed map[string][]*revocationList
}

// revocationList is one list.
type revocationList struct {
	*x509.RevocationList
	serials map[string]bool
	scope   distributionPoint
	point   []byte // the extension that scope comes from
}

// distributionPoint is what a list is for (RFC 5280 section 5.2.5).
type distributionPoint struct {
	Point          asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyCAs        bool           `asn1:"optional,tag:2"`
	Reasons        asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

var (
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidDelta             = asn1.ObjectIdentifier{2, 5, 29, 27}
)

// LoadRevocation reads a file of lists, several in PEM or one in DER; nil if path is empty.
func LoadRevocation(path string) (*Revocation, error) {
	if path == "" {
		return nil, nil
	}
	data, err := config.ReadPEM(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read revocation lists: %w", err)
	}
	r := &Revocation{signed: make(map[string][]*revocationList)}
	add := func(der []byte) error {
		l, err := parseRevocationList(der)
		if err != nil {
			return fmt.Errorf("cannot use %q: list %d: %w", path, len(r.lists)+1, err)
		}
		r.lists = append(r.lists, l)
		return nil
	}
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		return r, add(data)
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("cannot use %q: found a block %q: want \"X509 CRL\"", path, block.Type)
		}
		if err := add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if len(r.lists) == 0 {
		return nil, fmt.Errorf("cannot use %q: no revocation list in it", path)
	}
	return r, nil
}

func parseRevocationList(der []byte) (*revocationList, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	l := &revocationList{RevocationList: parsed, serials: make(map[string]bool)}
	for _, e := range parsed.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return nil, errors.New("it is a delta: want a whole list")
		case e.Id.Equal(oidDistributionPoint):
			if rest, err := asn1.Unmarshal(e.Value, &l.scope); err != nil || len(rest) > 0 {
				return nil, errors.New("its issuing distribution point cannot be read")
			}
			l.point = e.Value
		case e.Critical:
			return nil, fmt.Errorf("it has the critical extension %s, which weir does not know", e.Id)
		}
	}
	if s := &l.scope; s.Indirect || s.OnlyAttributes || s.Reasons.BitLength > 0 {
		return nil, errors.New("it is indirect, for attributes or for some reasons only: want a list of all that its issuer has revoked")
	}
	for _, e := range parsed.RevokedCertificateEntries {
		l.serials[serialKey(e.SerialNumber)] = true
	}
	// What Check needs is in serials.
	parsed.RevokedCertificateEntries = nil
	parsed.RevokedCertificates = nil //lint:ignore SA1019 it holds the entries a second time
	return l, nil
}

func serialKey(n *big.Int) string { return string(n.Append(nil, 62)) }

// Check says why none of the chains, each from a certificate to an authority, is good at the time now: all
// certificates of a chain but the authority at its end must be in the scope of a list of their
// issuer, none of these lists may have ended, and none may have the certificate. That is what
// nginx asks for, too.
func (r *Revocation) Check(chains [][]*x509.Certificate, now time.Time) error {
	if r == nil {
		return nil
	}
	err := errors.New("no chain of certificates was verified")
	for _, chain := range chains {
		if err = r.checkChain(chain, now); err == nil {
			return nil
		}
	}
	return err
}

func (r *Revocation) checkChain(chain []*x509.Certificate, now time.Time) error {
	for i := range len(chain) - 1 {
		if err := r.checkOne(chain[i], chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

func (r *Revocation) checkOne(c, issuer *x509.Certificate, now time.Time) error {
	found := false
	for _, l := range r.of(issuer) {
		if l.scope.OnlyUsers && c.IsCA || l.scope.OnlyCAs && !c.IsCA {
			continue
		}
		found = true
		switch {
		case l.serials[serialKey(c.SerialNumber)]:
			return fmt.Errorf("the certificate %x of %q was revoked", c.SerialNumber, issuer.Subject)
		case now.Before(l.ThisUpdate):
			return fmt.Errorf("the revocation list of %q is not valid yet", issuer.Subject)
		case !l.NextUpdate.IsZero() && now.After(l.NextUpdate):
			return fmt.Errorf("the revocation list of %q has expired", issuer.Subject)
		}
	}
	if !found {
		return fmt.Errorf("there is no revocation list of %q", issuer.Subject)
	}
	return nil
}

// of returns the lists that an issuer has signed: of several for the same part of its certificates
// the newest.
func (r *Revocation) of(issuer *x509.Certificate) []*revocationList {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(issuer.Raw)
	if list, ok := r.signed[key]; ok {
		return list
	}
	var list []*revocationList
	for _, l := range r.lists {
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		same := func(o *revocationList) bool { return bytes.Equal(o.point, l.point) }
		if i := slices.IndexFunc(list, same); i < 0 {
			list = append(list, l)
		} else if list[i].ThisUpdate.Before(l.ThisUpdate) {
			list[i] = l
		}
	}
	r.signed[key] = list
	return list
}

// Ends yields the issuers of lists that end before the time by, and when.
func (r *Revocation) Ends(by time.Time, yield func(issuer pkix.Name, end time.Time)) {
	if r == nil {
		return
	}
	for _, l := range r.lists {
		newer := func(o *revocationList) bool {
			return bytes.Equal(o.RawIssuer, l.RawIssuer) && bytes.Equal(o.point, l.point) && o.ThisUpdate.After(l.ThisUpdate)
		}
		if !l.NextUpdate.IsZero() && l.NextUpdate.Before(by) && !slices.ContainsFunc(r.lists, newer) {
			yield(l.Issuer, l.NextUpdate)
		}
	}
}
