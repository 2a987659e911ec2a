package server

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"weir/config"
)

// likelyMistakes reports what is right by itself, and is hardly ever meant: everybody as a trusted proxy, variables of other programs in
// values, a fallback that is not there, an upstream that leads back to its route.
func likelyMistakes(cfg *config.Config) (warnings config.Errors) {
	for i, p := range cfg.Forwarding.TrustedProxies {
		if p.Bits() == 0 {
			text := fmt.Sprintf("%q is everybody, so any client can say what its address is: want the addresses of the proxies in front", p)
			warnings = append(warnings, warning(text, "forwarding", "trusted_proxies", i))
		}
	}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		warnings = append(warnings, borrowedVariables(r).Below("routes", i)...)
		if f := r.Files; f != nil && f.Fallback != "" {
			if _, err := os.Stat(filepath.Join(f.Root, filepath.FromSlash(f.Fallback))); err != nil {
				warnings = append(warnings, warning(fmt.Sprintf("%q is not in %q, so what is not there is answered with 404", f.Fallback, f.Root), "routes", i, "files", "fallback"))
			}
		}
		if u, ok := cfg.Upstreams[r.Upstream.String()]; ok {
			for k := range u.Targets {
				if l := leadsBack(cfg, r, u.Targets[k].Origin()); l != nil {
					text := fmt.Sprintf("%q is the listener %q of this file, whose requests come here again: want another target, or another listener for the route", u.Targets[k].URL, l.Label())
					warnings = append(warnings, warning(text, "routes", i, "upstream"))
				}
			}
		}
	}
	return warnings
}

// otherVariable are variables as nginx and HAProxy write them. A dollar sign alone, as in prices and hashes, does not match.
var otherVariable = regexp.MustCompile(`\$\{?(host|hostname|http_[a-z_]+|remote_(addr|port|user)|proxy_add_x_forwarded_for|scheme|request_(uri|method|id)|document_uri|uri|args|query_string|server_(name|port|addr)|ssl_[a-z_]+|arg_[a-z_]+|cookie_\w+|[1-9])\b|%\[[^\]]+\]`)

// borrowedVariables reports texts that another program would replace, and weir sends as they are.
func borrowedVariables(r *config.Route) (warnings config.Errors) {
	look := func(text string, key ...any) {
		if found := otherVariable.FindString(text); found != "" {
			warnings = append(warnings, warning(fmt.Sprintf("%q is sent as it stands: variables are written in braces, such as {host} and {client_addr}", found), key...))
		}
	}
	for _, table := range []struct {
		name  string
		rules config.HeaderRules
	}{{"request_headers", r.RequestHeaders}, {"response_headers", r.ResponseHeaders}} {
		for _, kind := range []struct {
			name   string
			values map[string]config.Template
		}{{"set", table.rules.Set}, {"add", table.rules.Add}} {
			for _, field := range slices.Sorted(maps.Keys(kind.values)) {
				look(kind.values[field].String(), table.name, kind.name, field)
			}
		}
	}
	look(r.Rewrite.String(), "rewrite")
	if r.Redirect != nil {
		look(r.Redirect.To.String(), "redirect", "to")
	}
	return warnings
}

// leadsBack returns the listener that a target of this origin is, if the route takes its requests: nil if there is none.
func leadsBack(cfg *config.Config, r *config.Route, target string) *config.Listener {
	scheme, authority, hasHost := strings.Cut(target, "://")
	authority, address, pinned := strings.Cut(authority, "#")
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if len(r.Listener) > 0 && !slices.Contains(r.Listener, l.Label()) || l.HTTPSRedirect {
			continue
		}
		if network, path := l.Address.Split(); network == "unix" {
			if target == "unix:"+path {
				return l
			}
			continue
		}
		if !hasHost {
			continue
		}
		host, port, err := net.SplitHostPort(string(l.Address))
		theirs, theirPort, theirErr := net.SplitHostPort(authority)
		if theirErr != nil { // without a port
			theirs, theirPort = strings.Trim(authority, "[]"), config.DefaultPort(scheme)
		}
		if pinned {
			theirs = address
		}
		if err == nil && port == theirPort && (scheme == "https") == l.Secure() && port != "0" &&
			sameMachine(host, theirs) {
			return l
		}
	}
	return nil
}

// sameMachine says whether a connection to a host comes to a listener, whose host is empty for all addresses.
func sameMachine(listener, host string) bool {
	mine, theirs := net.ParseIP(listener), net.ParseIP(host)
	if strings.EqualFold(listener, host) || mine != nil && mine.Equal(theirs) {
		return true
	}
	loopback := func(ip net.IP, name string) bool {
		return ip != nil && ip.IsLoopback() || strings.EqualFold(name, "localhost")
	}
	if listener == "" || mine != nil && mine.IsUnspecified() {
		return loopback(theirs, host)
	}
	// Two different loopback addresses are two places; "localhost" is any of them.
	return (mine == nil || theirs == nil) && loopback(mine, listener) && loopback(theirs, host)
}
