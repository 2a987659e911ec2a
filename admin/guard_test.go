package admin_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weir/admin"
	"weir/config"
)

const (
	readSecret  = "a-token-that-may-look-0123456789"
	writeSecret = "a-token-that-may-write-0123456789"
)

// tokens are those of two clients, in files of their own.
func tokens(t *testing.T) []config.AdminToken {
	t.Helper()
	folder := t.TempDir()
	file := func(name, secret string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return []config.AdminToken{
		{Name: "grafana", Role: config.RoleRead, File: file("read", readSecret)},
		{Name: "ops", Role: config.RoleWrite, File: file("write", writeSecret)},
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// guarded is an API with what its configuration says about access.
type guarded struct {
	*httptest.Server
	t      *testing.T
	access *admin.Access
	log    lines
}

func guard(t *testing.T, cfg config.Admin) *guarded {
	t.Helper()
	g := &guarded{t: t}
	g.use(cfg)
	g.Server = httptest.NewServer(admin.Handler(new(fake), admin.Options{
		Access: func() *admin.Access { return g.access },
		Log:    slog.New(slog.NewTextHandler(&g.log, nil)),
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *guarded) use(cfg config.Admin) {
	g.t.Helper()
	access, err := admin.NewAccess(&cfg, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	g.access = access
}

// send makes a request by client, with fields, and checks the status and a part of the body.
func (g *guarded) send(client *http.Client, method, path, body string, status int, want string, fields ...string) *http.Response {
	g.t.Helper()
	r, err := http.NewRequest(method, g.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	response, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if response.StatusCode != status || !strings.Contains(string(text), want) {
		g.t.Errorf("%s %s %v: %d %s, want %d %s", method, path, fields, response.StatusCode, text, status, want)
	}
	return response
}

// plain follows no redirects and keeps no cookies.
var plain = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

const purgeAll = `{"all":true}`

// Tokens have roles; each change is logged with who made it, and no secret.
func TestTokens(t *testing.T) {
	t.Parallel()
	g := guard(t, config.Admin{Tokens: tokens(t)})
	g.send(plain, "GET", "/status", "", 401, "found no token")
	g.send(plain, "POST", "/purge", purgeAll, 401, "found no token")
	g.send(plain, "GET", "/debug/pprof/", "", 401, "found no token")
	g.send(plain, "GET", "/status", "", 401, "found no token", "Authorization: Bearer "+readSecret+"x")
	g.send(plain, "GET", "/status", "", 401, "found no token", "Authorization: Basic "+readSecret)
	g.send(plain, "GET", "/status", "", 200, "serving", "Authorization: Bearer "+readSecret)
	g.send(plain, "POST", "/purge", purgeAll, 403, `found role \"read\" of \"grafana\": want \"write\"`, "Authorization: Bearer "+readSecret)
	g.send(plain, "POST", "/purge", purgeAll, 200, "purged", "Authorization: Bearer "+writeSecret)
	g.send(plain, "GET", "/session", "", 200, `{"role":"","name":"","login":true,"by":""}`)
	g.send(plain, "GET", "/session", "", 200, `{"role":"read","name":"grafana","login":true,"by":"token"}`, "Authorization: Bearer "+readSecret)
	log := g.log.String()
	for _, want := range []string{`msg="admin: POST /purge" all="" soft=false status=200 by=token name=ops from=127.0.0.1:`, "level=WARN"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "0123456789") {
		t.Errorf("the log has a token:\n%s", log)
	}
	// A reload that takes the token away takes the role away.
	g.use(config.Admin{Tokens: tokens(t)[:1]})
	g.send(plain, "POST", "/purge", purgeAll, 401, "found no token", "Authorization: Bearer "+writeSecret)
}

// A browser logs in once and shows a cookie that scripts cannot read.
func TestSession(t *testing.T) {
	t.Parallel()
	g := guard(t, config.Admin{Tokens: tokens(t)})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	origin, kind := "Origin: "+g.URL, "Content-Type: application/json"
	login := func(secret string) string {
		text, _ := json.Marshal(map[string]string{"token": secret})
		return string(text)
	}
	g.send(browser, "POST", "/login", login("wrong"), 401, "wrong token", origin, kind)
	g.send(browser, "GET", "/status", "", 401, "found no token")
	response := g.send(browser, "POST", "/login", login(writeSecret), 200, `"role":"write","name":"ops"`, origin, kind)
	cookie := response.Header.Get("Set-Cookie")
	for _, want := range []string{"weir-session_", "HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie is %q, and lacks %s", cookie, want)
		}
	}
	if strings.Contains(cookie, writeSecret) {
		t.Errorf("the cookie has the token: %q", cookie)
	}
	g.send(browser, "GET", "/status", "", 200, "serving")
	g.send(browser, "POST", "/purge", purgeAll, 200, "purged", origin, kind)
	// A form of a page of elsewhere, should a browser send the cookie with it.
	g.send(browser, "POST", "/purge", purgeAll, 403, "pages of elsewhere", "Origin: http://elsewhere.example", kind)
	g.send(browser, "POST", "/purge", purgeAll, 403, `want \"application/json\"`, origin, "Content-Type: text/plain")
	g.send(browser, "POST", "/purge", purgeAll, 403, "pages of elsewhere", "Sec-Fetch-Site: same-site", kind)
	g.send(browser, "POST", "/logout", "", 200, `"role":""`, origin, kind)
	g.send(browser, "GET", "/status", "", 401, "found no token")
	// The cookie of a session that has ended is worth nothing.
	value, _, _ := strings.Cut(cookie, ";")
	g.send(plain, "GET", "/status", "", 401, "found no token", "Cookie: "+value)
	// And so is one whose token is gone.
	g.send(browser, "POST", "/login", login(writeSecret), 200, `"role":"write"`, origin, kind)
	g.use(config.Admin{Tokens: tokens(t)[:1]})
	g.send(browser, "GET", "/status", "", 401, "found no token")
}

// Names that are not this machine's, and pages of elsewhere, are refused without tokens too.
func TestOrigins(t *testing.T) {
	t.Parallel()
	g := guard(t, config.Admin{Hosts: []string{"weir.example.org"}})
	g.send(plain, "GET", "/status", "", 200, "serving")
	g.send(plain, "GET", "/status", "", 200, "serving", "Host: localhost:9091")
	g.send(plain, "GET", "/status", "", 200, "serving", "Host: weir.example.org:9091")
	g.send(plain, "GET", "/status", "", 403, `found host \"evil.example\"`, "Host: evil.example")
	g.send(plain, "GET", "/ui/", "", 403, "found host", "Host: weir.example.org.evil.example")
	g.send(plain, "GET", "/session", "", 200, `{"role":"write","name":"","login":false,"by":"address"}`)
	json := "Content-Type: application/json"
	g.send(plain, "POST", "/purge", purgeAll, 200, "purged")
	g.send(plain, "POST", "/purge", purgeAll, 200, "purged", "Origin: "+g.URL, json)
	for _, origin := range []string{"null", "http://evil.example", "http://localhost:3000", strings.Replace(g.URL, "http://", "https://", 1), g.URL + ".evil.example"} {
		g.send(plain, "POST", "/purge", purgeAll, 403, "found origin", "Origin: "+origin, json)
		g.send(plain, "GET", "/status", "", 403, "found origin", "Origin: "+origin)
	}
	g.send(plain, "GET", "/status", "", 403, "Sec-Fetch-Site", "Sec-Fetch-Site: cross-site")
	g.send(plain, "GET", "/ui/", "", 403, "Sec-Fetch-Site", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")
	// A link on another page may lead here.
	g.send(plain, "GET", "/ui/", "", 200, "<html", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
	if got := g.send(plain, "GET", "/", "", 302, "", "Accept: text/html").Header.Get("Location"); got != "/ui/" && got != "ui/" {
		t.Errorf("/ leads to %q", got)
	}
}

// Every answer forbids browsers to run what it holds.
func TestProtection(t *testing.T) {
	t.Parallel()
	g := guard(t, config.Admin{Tokens: tokens(t)})
	for path, status := range map[string]int{"/ui/": 200, "/ui/app.js": 200, "/session": 200, "/status": 401, "/nothing": 404} {
		h := g.send(plain, "GET", path, "", status, "").Header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "require-trusted-types-for 'script'") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: the fields are %v", path, h)
		}
	}
}

// What is wrong with tokens is said before anything listens.
func TestTokenFiles(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	check := func(want string, list ...config.AdminToken) {
		t.Helper()
		_, err := admin.NewAccess(&config.Admin{Tokens: list}, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
	check("found a token of 5 bytes", config.AdminToken{Name: "a", File: file("short")})
	check("want at least 16 visible ASCII characters on one line", config.AdminToken{Name: "a", File: file(readSecret + "\n" + writeSecret)})
	check("no such file", config.AdminToken{Name: "a", File: "/nowhere/token"})
	check(`found the token of "a" again`, config.AdminToken{Name: "a", File: file(readSecret)}, config.AdminToken{Name: "b", File: file(readSecret)})
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	check("CREDENTIALS_DIRECTORY is not set", config.AdminToken{Name: "a", Credential: "token"})
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(file(readSecret)))
	check("", config.AdminToken{Name: "a", Credential: "token"})
}
