package forward_test

import (
	"testing"

	"net/netip"

	"weir/config"
	"weir/internal/forward"
	"weir/internal/head"
)

// Every key that is a template is checked, against the names that have a value there.
func TestCheckRoute(t *testing.T) {
	check := func(r config.Route, want string, captures ...string) {
		t.Helper()
		if got := forward.CheckRoute(&r, captures).Error(); got != want {
			t.Errorf("problems:\n%s\nwant\n%s", got, want)
		}
	}
	redirect := func(to string) config.Route {
		return config.Route{Redirect: &config.Redirect{To: config.MustTemplate(to)}}
	}
	const (
		common = "client_addr, client_port, client_subject, client_issuer, client_serial, client_fingerprint, client_sans, client_certificate, client_verified, auth_user, host, hostname, path, query, search, method, scheme, request_id, trace_id, route"
		first  = `: want a "/", {path} or a scheme and a host before what the client chooses, which could name another site`
		end    = `: want a "/" after the host: what the client chooses would become the end of the host`
	)
	check(redirect("https://{nope}{path}"), "redirect.to: unknown variable {nope}: want "+common)
	check(redirect("/{upstream}/{uri}"), "redirect.to: {upstream} has no value here: want "+common+"\n"+
		"redirect.to: unknown variable {uri}: want "+common)
	check(redirect("/{host}"), "redirect.to: {host} is both a variable and a capture of the path: want another name for the capture", "host")
	check(config.Route{Rewrite: config.MustTemplate("/{upstream}{target}")}, "rewrite: {target} has no value here: want "+common+", upstream")
	check(config.Route{Rewrite: config.MustTemplate("/{nope}")}, "rewrite: unknown variable {nope}: want "+common+", upstream, or a capture of the route's path: a", "a")
	check(config.Route{RequestHeaders: config.HeaderRules{Set: templates("X", "{nope}")}}, "request_headers.set.X: unknown variable {nope}: want "+common+", upstream, target")
	check(config.Route{ResponseHeaders: config.HeaderRules{Add: templates("X", "{nope}")}}, "response_headers.add.X: unknown variable {nope}: want "+common+", upstream, target")
	// A Location whose site the client chooses.
	for _, to := range []string{"{rest}", "{rest}/x", "{query}"} {
		check(redirect(to), `redirect.to: found "`+to+`"`+first, "rest")
	}
	for _, to := range []string{"https://example.org{rest}", "https://{rest}", "//example.{rest}", "{scheme}://example.org:{rest}/", "https://{rest}?x"} {
		check(redirect(to), `redirect.to: found "`+to+`"`+end, "rest")
	}
	check(redirect("https:///x"), `redirect.to: found "https:///x": want a host after "//"`)
	check(redirect("https://{path}"), `redirect.to: found "https://{path}": want a host after "//"`)
	// Those that name their site.
	for _, to := range []string{
		"/", "/{rest}", "{path}", "{path}{search}", "https://{host}{path}", "{scheme}://{hostname}:8443{path}", "//{host}/x",
		"https://{rest}.example.org/", "https://{rest}.example.org", "https://example.org?{query}", "/go?to=https://{rest}",
		"?lang=de", "#top", "mailto:{rest}@example.org",
	} {
		check(redirect(to), "", "rest")
	}
	// Those that were meant to.
	for _, to := range []string{"foo", "example.org/x", "{hostname}/x", "localhost:8080/x", "example.org:8443{path}", "sub/{rest}//{rest}"} {
		check(redirect(to), `redirect.to: found "`+to+`": want a "/" or {path} first, or a scheme and a host, as in "https://example.org/"`, "rest")
	}
}

func TestScheme(t *testing.T) {
	f, err := forward.NewForwarder(config.Forwarding{TrustedProxies: []config.Prefix{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}})
	if err != nil {
		t.Fatal(err)
	}
	check := func(peer string, tls bool, fields, want string) {
		t.Helper()
		for kind, make := range requests {
			var h *head.Head = make(t, "Host: a"+fields)
			p := forward.NewPeer(netip.MustParseAddrPort(peer), tls)
			if got := string(f.Scheme(h, &p)); got != want {
				t.Errorf("%s: %s %t %q: %s, want %s", kind, peer, tls, fields, got, want)
			}
		}
	}
	const trusted, other = "10.1.2.3:1", "192.0.2.1:1"
	check(trusted, false, "", "http")
	check(trusted, true, "", "https")
	check(trusted, false, "\nX-Forwarded-Proto: https", "https")
	check(trusted, true, "\nX-Forwarded-Proto: http", "http")
	check(trusted, false, "\nX-Forwarded-Proto: HTTPS , http", "https")
	check(trusted, false, "\nX-Forwarded-Proto: wss", "https")
	check(trusted, true, "\nX-Forwarded-Proto: ws", "http")
	check(trusted, false, "\nX-Forwarded-Proto: ftp", "http")
	check(trusted, false, "\nX-Forwarded-Proto: , https", "http")
	check(trusted, false, "\nX-Forwarded-For: 1.2.3.4", "http")
	check(trusted, false, "\nForwarded: for=1.2.3.4;Proto=\"https\";host=a, proto=http", "https")
	check(trusted, false, "\nForwarded: proto=https\nX-Forwarded-Proto: http", "http")
	check(other, false, "\nX-Forwarded-Proto: https", "http")
	check(other, true, "\nX-Forwarded-Proto: http\nForwarded: proto=http", "https")
}
