package cli

import (
	"cmp"
	"net/netip"
	"slices"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
)

// The addresses of weir run --domain where nothing else is said.
const (
	secureAddress = ":443"
	plainAddress  = ":80"
)

// secured makes the listeners of a configuration speak TLS for the names in domains, and adds one that
// sends clients there.
func secured(c *urfave.Command, cfg *config.Config, domains []string) error {
	kind := config.IssuerACME
	switch local := slices.IndexFunc(domains, isLocal); {
	case local >= 0 && !slices.ContainsFunc(domains, func(name string) bool { return !isLocal(name) }):
		kind = config.IssuerInternal
	case local >= 0:
		return usage("--domain: found the local name %q beside names of the internet: want either", domains[local])
	}
	for i := range cfg.Listeners {
		cfg.Listeners[i].Issuer, cfg.Listeners[i].Domains = kind, domains
	}
	plain := config.DefaultListener()
	plain.Name, plain.HTTPSRedirect = "http", true
	if err := plain.Address.UnmarshalText([]byte(c.String(flagRedirectFrom))); err != nil {
		return usage("--%s: found %q: want %w", flagRedirectFrom, c.String(flagRedirectFrom), err)
	}
	cfg.Listeners = append(cfg.Listeners, plain)
	own := &cfg.Certificates
	own.Email, own.Storage, own.CARoots = c.String(flagEmail), c.String(flagStorage), c.String(flagACMERoots)
	own.CA = cmp.Or(c.String(flagACME), own.CA)
	return nil
}

// isLocal says whether a name is for the CA of weir's own: no CA of the internet gives a certificate for it, or it is an
// address.
func isLocal(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || config.IsLocalName(name)
}
