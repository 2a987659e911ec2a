package docs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"weir/admin"
	"weir/config"
	"weir/internal/secure"
	"weir/internal/testkit"
	"weir/server"
)

// block is a fenced block of a page.
type block struct{ place, kind, text string }

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks returns all fenced blocks of all pages.
func blocks(t *testing.T) (list []block) {
	t.Helper()
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md", "../CONTRIBUTING.md") {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		found := fence.FindAllStringSubmatchIndex(text, -1)
		if marks := strings.Count("\n"+text, "\n```"); marks != 2*len(found) {
			t.Errorf("%s has %d lines with ```, but %d blocks", page, marks, len(found))
		}
		for _, at := range found {
			place := fmt.Sprintf("%s:%d", page, 1+strings.Count(text[:at[0]], "\n"))
			list = append(list, block{place, text[at[2]:at[3]], text[at[4]:at[5]]})
		}
	}
	return list
}

// kinds are the kinds of blocks that there are, and who looks at them.
var kinds = map[string]string{
	"toml":    "TestConfigurations",
	"sh":      "TestCommands of the program",
	"console": "TestCommands of the program",
	"go":      "the tests of package server, and TestEmbedding",
	"ini":     "a unit of systemd",
	"":        "what programs print, or other programs read",
}

// TestConfigurations: every block of TOML is fine once the tables that it leaves out are
// there, and a weir starts with it.
func TestConfigurations(t *testing.T) {
	for name, value := range map[string]string{
		"APP_TOKEN": "secret", "LISTEN": "127.0.0.1:0", "METRICS": "127.0.0.1:0",
		"TSIG_KEY": "c2VjcmV0", "CLOUDFLARE_TOKEN": "token",
		"TARGET_1": "http://127.0.0.1:1", "TARGET_2": "http://127.0.0.1:2", "TARGET_3": "http://127.0.0.1:3",
	} {
		t.Setenv(name, value)
	}
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("example.org")
	ech, _, err := secure.NewECH("example.org")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, page := range []string{"404.html", "sorry.html"} {
		if err := os.WriteFile(page, []byte("sorry"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string][]byte{"ech": ech, "crl": authority.Revoke(time.Now().Add(time.Hour)), "tickets": bytes.Repeat([]byte("0123456789abcdef"), 4)} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tokens := [...]string{"file-token", "weir-admin"}
	for _, name := range tokens {
		if err := os.WriteFile(name, []byte("0123456789abcdef"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", ".")
	n := 0
	for _, b := range blocksIn(t) {
		if _, known := kinds[b.kind]; !known {
			t.Errorf("%s: nothing looks at blocks of kind %q", b.place, b.kind)
		}
		if b.kind != "toml" {
			continue
		}
		n++
		text := certificates.ReplaceAllStringFunc(complete(t, b), func(path string) string {
			switch {
			case strings.HasSuffix(path, `.token"`):
				return fmt.Sprintf("%q", tokens[0])
			case strings.HasSuffix(path, `/ech.pem"`):
				return `"ech"`
			case strings.HasSuffix(path, `.crl"`):
				return `"crl"`
			case strings.HasSuffix(path, `/tickets"`):
				return `"tickets"`
			case strings.Contains(path, "key"):
				return fmt.Sprintf("%q", pair.Key)
			}
			return fmt.Sprintf("%q", pair.Cert)
		})
		cfg, err := config.Parse(b.place, []byte(text), server.CheckParts, server.CheckFiles)
		if err != nil {
			t.Errorf("%s:\n%v\n%s", b.place, err, text)
			continue
		}
		starts(t, b, cfg)
	}
	if n < 20 {
		t.Errorf("only %d blocks of TOML were seen", n)
	}
}

// blocksIn returns the blocks whatever the working folder is by now.
var blocksIn = func() func(*testing.T) []block {
	folder, err := os.Getwd()
	return func(t *testing.T) []block {
		t.Helper()
		now, err2 := os.Getwd()
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		defer os.Chdir(now)
		if err := os.Chdir(folder); err != nil {
			t.Fatal(err)
		}
		return blocks(t)
	}
}()

// certificates finds files of certificates, keys and tokens, of which the pages have none.
var certificates = regexp.MustCompile(`"(/|\$\{)[^"]*(\.(crt|key|pem|token|crl)|/tickets)"`)

// complete adds what a block leaves out: a listener, a route, and the upstreams of routes.
func complete(t *testing.T, b block) string {
	t.Helper()
	text := b.text
	const listener, route = "[[listeners]]\naddress = \"127.0.0.1:0\"\n", "[[routes]]\nupstream = \"origin\"\n"
	for _, owner := range []struct{ table, is string }{{"[listeners.", listener}, {"[routes.", route}, {"[[routes.", route}} {
		if strings.HasPrefix(text, owner.table) {
			text = owner.is + text
		}
	}
	var file struct {
		Listeners []map[string]any
		Routes    []struct{ Upstream string }
		Upstreams map[string]map[string]any
	}
	if _, err := toml.Decode(text, &file); err != nil {
		t.Fatalf("%s: %v", b.place, err)
	}
	if file.Listeners == nil {
		text += "\n" + listener
	}
	if file.Routes == nil {
		name := "origin"
		for name = range file.Upstreams {
		}
		text += fmt.Sprintf("\n[[routes]]\nupstream = %q\n", name)
		file.Routes = append(file.Routes, struct{ Upstream string }{name})
	}
	for _, r := range file.Routes {
		if name := r.Upstream; name != "" && file.Upstreams[name] == nil && !strings.Contains(name, "{") {
			text += fmt.Sprintf("\n[upstreams.%q]\ntargets = [\"demo:one\"]\n", name)
			if file.Upstreams == nil {
				file.Upstreams = make(map[string]map[string]any)
			}
			file.Upstreams[name] = map[string]any{}
		}
	}
	return text
}

// starts starts a weir with cfg on addresses of its own.
func starts(t *testing.T, b block, cfg *config.Config) {
	t.Helper()
	for i := range cfg.Listeners {
		cfg.Listeners[i].Address = config.Address(fmt.Sprintf("127.0.0.%d:0", i+1))
	}
	for _, page := range []*config.Address{&cfg.Metrics.Address, &cfg.Admin.Address} {
		if *page != "" {
			*page = "127.0.0.1:0"
		}
	}
	cfg.Tracing.Endpoint = config.NoEndpoint // this program sends no spans
	if cfg.AccessLog.Output != "off" {
		cfg.AccessLog.Output = "./access.log"
	}
	s, err := server.New(cfg, server.WithIssuer(noIssuer{}))
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Errorf("%s: %v", b.place, err)
		return
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", b.place, err)
	}
}

// noIssuer gets no certificates: pages name domains of others.
type noIssuer struct{}

func (noIssuer) Use(*config.Config) (func(), error)      { return func() {}, nil }
func (noIssuer) Challenge(string, string) (string, bool) { return "", false }
func (noIssuer) Certificates() []admin.Certificate       { return nil }
func (noIssuer) WriteMetrics(io.Writer)                  {}
func (noIssuer) Revoked(*x509.Certificate)               {}
func (noIssuer) Close()                                  {}
func (noIssuer) Certificate(*config.Listener, *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, nil
}
