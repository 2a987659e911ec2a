package lb

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"weir/config"
)

// StickyCookie writes and names the cookie that sends a client back to the
// target that answered it before. It is immutable.
type StickyCookie struct {
	name   string
	attrs  string
	secure string
}

// Sticky returns the upstream's cookie, or nil if it has none.
func (u *Upstream) Sticky() *StickyCookie { return u.sticky }

// Name returns the cookie's name, whose value in a request belongs into Pick.Sticky.
func (s *StickyCookie) Name() string { return s.name }

// AppendSetCookie appends the value of a Set-Cookie field that makes the client
// come back to t. https says that the client's scheme is https. It is not needed if the
// client sent t.Cookie() already.
func (s *StickyCookie) AppendSetCookie(dst []byte, t *Target, https bool) []byte {
	dst = append(dst, s.name...)
	dst = append(dst, '=')
	dst = append(dst, t.cookie...)
	dst = append(dst, s.attrs...)
	if s.secure == "always" || s.secure == "auto" && https {
		dst = append(dst, "; Secure"...)
	}
	return dst
}

// Cookie returns the value of the sticky cookie that stands for t; empty if
// there is none.
func (t *Target) Cookie() string { return t.cookie }

// newStickyCookie returns the cookie of cfg, or nil if there is none.
func newStickyCookie(cfg *config.Sticky) *StickyCookie {
	if cfg.Cookie == "" {
		return nil
	}
	s := &StickyCookie{name: cfg.Cookie, secure: cfg.Secure}
	if cfg.Path != "" {
		s.attrs += "; Path=" + cfg.Path
	}
	if cfg.MaxAge > 0 {
		s.attrs += "; Max-Age=" + strconv.Itoa(int(cfg.MaxAge.D().Seconds()))
	}
	if cfg.HTTPOnly {
		s.attrs += "; HttpOnly"
	}
	switch cfg.SameSite {
	case "lax":
		s.attrs += "; SameSite=Lax"
	case "strict":
		s.attrs += "; SameSite=Strict"
	case "none":
		s.attrs += "; SameSite=None"
	}
	return s
}

// cookieValue returns what stands for url in a cookie: no address is readable
// from it, and without the secret none can be guessed either.
func cookieValue(cfg *config.Sticky, upstream, url string) string {
	mac := hmac.New(sha256.New, []byte(cfg.Secret))
	mac.Write([]byte(upstream + "\n" + url))
	return hex.EncodeToString(mac.Sum(nil)[:12])
}
