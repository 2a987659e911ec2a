package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// attempt is one try to get a certificate. certmagic would go on trying by itself, for a month and
// without telling; the first failure ends it.
type attempt struct {
	cancel   context.CancelFunc
	onDemand bool
	anew     bool              // see renewAnew
	revoked  *x509.Certificate // what it replaces; nil if that is not revoked
	err      error
}

type attemptKey struct{}

// newAttempt returns an attempt and its context.
func newAttempt(ctx context.Context, onDemand bool) (context.Context, *attempt) {
	a := &attempt{onDemand: onDemand}
	ctx, a.cancel = context.WithCancel(ctx)
	return context.WithValue(ctx, attemptKey{}, a), a
}

// fail ends an attempt.
func (a *attempt) fail(err error) {
	a.err = err
	a.cancel()
}

// result returns why an attempt failed, if it did.
func (a *attempt) result(err error) error {
	if a.err != nil {
		return a.err
	}
	return err
}

// event hears from certmagic. An error ends what it is about.
func (s *source) event(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	switch event {
	case "cached_managed_cert":
		names, _ := data["sans"].([]string)
		s.cached(names)
	case "cert_obtaining":
		return s.begins(ctx, name, renewal, a)
	case "cert_obtained":
		s.worked(name, renewal)
	case "cert_failed":
		err, _ := data["error"].(error)
		if problem, ok := errors.AsType[acme.Problem](err); ok {
			err = problem // without what certmagic was about to do
		}
		s.failed(name, renewal, err, a)
	}
	return nil
}

// begins hears that a CA is about to be asked. The lock of the name is held.
func (s *source) begins(ctx context.Context, name string, renewal bool, a *attempt) error {
	switch d := s.setup.Load().onDemand; {
	case a == nil:
	case a.anew && s.isRenewed(ctx, name, a.revoked):
		a.fail(errRenewed)
		return errRenewed
	case a.onDemand && !renewal && d != nil && !d.limit.allow(time.Now()):
		a.fail(errTooMany)
		return errTooMany
	}
	return nil
}

// worked hears that a CA has given a certificate.
func (s *source) worked(name string, renewal bool) {
	m := s.manager
	s.note(name, nil)
	if renewal {
		m.renewed.Add(1)
		m.log.Info("a certificate was renewed", "name", name, "tls", s.kind)
	} else {
		m.obtained.Add(1)
		m.log.Info("got a certificate", "name", name, "tls", s.kind)
	}
}

// failed hears why a CA has given none.
func (s *source) failed(name string, renewal bool, err error, a *attempt) {
	s.manager.failures.Add(1)
	if a == nil || !a.onDemand { // of names that anybody may choose nothing is kept
		s.note(name, err)
	}
	if a != nil {
		a.fail(err)
	}
	switch {
	case !renewal || a != nil && a.anew:
	case (isOrderRefused(err) || isAccountForgotten(err)) && s.setup.Load().anew != nil:
		s.manager.log.Debug("the CA refuses a renewal, it is asked for a certificate that replaces none", "name", name, "error", err)
		s.background(func() { s.renewAnew(name, nil) })
	default:
		s.warnRenewal(name, err)
	}
}

func (s *source) warnRenewal(name string, err error) {
	s.manager.log.Warn("cannot renew a certificate, the old one stays in use", "name", name, "tls", s.kind, "error", err)
}

// isOrderRefused says whether a CA has refused an order as such: not because of its rate, and not because it could
// not verify the name.
func isOrderRefused(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	return ok && problem.Resource == nil && problem.Type != acme.ProblemTypeRateLimited
}

// isAccountForgotten says whether an attempt failed because the CA does not know the account, as after it was
// made anew. certmagic then makes another account, orders with the old one once more, and says this in the end. The
// next attempt has the new account.
func isAccountForgotten(err error) bool { return err != nil && err.Error() == "no certificate chains" }

// errRenewed ends attempts for certificates that were renewed meanwhile.
var errRenewed = errors.New("the certificate was renewed meanwhile")

// renewAnew renews a certificate without telling the CA that it replaces the old one (RFC 9773 section 5), which
// is a reason to refuse the order: the old one may be of another account, or the CA has given a replacement
// that could not be stored. revoked is the old one if it is revoked.
func (s *source) renewAnew(name string, revoked *x509.Certificate) {
	setup := s.setup.Load()
	if setup.anew == nil {
		return
	}
	ctx, a := newAttempt(s.ctx, false)
	defer a.cancel()
	a.anew, a.revoked = true, revoked
	err := a.result(setup.anew.RenewCertAsync(ctx, name, true)) // even if it is only the CA that says when
	if err == nil || errors.Is(err, errRenewed) {
		_, err = s.load(s.ctx, setup, name)
	}
	if err != nil && s.ctx.Err() == nil {
		s.warnRenewal(name, err)
	}
}

// isRenewed says whether the storage has a certificate that needs no renewal, and is not the one that is revoked.
func (s *source) isRenewed(ctx context.Context, name string, revoked *x509.Certificate) bool {
	setup := s.setup.Load()
	cert, err := setup.config.CacheManagedCertificate(ctx, name)
	return err == nil && !cert.NeedsRenewal(setup.config) && (revoked == nil || !cert.Leaf.Equal(revoked))
}

// replaceRevoked renews a certificate that is revoked, if it is one of the source in use.
func (s *source) replaceRevoked(leaf *x509.Certificate) {
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		for _, cert := range s.cache.AllMatchingCertificates(name) {
			if cert.Leaf.Equal(leaf) {
				s.background(func() { s.renewAnew(name, leaf) })
				return
			}
		}
	}
}
