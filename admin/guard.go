package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"weir/config"
)

// policy is the Content-Security-Policy of all that the address answers: what is loaded comes from
// here, nothing stands inside of pages, no text becomes a program.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// protect sets the fields that keep browsers from doing more with an answer than to show it.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// checkOrigin refuses what a page of elsewhere makes a browser send, or a name that such a page has
// given to this address.
func (a *api) checkOrigin(r *http.Request) error {
	if err := a.checkHost(r); err != nil {
		return err
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		scheme := "http://"
		if r.TLS != nil {
			scheme = "https://"
		}
		if !strings.EqualFold(origin, scheme+r.Host) {
			return fmt.Errorf("found origin %q: want none, or that of the page here, because pages of elsewhere may not use this API", origin)
		}
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if r.Method == http.MethodPost && kind != "application/json" {
			return fmt.Errorf("found Content-Type %q: want \"application/json\"", r.Header.Get("Content-Type"))
		}
	}
	// Browsers say here what site the page is from that makes the request. A page of any site
	// may have a link to weir's.
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "" || site == "same-origin" || site == "none":
	case r.Method == http.MethodGet && isPage(r.URL.Path) && r.Header.Get("Sec-Fetch-Mode") == "navigate":
	default:
		return fmt.Errorf("found Sec-Fetch-Site %q: pages of elsewhere may not use this API", site)
	}
	return nil
}

// checkHost refuses requests for names that are not this machine's: a page on the web whose name its owner
// makes an address of this machine (DNS rebinding) could use the API through a browser. Browsers
// do not reach unix sockets.
func (a *api) checkHost(r *http.Request) error {
	if _, tcp := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); !tcp || local(r.Host) {
		return nil
	}
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	for _, known := range a.access().hosts {
		if strings.EqualFold(strings.TrimSuffix(name, "."), known) {
			return nil
		}
	}
	return fmt.Errorf("found host %q: want localhost, an address, or one of admin.hosts", r.Host)
}

// identify says who sends a request.
func (a *api) identify(r *http.Request) *caller {
	access := a.access()
	if access.open() {
		return &caller{Role: config.RoleWrite, By: "address"}
	}
	if secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if t := access.find(secret); t != nil {
			return &caller{Role: t.role, Name: t.name, Login: true, By: "token"}
		}
		a.warn(r, errWrongToken)
		return &caller{Login: len(access.tokens) > 0}
	}
	if c, err := r.Cookie(cookieName(r)); err == nil {
		if t := a.sessions.find(c.Value, access, time.Now()); t != nil {
			return &caller{Role: t.role, Name: t.name, Login: true, By: "token"}
		}
	}
	if r.TLS != nil {
		if c := access.certified(r.TLS.PeerCertificates); c != nil {
			return c
		}
	}
	return &caller{Login: len(access.tokens) > 0}
}

var errNoToken = errors.New("found no token: want one in the field Authorization: Bearer TOKEN, or a certificate of admin.client_ca")

// authorize says whether the sender of a request may have a role; if not it has answered.
func (a *api) authorize(w http.ResponseWriter, r *http.Request, role string) (*caller, bool) {
	who := a.identify(r)
	switch {
	case role == "" || who.may(role):
		return who, true
	case who.Role == "":
		w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
		fail(w, http.StatusUnauthorized, errNoToken)
	default:
		err := fmt.Errorf("found role %q of %q: want %q", who.Role, who.Name, role)
		a.warn(r, err)
		fail(w, http.StatusForbidden, err)
	}
	return who, false
}

// warnEvery bounds how often refusals are logged, which anyone can bring about.
const warnEvery = time.Second

// warn logs a refusal.
func (a *api) warn(r *http.Request, err error) {
	now := time.Now().UnixNano()
	if last := a.warned.Load(); now-last < int64(warnEvery) || !a.warned.CompareAndSwap(last, now) {
		return
	}
	a.log.Warn("the admin API has refused a request", "error", err, "method", r.Method, "path", r.URL.Path, "from", from(r))
}

// peerKey is the key of what WithPeer notes.
type peerKey struct{}

// WithPeer notes who is at the other end of a connection that has no address.
func WithPeer(ctx context.Context, peer string) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

// from is where a request comes from.
func from(r *http.Request) string {
	if peer, ok := r.Context().Value(peerKey{}).(string); ok {
		return peer
	}
	return r.RemoteAddr
}

// changeKey is the key of the attributes of a change in the context of its request.
type changeKey struct{}

// describe says for the log what a request changes.
func describe(r *http.Request, attributes ...any) {
	if list, ok := r.Context().Value(changeKey{}).(*[]any); ok {
		*list = append(*list, attributes...)
	}
}

// change serves a request that may change something, and logs it: what, who, and from where.
func (a *api) change(w http.ResponseWriter, r *http.Request, who *caller, serve func(http.ResponseWriter, *http.Request)) {
	var attributes []any
	noted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	if r.URL.RawQuery != "" { // ignored, a filter or a time to live would do more than was asked for
		serve = func(w http.ResponseWriter, r *http.Request) {
			fail(w, http.StatusBadRequest, fmt.Errorf("found the query %q: want none, what a %s says is in its body", r.URL.RawQuery, r.Method))
		}
	}
	serve(noted, r.WithContext(context.WithValue(r.Context(), changeKey{}, &attributes)))
	level := slog.LevelInfo
	if noted.status >= 400 {
		level = slog.LevelWarn
	}
	a.log.Log(r.Context(), level, "admin: "+r.Method+" "+r.URL.Path, append(attributes, "status", noted.status, "by", who.By, "name", who.Name, "from", from(r))...)
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
