package admin

import (
	"net/http"
	"net/url"
	"strings"
)

// policy is what browsers may do with anything from this address: load the page's own
// files and ask the API; nothing that is captured or stored can run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; manifest-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// secure tells browsers what they may do with an answer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// foreign says whether a page of another origin has sent a request. Browsers send Origin
// with every POST.
func foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return err != nil || u.Scheme != scheme || !strings.EqualFold(u.Host, r.Host)
}

// wantsPage says whether a browser was sent to the address itself.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func (a api) page(w http.ResponseWriter, r *http.Request) { a.files.ServeHTTP(w, r) }
