package server

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/config"
	"weir/internal/access"
	"weir/internal/accesslog"
	"weir/internal/listener"
	"weir/internal/output"
	"weir/internal/secure"
	"weir/internal/transport"
)

// CheckFiles reports what is wrong with the files that a configuration names, by loading
// them as a start does: certificates and keys that do not belong together, authorities
// without a certificate, access logs whose folder is missing. It is for config.Load,
// beside CheckParts, and opens nothing for writing.
func CheckFiles(cfg *config.Config) config.Errors {
	var problems config.Errors
	add := func(found config.Errors, parts ...any) { problems = append(problems, found.Below(parts...)...) }
	for i := range cfg.Listeners {
		for k, files := range cfg.Listeners[i].Certificates {
			if _, err := listener.LoadCertificate(files); err != nil {
				add(config.Errors{{Message: err.Error()}}, "listeners", i, "certificates", k)
			}
		}
		if _, err := secure.LoadSecrets(cfg.Listeners[i].Tickets.File); err != nil {
			add(config.Errors{{Message: err.Error()}}, "listeners", i, "tickets", "file")
		}
		if _, err := secure.LoadECH(cfg.Listeners[i].ECH); err != nil {
			add(config.Errors{{Message: err.Error()}}, "listeners", i, "ech")
		}
		if _, err := secure.LoadRevocation(cfg.Listeners[i].ClientCRL); err != nil {
			add(config.Errors{{Message: err.Error()}}, "listeners", i, "client_crl")
		}
		if _, err := listener.LoadClientCA(cfg.Listeners[i].ClientCA); err != nil {
			add(config.Errors{{Message: err.Error()}}, "listeners", i, "client_ca")
		}
	}
	for i := range cfg.Routes {
		if b := cfg.Routes[i].BasicAuth; b != nil && b.File != "" {
			if _, err := access.NewUsers(&config.BasicAuth{File: b.File}); err != nil {
				add(config.Errors{{Message: err.Error()}}, "routes", i, "basic_auth", "file")
			}
		}
	}
	for name := range cfg.Upstreams {
		u := cfg.Upstreams[name]
		add(transport.CheckTLS(&u), "upstreams", name)
	}
	add(output.CheckFile(cfg.Log.Output, "log"), "log")
	add(accesslog.CheckFile(&cfg.AccessLog), "access_log")
	return cfg.Locate(problems)
}

// expiryWarning is how long before its end a certificate is warned of.
const expiryWarning = 14 * 24 * time.Hour

// Warnings reports what works, but is most likely a mistake: upstreams that no route uses, keys that change nothing,
// certificates that are not valid at the time now, or soon will not be, hosts of
// routes that no certificate covers, and routes that let nobody in.
func Warnings(cfg *config.Config, now time.Time) config.Errors {
	certificates, covers := certificateWarnings(cfg, now)
	found := slices.Concat(weaknesses(cfg, now), unusedKeys(cfg), certificates, echWarnings(cfg, covers), routeWarnings(cfg, covers), likelyMistakes(cfg))
	warnings := slices.Concat(cfg.UnusedUpstreams(), cfg.UnmetTemplates(), cfg.Locate(found))
	slices.SortStableFunc(warnings, func(a, b config.Problem) int { return a.Line - b.Line })
	return warnings
}

// warning is a problem with what works.
func warning(text string, key ...any) config.Problem {
	return config.Problem{Key: config.Key(key...), Message: text}
}

// certificateWarnings reports certificates that are not valid, and names for which a CA gives none. covers says what
// each listener that speaks TLS has certificates for, by its label.
func certificateWarnings(cfg *config.Config, now time.Time) (warnings config.Errors, covers map[string]*coverage) {
	covers = make(map[string]*coverage)
	coverageOf := func(l *config.Listener) *coverage {
		if covers[l.Label()] == nil {
			covers[l.Label()] = newCoverage()
		}
		return covers[l.Label()]
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		for k, files := range l.Certificates {
			c, err := listener.LoadCertificate(files)
			if err != nil {
				continue // an error of CheckFiles
			}
			if text := judgeExpiry(c.Leaf.NotBefore, c.Leaf.NotAfter, now); text != "" {
				warnings = append(warnings, warning(fmt.Sprintf("certificate %q %s", files.Cert, text), "listeners", i, "certificates", k))
			}
			coverageOf(l).add(namesOf(c.Leaf))
		}
		for _, name := range cfg.UnlikelyDomains(l) {
			text := fmt.Sprintf("no CA of the internet gives a certificate for %q: want tls = \"internal\", or a CA of your own in certificates.ca", name)
			warnings = append(warnings, warning(text, "listeners", i, "tls"))
		}
		if l.Issuer != "" {
			coverageOf(l).add(cfg.Domains(l))
			coverageOf(l).all = l.Issuer == config.IssuerACME && cfg.Certificates.OnDemand.Ask != ""
		}
	}
	return warnings, covers
}

// echWarnings reports public names of Encrypted Client Hello that no certificate of their listener covers.
func echWarnings(cfg *config.Config, covers map[string]*coverage) (warnings config.Errors) {
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		keys, err := secure.LoadECH(l.ECH)
		if err != nil {
			continue // an error of CheckFiles
		}
		for _, key := range keys {
			if c := covers[l.Label()]; c == nil || !c.covers(key.PublicName) {
				text := fmt.Sprintf("no certificate covers %q, its public name: clients with an old key could not learn the new one", key.PublicName)
				warnings = append(warnings, warning(text, "listeners", i, "ech"))
			}
		}
	}
	return warnings
}

// routeWarnings reports hosts of routes that no certificate covers, and files of passwords without users.
func routeWarnings(cfg *config.Config, covers map[string]*coverage) (warnings config.Errors) {
	for i := range cfg.Routes {
		for k, host := range cfg.Routes[i].Host {
			if !covered(&cfg.Routes[i], host, covers) {
				warnings = append(warnings, warning(fmt.Sprintf("no certificate covers %q", host), "routes", i, "host", k))
			}
		}
		c := cfg.Routes[i].BasicAuth
		if c == nil {
			continue
		}
		if users, err := access.NewUsers(c); err == nil && users.Len() == 0 {
			warnings = append(warnings, warning(fmt.Sprintf("%q has no users, so nobody is let in", c.File), "routes", i, "basic_auth"))
		}
	}
	return warnings
}

// expiryDay is how messages write the end of what expires.
const expiryDay = "2006-01-02 15:04 UTC"

// judgeExpiry says what is wrong with the time of a certificate; it is empty for a good one.
func judgeExpiry(begin, end, now time.Time) string {
	switch {
	case now.Before(begin):
		return "is not valid before " + begin.UTC().Format(expiryDay)
	case now.After(end):
		return "has expired on " + end.UTC().Format(expiryDay)
	case end.Sub(now) < min(expiryWarning, end.Sub(begin)/3): // short-lived ones are renewed late
		return "expires on " + end.UTC().Format(expiryDay)
	}
	return ""
}

// covered says whether a listener that speaks TLS, and that a route is for, has a
// certificate for a host of it; true if there is no such listener.
func covered(r *config.Route, host string, covers map[string]*coverage) bool {
	asked := false
	for label, c := range covers {
		if len(r.Listener) > 0 && !slices.Contains(r.Listener, label) {
			continue
		}
		if asked = true; c.covers(host) {
			return true
		}
	}
	return !asked || r.Scheme == "http"
}

// coverage is what the certificates of a listener are for.
type coverage struct {
	names    map[string]bool // in lower case; wildcards as "*.example.org"
	suffixes map[string]bool // ".example.org" for names that end so
	all      bool            // any name gets one on demand
}

func newCoverage() *coverage {
	return &coverage{names: map[string]bool{}, suffixes: map[string]bool{}}
}

// namesOf returns what a certificate is for.
func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{leaf.Subject.CommonName}
	}
	return names
}

func (c *coverage) add(names []string) {
	for _, name := range names {
		name = strings.ToLower(name)
		c.names[name] = true
		for i := range len(name) {
			if name[i] == '.' {
				c.suffixes[name[i:]] = true
			}
		}
	}
}

// covers says whether there is a certificate for a host of a route; for "*.example.org"
// one for any name that it fits is enough.
func (c *coverage) covers(host string) bool {
	if c.all {
		return true
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if rest, wildcard := strings.CutPrefix(host, "*"); wildcard {
		return c.suffixes[rest]
	}
	if c.names[host] {
		return true
	}
	_, parent, ok := strings.Cut(host, ".")
	return ok && c.names["*."+parent]
}

// eachCertificate calls f with each certificate in use, in the order of the listeners'
// names.
func (s *Server) eachCertificate(f func(listener, file string, leaf *x509.Certificate)) {
	s.mu.Lock()
	list := make([]*running, 0, len(s.listeners))
	for _, r := range s.listeners {
		list = append(list, r)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *running) int { return strings.Compare(a.Name(), b.Name()) })
	for _, r := range list {
		for file, leaf := range r.Certificates() {
			f(r.Name(), file, leaf)
		}
	}
}
