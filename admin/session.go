package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"weir/config"
)

// caller is the client of a request to the API.
type caller struct {
	// Role is "read", "write", or empty for a caller who may do nothing yet.
	Role string `json:"role"`
	Name string `json:"name"`
	// Login says that tokens are asked for.
	Login bool `json:"login"`
	// By says how the caller was known: "address", "token" or "certificate".
	By string `json:"by"`
}

// may says whether the caller has a role, or one above it.
func (c *caller) may(role string) bool { return c.Role == role || c.Role == config.RoleWrite }

// sessions are the logins of browsers, which show a cookie in place of a token. They end at a
// restart.
type sessions struct {
	mu   sync.Mutex
	list map[[sha256.Size]byte]session // by the hash of the cookie
}

type session struct {
	token [sha256.Size]byte
	ends  time.Time
}

// The bounds of sessions.
const (
	sessionTime = 12 * time.Hour
	maxSessions = 1000
)

// begin makes a session for a token, and returns the value of its cookie.
func (s *sessions) begin(t *token, now time.Time) string {
	value := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = make(map[[sha256.Size]byte]session)
	}
	for key, old := range s.list {
		if len(s.list) >= maxSessions || now.After(old.ends) {
			delete(s.list, key)
		}
	}
	s.list[sha256.Sum256([]byte(value))] = session{t.sum, now.Add(sessionTime)}
	return value
}

// find returns the token of a session, if that is still in the configuration.
func (s *sessions) find(value string, a *Access, now time.Time) *token {
	s.mu.Lock()
	found, ok := s.list[sha256.Sum256([]byte(value))]
	s.mu.Unlock()
	if !ok || now.After(found.ends) {
		return nil
	}
	for i := range a.tokens {
		if a.tokens[i].sum == found.token {
			return &a.tokens[i]
		}
	}
	return nil
}

func (s *sessions) end(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, sha256.Sum256([]byte(value)))
}

// cookieName is that of the session's cookie. Cookies do not know ports, so the name has the
// port.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "weir-session_" + port
	}
	return "weir-session"
}

func sessionCookie(r *http.Request, value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil, MaxAge: int(age.Seconds()),
	}
	if age == 0 {
		c.MaxAge = -1
	}
	return c
}

func (a *api) session(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, a.identify(r))
}

var errWrongToken = errors.New("found a wrong token")

func (a *api) login(w http.ResponseWriter, r *http.Request) {
	var secret string
	if err := decode(r.Body, map[string]any{"token": &secret}); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	t := a.access().find(secret)
	if t == nil {
		a.warn(r, errWrongToken)
		fail(w, http.StatusUnauthorized, errWrongToken)
		return
	}
	http.SetCookie(w, sessionCookie(r, a.sessions.begin(t, time.Now()), sessionTime))
	answer(w, http.StatusOK, caller{Role: t.role, Name: t.name, Login: true, By: "token"})
}

func (a *api) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName(r)); err == nil {
		a.sessions.end(c.Value)
	}
	http.SetCookie(w, sessionCookie(r, "", 0))
	answer(w, http.StatusOK, caller{Login: len(a.access().tokens) > 0})
}
