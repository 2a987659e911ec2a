package importer_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLines: what translations have in common with what they are made of, by the lines that they have and lack.
func TestLines(t *testing.T) {
	t.Parallel()
	check := func(program, text string, want, unwanted []string) {
		t.Helper()
		r := translate(t, program, text)
		for _, line := range want {
			if !strings.Contains("\n"+string(r.Text), "\n"+line) {
				t.Errorf("%s\nlacks the line %q:\n%s", text, line, r.Text)
			}
		}
		for _, part := range unwanted {
			if strings.Contains(string(r.Text), part) {
				t.Errorf("%s\nhas %q:\n%s", text, part, r.Text)
			}
		}
	}
	const plainHTTP2 = `protocols = ["h1", "h2c"]`

	// HTTP/2 without TLS, without which clients of gRPC get no answer.
	pass := "location / { grpc_pass grpc://127.0.0.1:9001; }"
	check("nginx", "server { listen 8080 http2;\n"+pass+"}", []string{plainHTTP2}, nil)
	check("nginx", "server { listen 8080; http2 on;\n"+pass+"}", []string{plainHTTP2}, nil)
	check("nginx", "server { listen 8080;\n"+pass+"}", nil, []string{"protocols"})
	check("nginx", "server { listen 443 ssl http2; ssl_certificate /a; ssl_certificate_key /b;\n"+pass+"}", nil, []string{"protocols"})
	check("nginx", "server { listen 443 http2; server_name a.example; "+pass+"}\nserver { listen 443 ssl; server_name b.example; ssl_certificate /a; ssl_certificate_key /b;\n"+pass+"}",
		nil, []string{"protocols"})
	check("haproxy", "frontend f\nmode http\nbind :8080 proto h2\ndefault_backend b\nbackend b\nmode http\nserver a 127.0.0.1:9001 proto h2\n",
		[]string{plainHTTP2, `targets = ["h2c://127.0.0.1:9001"]`}, nil)
	check("haproxy", "frontend f\nmode http\nbind :8080\ndefault_backend b\nbackend b\nmode http\nserver a 127.0.0.1:9001 ssl verify none alpn h2\n",
		[]string{`targets = ["https://127.0.0.1:9001"]`, `connections.protocol = "h2"`}, []string{"protocols"})
	check("caddy", "{\nservers {\nprotocols h1 h2c\n}\n}\nhttp://a.example {\nreverse_proxy h2c://127.0.0.1:9001\n}\n", []string{plainHTTP2}, nil)
	check("caddy", "http://a.example {\nreverse_proxy 127.0.0.1:9001\n}\n", nil, []string{"protocols"})
	router := "http:\n  routers:\n    a:\n      rule: PathPrefix(`/`)\n      service: s\n  services:\n    s:\n      loadBalancer:\n        servers: [{url: \"%s\"}]\n"
	check("traefik", strings.ReplaceAll(router, "%s", "h2c://127.0.0.1:9001"), []string{plainHTTP2}, nil)
	check("traefik", strings.ReplaceAll(router, "%s", "http://127.0.0.1:9001"), nil, []string{"protocols"})

	// The type of a fixed answer.
	check("nginx", "server { location = /a { default_type application/json; return 200 '{}'; } }", []string{`respond = { status = 200, body = "{}", headers = { Content-Type = "application/json" } }`}, nil)
	check("nginx", "server { location = /a { return 200 ok; } }", []string{`respond = { status = 200, body = "ok", headers = { Content-Type = "text/plain" } }`}, nil)

	// Error pages that are files.
	pages := func(page, more string) string {
		return "server { root /srv;\nlocation / { proxy_pass http://127.0.0.1:9001; " + more + " }\n" + page + " }"
	}
	check("nginx", pages("error_page 500 502 /50x.html; location = /50x.html { root /pages; internal; }", ""),
		[]string{`error_pages.files.500 = "/pages/50x.html"`, `error_pages.files.502 = "/pages/50x.html"`}, []string{"error_pages.targets", "not translated"})
	check("nginx", pages("error_page 404 /404.html; location /404.html { }", "proxy_intercept_errors on;"), []string{`error_pages.files.404 = "/srv/404.html"`, "error_pages.targets = true"}, nil)
	check("nginx", pages("error_page 404 /e/404.html; location /e/ { alias /pages/; }", ""), []string{`error_pages.files.404 = "/pages/404.html"`}, nil)
	for _, other := range []string{
		"error_page 404 =200 /404.html; location /404.html { }", "error_page 404 @page;", "error_page 404 https://a.example/;", "error_page 497 $uri;", "error_page 404 /404.html;",
		"error_page 404 /404.html; location = /404.html { deny all; }", "error_page 404 /404.html; location = /404.html { return 404; }", "error_page 302 /302.html; location = /302.html { }",
		"error_page 404 /a/../../x; location /a { }",
	} {
		check("nginx", pages(other, ""), nil, []string{"error_pages.files"})
		if r := translate(t, "nginx", pages(other, "")); len(r.Notes) == 0 {
			t.Errorf("%s: nothing is noted\n%s", other, r.Text)
		}
	}

	// Files whose names begin with a dot are not served here, so what denies them closes no files.
	hidden := func(pattern string) string {
		return "server { root /srv;\nlocation / { }\nlocation ~ " + pattern + " { deny all; }\nlocation /app/ { proxy_pass http://127.0.0.1:9001; } }"
	}
	for _, pattern := range []string{`/\.ht`, `/\.(?!well-known)`, `/\.(?!well-known).*`, `/\.git`} {
		check("nginx", hidden(pattern), []string{`files.root = "/srv"`, `# upstream = "127.0.0.1-9001"`}, []string{`# files.root`})
	}
	for _, pattern := range []string{`/\.`, `/\.w`, `\.git`, `/\.ht|/secret`, `/\.[a-z]`} {
		check("nginx", hidden(pattern), []string{`# files.root = "/srv"`}, nil)
	}
	check("nginx", `server { root /srv; location /x/.y/ { alias /srv/; } location ~ /\.ht { deny all; } }`, []string{`# files.root = "/srv/"`}, nil)

	// The options of a redirect stand in any order.
	front := func(redirect string) string {
		return "frontend f\nmode http\nbind :80\nhttp-request redirect " + redirect + " if { path /a }\ndefault_backend b\nbackend b\nserver a 127.0.0.1:9001\n"
	}
	check("haproxy", front("code 301 location /b"), []string{`redirect = { to = "/b?", status = 301 }`}, nil)
	check("haproxy", front("prefix https://b.example code 308"), []string{`redirect = { to = "https://b.example{path}", status = 308 }`}, nil)
	check("haproxy", front("drop-query code 303 prefix https://b.example"), []string{`redirect = { to = "https://b.example{path}?", status = 303 }`}, nil)
	if r := translate(t, "haproxy", front("location /b set-cookie SEEN=1")); len(r.Notes) != 1 {
		t.Errorf("a cookie of a redirect: %v", r.Notes)
	}
}

// answer gets a path.
func answer(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	r, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// TestErrorPageServed: the page that a translation has is what clients get.
func TestErrorPageServed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "404.html"), []byte("not here"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := serve(t, translate(t, "nginx", "server { listen 8080; root "+folder+"; location / { } error_page 404 /404.html; location = /404.html { internal; } }").Text)
	if status, body := answer(t, address, "/x"); status != 404 || body != "not here" {
		t.Errorf("got %d %q", status, body)
	}
}
