package importer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/importer"
	"weir/internal/testkit"
	"weir/server"
)

func check(text []byte) error {
	_, err := config.Parse("translation.toml", text, server.CheckParts)
	return err
}

// translate translates a text.
func translate(t *testing.T, program, text string) *importer.Result {
	t.Helper()
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := importer.Import(program, file, importer.Options{}, check)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return r
}

// origins are servers that say who they are and what they got, one for each address 127.0.0.1:900N that
// a configuration has.
func origins(t *testing.T) *strings.Replacer {
	t.Helper()
	var pairs []string
	for n := 9001; n <= 9005; n++ {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%d %s %s host=%s front=%s", n, r.Method, r.RequestURI, r.Host, r.Header.Get("X-Front"))
		}))
		t.Cleanup(s.Close)
		pairs = append(pairs, fmt.Sprintf("127.0.0.1:%d", n), s.Listener.Addr().String())
	}
	return strings.NewReplacer(pairs...)
}

// copied copies a folder of testdata with the addresses of origins.
func copied(t *testing.T, from string, replace *strings.Replacer) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(name string, d os.DirEntry, err error) error {
		rest, _ := filepath.Rel(from, name)
		if err != nil || d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rest), 0o700)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rest), []byte(replace.Replace(string(text))), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// serve starts a weir with a translation, on a port of its own, and returns the address.
func serve(t *testing.T, text []byte) string {
	t.Helper()
	n := 0
	text = regexp.MustCompile(`(?m)^address = ":\d+"`).ReplaceAllFunc(text, func([]byte) []byte {
		n++
		return fmt.Appendf(nil, `address = "127.0.0.%d:0"`, n)
	})
	cfg, err := config.Parse("translation.toml", text, server.CheckParts)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	cfg.AccessLog.Output = "off"
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr(cfg.Listeners[0].Label()).String()
}

// probe is a request: method, host, target and further fields.
type probe struct{ method, host, target, field string }

// ask sends a request and returns what is compared: the status, where it leads, and what the origin said.
func ask(t *testing.T, network, address string, p probe) string {
	t.Helper()
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	r, err := http.NewRequest(p.method, "http://"+p.host+p.target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(p.field, ": "); ok {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	said := fmt.Sprint(response.StatusCode)
	if to := response.Header.Get("Location"); to != "" {
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		if u.Host == p.host { // nginx makes it absolute
			u.Scheme, u.Host = "", ""
		}
		return said + " " + u.String()
	}
	if response.StatusCode == 200 {
		said += " " + string(body)
	}
	return said
}

// compare sends the same requests to the other program, on a unix socket, and to weir.
func compare(t *testing.T, socket string, translation []byte, probes []probe) {
	t.Helper()
	testkit.Eventually(t, "the other program listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	weir := serve(t, translation)
	for _, p := range probes {
		theirs, ours := ask(t, "unix", socket, p), ask(t, "tcp", weir, p)
		if theirs != ours {
			t.Errorf("%+v:\n got %s\nwant %s", p, ours, theirs)
		}
	}
	if t.Failed() {
		t.Logf("%s", translation)
	}
}

// run starts a program until the end of the test.
func run(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("%s: %s", args[0], out.String())
		}
	})
}

func TestNginx(t *testing.T) {
	t.Parallel()
	folder := copied(t, "testdata/nginx", origins(t))
	result, err := importer.Import("nginx", filepath.Join(folder, "nginx.conf"), importer.Options{}, check)
	if err != nil {
		t.Fatal(err)
	}
	if got := notes(result); !slices.Equal(got, []string{"closed 42", "closed 54"}) {
		t.Errorf("notes: %v", result.Notes)
	}
	nginx := testkit.Program(t, "nginx", "/usr/sbin/nginx")

	// The same configuration on a socket, for a program without root's rights.
	socket := filepath.Join(folder, "s")
	replace := strings.NewReplacer("listen 8080", "listen unix:"+socket, "user www-data;", "", "/run/nginx.pid", filepath.Join(folder, "pid"),
		"include mime.types;", "client_body_temp_path "+folder+"/b; proxy_temp_path "+folder+"/p; fastcgi_temp_path "+folder+"/f; uwsgi_temp_path "+folder+
			"/u; scgi_temp_path "+folder+"/s2; access_log off; limit_req_zone $uri zone=one:1m rate=1r/s;")
	theirs := copied(t, folder, replace)
	run(t, nginx, "-p", theirs, "-e", "stderr", "-c", filepath.Join(theirs, "nginx.conf"), "-g", "daemon off; master_process off;")
	get := func(host, target string) probe { return probe{"GET", host, target, ""} }
	compare(t, socket, result.Text, []probe{
		get("shop.example", "/"), get("unknown.example", "/a/b?c=d"), get("www.shop.example", "/a%2Fb"),
		get("shop.example", "/api/items/1?x=y"), get("shop.example", "/api"), get("shop.example", "/api/"), get("shop.example", "/apix"),
		get("shop.example", "/legacy"), get("shop.example", "/legacy/a?b"), get("shop.example", "/legacyx"), get("shop.example", "/legacyx/a"),
		get("shop.example", "/health"), get("shop.example", "/health/x"), get("shop.example", "/old-shop/a/b?c=d"), get("shop.example", "/strip/a/b?c"),
		get("shop.example", "/live/socket"), get("shop.example", "/strip/"), get("old.example", "/a?b=c"), get("old.example", "/"),
		{"POST", "shop.example", "/api/items", ""},
		get("paths.example", "/"), get("paths.example", "/?x"), get("paths.example", "/exact/"), get("paths.example", "/exact/x"), get("paths.example", "/exact"),
		get("paths.example", "/red/x?y"), get("paths.example", "/red"), get("paths.example", "/redder/"), get("paths.example", "/red/deep/x"),
		get("paths.example", "/blue/x"), get("paths.example", "/blue/first/x"), get("paths.example", "/404.html"), get("paths.example", "/501.html"),
		get("paths.example", "/500.html"), get("paths.example", "/build"), get("paths.example", "/build/x"), get("paths.example", "/builder"),
		get("paths.example", "/secret1"), get("paths.example", "/secret1/x"),
	})
}

func TestHAProxy(t *testing.T) {
	t.Parallel()
	folder := copied(t, "testdata/haproxy", origins(t))
	file := filepath.Join(folder, "site.cfg")
	result, err := importer.Import("haproxy", file, importer.Options{}, check)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Notes) > 0 {
		t.Errorf("notes: %v", result.Notes)
	}
	haproxy := testkit.Program(t, "haproxy", "/usr/sbin/haproxy")
	socket := filepath.Join(folder, "s")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	own := strings.NewReplacer("bind *:8080", "bind unix@"+socket, " 127.0.0.1\n", "\n    acl office always_true\n").Replace(string(text))
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, haproxy, "-db", "-f", file)
	get := func(host, target string) probe { return probe{"GET", host, target, ""} }
	compare(t, socket, result.Text, []probe{
		get("a.example", "/"), get("a.example", "/api/x?y"), {"POST", "a.example", "/api/x", ""}, {"PUT", "shop.example", "/api/x", ""}, get("shop.example", "/api/x"),
		get("shop.example", "/"), get("www.shop.example", "/a"), get("a.example", "/old?x=y"), get("shop.example", "/older"), get("a.example", "/oldest"),
		get("a.example", "/private/x"), get("shop.example", "/private/x"), get("a.example", "/privatex"), get("a.example", "/office/x"), get("shop.example", "/office/x"),
		get("a.example", "/staff/x"), get("shop.example", "/staff/x"), {"GET", "shop.example", "/staff/x", "Authorization: Basic ZXZlOnNlY3JldA=="},
		{"GET", "a.example", "/staff/x", "Authorization: Basic ZXZlOndyb25n"}, {"GET", "a.example", "/", "X-Beta: on"}, {"GET", "shop.example", "/", "X-Beta: on"}, {"GET", "a.example", "/api/x", "X-Beta: on"},
		{"POST", "a.example", "/private/x", ""}, {"GET", "a.example", "/private/x", "X-Beta: on"},
		get("a.example", "/alive"), get("a.example", "/alive/x"), get("shop.example", "/.git/config"), get("a.example", "/.gitignore"), get("a.example", "/one/x"),
		get("shop.example", "/uno/"), get("a.example", "/uno/x"), get("shop.example", "/one"),
	})
}

// expect sends requests to a weir with a translation; the answers are by the meaning of the other program.
func expect(t *testing.T, address string, want map[probe]string) {
	t.Helper()
	for p, want := range want {
		if got := ask(t, "tcp", address, p); got != want {
			t.Errorf("%+v:\n got %s\nwant %s", p, got, want)
		}
	}
}

func TestCaddy(t *testing.T) {
	t.Parallel()
	www := t.TempDir()
	if err := os.MkdirAll(filepath.Join(www, "static"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(www, "static", "a.txt"), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	replace := origins(t)
	addresses := strings.NewReplacer("/srv/www", www)
	folder := copied(t, copied(t, "testdata/caddy", replace), addresses)
	result, err := importer.Import("caddy", filepath.Join(folder, "Caddyfile"), importer.Options{}, check)
	if err != nil {
		t.Fatal(err)
	}
	if got := notes(result); !slices.Equal(got, []string{"39"}) {
		t.Errorf("notes: %v", result.Notes)
	}
	name := func(n int) string { return fmt.Sprintf("200 %d ", n) }
	expect(t, serve(t, result.Text), map[probe]string{
		{"GET", "shop.example", "/api/x?y", ""}:                                      name(9001) + "GET /x?y host=shop.example front=caddy",
		{"GET", "shop.example", "/", ""}:                                             name(9004) + "GET / host=shop.example front=",
		{"GET", "www.shop.example", "/", "X-Beta: on"}:                               name(9003) + "GET / host=www.shop.example front=",
		{"GET", "shop.example", "/api/x", "X-Beta: on"}:                              name(9001) + "GET /x host=shop.example front=caddy",
		{"PUT", "shop.example", "/files/a", ""}:                                      name(9002) + "PUT /files/a host=shop.example front=",
		{"GET", "shop.example", "/files/a", ""}:                                      name(9004) + "GET /files/a host=shop.example front=",
		{"GET", "shop.example", "/static/a.txt", ""}:                                 "200 a file",
		{"GET", "shop.example", "/old?x", ""}:                                        "301 /new",
		{"GET", "shop.example", "/health", ""}:                                       "200 fine",
		{"GET", "shop.example", "/staff/", ""}:                                       "401",
		{"GET", "shop.example", "/staff/", "X-Beta: on"}:                             "401",
		{"GET", "shop.example", "/staff/x", "Authorization: Basic ZXZlOnNlY3JldA=="}: name(9004) + "GET /staff/x host=shop.example front=",
		{"GET", "other.example", "/", ""}:                                            "404",
	})
}

func TestTraefik(t *testing.T) {
	t.Parallel()
	folder := copied(t, "testdata/traefik", origins(t))
	result, err := importer.Import("traefik", filepath.Join(folder, "traefik.yml"), importer.Options{}, check)
	if err != nil {
		t.Fatal(err)
	}
	if got := notes(result); !slices.Equal(got, []string{"closed 38"}) {
		t.Errorf("notes: %v", result.Notes)
	}
	name := func(n int) string { return fmt.Sprintf("200 %d ", n) }
	got := serve(t, result.Text)
	expect(t, got, map[probe]string{
		{"GET", "shop.example", "/api/x?y", ""}:                                 name(9001) + "GET /x?y host=shop.example front=traefik",
		{"GET", "shop.example", "/api", ""}:                                     name(9001) + "GET / host=shop.example front=traefik",
		{"GET", "shop.example", "/apix/y", ""}:                                  name(9001) + "GET /x/y host=shop.example front=traefik",
		{"GET", "www.shop.example", "/api/x", ""}:                               name(9002) + "GET /api/x host=www.shop.example front=",
		{"GET", "shop.example", "/staff", ""}:                                   name(9002) + "GET /staff host=shop.example front=",
		{"GET", "a.example", "/staff", ""}:                                      "401",
		{"GET", "a.example", "/staff", "Authorization: Basic ZXZlOnNlY3JldA=="}: name(9002) + "GET /staff host=a.example front=",
		{"POST", "a.example", "/staff", ""}:                                     "404",
		{"GET", "a.example", "/limited/x", ""}:                                  "403",
		{"GET", "a.example", "/", ""}:                                           "404",
	})
	beta := ask(t, "tcp", got, probe{"GET", "shop.example", "/api/x", "X-Beta: on"})
	if !strings.HasPrefix(beta, name(9003)+"GET /api/x host=127.0.0.1:") {
		t.Errorf("the rule of the highest priority: %s", beta)
	}

	// A router without TLS that redirects to https answers http alone, or it would redirect to itself.
	redirect := translate(t, "traefik", "http:\n  routers:\n    a:\n      rule: Host(`a.example`)\n      service: s\n      middlewares: [m]\n"+
		"  middlewares:\n    m:\n      redirectScheme: {scheme: https}\n  services:\n    s:\n      loadBalancer:\n        servers: [{url: \"http://127.0.0.1:9001\"}]\n")
	if _, route, _ := strings.Cut(string(redirect.Text), "[[routes]]"); !strings.Contains(route, "\nscheme = \"http\"\n") {
		t.Errorf("the route of a redirect to https:\n%s", redirect.Text)
	}
}

// notes returns the lines of the notes, with "closed" before those that close routes.
func notes(r *importer.Result) (all []string) {
	for _, n := range r.Notes {
		line := fmt.Sprintf("%d", n.Place.Line)
		if n.Closed {
			line = "closed " + line
		}
		all = append(all, line)
	}
	return all
}

// TestProtection: what protects something and is not translated closes the routes that it is for, and
// no others.
func TestProtection(t *testing.T) {
	t.Parallel()
	closed := func(program, text string, lines ...string) {
		t.Helper()
		r := translate(t, program, text)
		if got := notes(r); !slices.Equal(got, lines) {
			t.Errorf("%s\nnotes %q, want %q: %v\n%s", text, got, lines, r.Notes, r.Text)
		}
		open := 0
		for _, part := range strings.Split(string(r.Text), "[[routes]]")[1:] {
			upstream, answer := strings.Index(part, "\nupstream = "), strings.Contains(part, "respond = { status = 403")
			if upstream >= 0 && answer {
				t.Errorf("%s\na route is half open:\n%s", text, part)
			}
			if upstream >= 0 && !strings.Contains(part, `"/open/"`) {
				open++
			}
		}
		if want := strings.Count(strings.Join(lines, " "), "closed"); want > 0 && open > 0 {
			t.Errorf("%s\n%d routes are open:\n%s", text, open, r.Text)
		}
	}
	server := func(inside string) string {
		return "server {\n" + inside + "\nlocation / { proxy_pass http://127.0.0.1:9001; }\n}"
	}
	closed("nginx", server(""))
	closed("nginx", server("auth_request /check;"), "closed 2")
	closed("nginx", server("limit_req zone=a;"), "closed 2")
	closed("nginx", server("limit_conn a 1;"), "closed 2")
	closed("nginx", server("access_by_lua_block { if x then return {} end }"), "closed 2")
	closed("nginx", server("deny unix:; deny all;"), "closed 2")
	closed("nginx", server("if ($http_user_agent ~ bad) { return 403; }"), "closed 2")
	closed("nginx", server("if ($http_user_agent ~ bad) { set $x 1; }"), "2")
	closed("nginx", server("location ~ \\.git { deny all; }"), "closed 2")
	closed("nginx", server("location ~ \\.php$ { fastcgi_pass 127.0.0.1:1; }"), "2")
	closed("nginx", "server {\nlocation / { limit_except GET { deny all; }\nproxy_pass http://127.0.0.1:9001; }\nlocation /open/ { proxy_pass http://127.0.0.1:9001; }\n}", "closed 2")
	closed("nginx", server("satisfy any;\nallow 10.0.0.1; deny all;\nauth_basic x; auth_basic_user_file /nowhere;"), "closed 2", "4")

	closed("nginx", server("if ($cookie_session = '') { return 302 /login; }"), "closed 2")
	closed("nginx", server("if ($http_user_agent ~ old) { return 301 https://new.example$request_uri; }"), "2")
	closed("nginx", server("set_real_ip_from 10.0.0.0/8; allow 10.0.0.0/8; deny all;"), "2", "closed 2")
	closed("nginx", "server {\nroot /srv;\nlocation ~ \\.php$ { fastcgi_pass 127.0.0.1:1; }\nlocation / { index index.php; }\n}", "3", "closed 3")
	closed("nginx", "server {\nroot /srv;\nlocation = /index.php { fastcgi_pass 127.0.0.1:1; }\nlocation / { try_files $uri /index.php; }\n}", "closed 3", "closed 3")
	closed("nginx", "server {\nroot /srv;\nlocation = /index.php { fastcgi_pass 127.0.0.1:1; }\nlocation / { index index.php; }\n}", "closed 3", "closed 3")
	closed("nginx", "server { server_name ~^adm;\ndeny all; }\nserver { listen 80 default_server;\nlocation / { proxy_pass http://127.0.0.1:9001; }\n}", "1", "1", "closed 1")
	closed("nginx", server("rewrite ^/(.*)/$ /$1 last;"), "2")
	if r := translate(t, "nginx", server("rewrite ^/old/(.*)$ /new/$1 last;")); !slices.Equal(notes(r), []string{"closed 2"}) || !strings.Contains(string(r.Text), "path = \"/old/\"\nrespond = { status = 501") {
		t.Errorf("what is rewritten to another location: %v\n%s", r.Notes, r.Text)
	}
	closed("nginx", "limit_conn_zone $binary_remote_addr zone=a:1m;\n"+server("limit_conn a 5;"), "3")

	front := func(inside string) string {
		return "frontend f\nmode http\nbind :80\n" + inside + "\ndefault_backend b\nbackend b\nserver a 127.0.0.1:9001\n"
	}
	closed("haproxy", front(""))
	closed("haproxy", front("http-request deny if { sc_http_req_rate(0) gt 10 }"), "closed 4")
	closed("haproxy", front("http-request deny if { path_reg ^/a }"), "closed 4")
	closed("haproxy", front("http-request deny if { path_beg -i /a }"), "closed 4")
	closed("haproxy", front("http-request lua.guard"), "closed 4")
	closed("haproxy", front("http-request auth unless { http_auth(nobody) }"), "closed 4")
	closed("haproxy", front("tcp-request connection reject if { src_conn_rate gt 3 }"), "closed 4")
	closed("haproxy", front("use_backend c if { path_end .php }"), "4")
	refusing := "backend c\nhttp-request deny\nserver a 127.0.0.1:9001\n"
	closed("haproxy", refusing+front("use_backend c if { path_end .php }"), "closed 7")
	closed("haproxy", "backend c\n"+front("use_backend c if { path_end .php }"), "closed 5")
	closed("haproxy", front("http-request return status 403 if { path_end .php }"), "closed 4")
	closed("haproxy", front("http-request return status 200 if { path_end .php }"), "4")
	closed("haproxy", front("http-request redirect location /login if { path_end .php }"), "closed 4")
	closed("haproxy", front("http-request redirect prefix https://b.example if { path_end .php }"), "4")
	closed("haproxy", front("block if { path_end .php }"), "closed 4")
	closed("haproxy", front("reqdeny ^X"), "closed 4")
	closed("haproxy", "defaults\nhttp-request deny if { path_end .php }\n"+front(""), "closed 2")
	if r := translate(t, "haproxy", front("http-request replace-path ^/a/(.*)$ /b/\\1\nhttp-request deny if { path_beg /b/ }")); !slices.Equal(notes(r), []string{"closed 5"}) ||
		!strings.Contains(string(r.Text), "path = \"/a/\"\nrespond = { status = 501") {
		t.Errorf("a path that is changed before it is denied: %v\n%s", r.Notes, r.Text)
	}
	between := "backend c\nhttp-request replace-path ^/a/(.*)$ /b/\\1\nserver a 127.0.0.1:9001\n"
	closed("haproxy", between+front("use_backend c if { path_beg /a/ }\nuse_backend b if { path_beg /b/ }"))
	closed("haproxy", front("http-request set-src hdr(x-forwarded-for)\nhttp-request deny unless { src 10.0.0.0/8 }"), "4", "closed 5")

	site := func(inside string) string {
		return "http://a.example {\n" + inside + "\nreverse_proxy 127.0.0.1:9001\n}\n"
	}
	closed("caddy", site(""))
	closed("caddy", site("forward_auth 127.0.0.1:1 {\nuri /x\n}"), "closed 2")
	closed("caddy", site("rate_limit {\nzone a\n}"), "closed 2")
	closed("caddy", site("@bad path_regexp x\nrespond @bad 403"), "closed 3")
	closed("caddy", site("@bad path_regexp x\nhandle @bad {\nabort\n}"), "closed 3")
	closed("caddy", site("@bad path_regexp x\nhandle @bad {\nrespond fine\n}"), "3")
	closed("caddy", site("basic_auth {\neve c2NyeXB0\n}"), "closed 2")

	router := func(middleware string) string {
		return "http:\n  routers:\n    a:\n      rule: PathPrefix(`/`)\n      service: s\n      middlewares: [m]\n  middlewares:\n    m:\n      " + middleware +
			"\n  services:\n    s:\n      loadBalancer:\n        servers: [{url: \"http://127.0.0.1:9001\"}]\n"
	}
	closed("traefik", router("compress: {}"), "0")
	closed("traefik", router("forwardAuth: {address: x}"), "0", "closed 9")
	closed("traefik", router("rateLimit: {average: 1}"), "0", "closed 9")
	closed("traefik", router("inFlightReq: {amount: 1}"), "0", "closed 9")
	closed("traefik", router("basicAuth: {users: [\"a:$apr1$x$y\"]}"), "0", "closed 9")
	closed("traefik", router("ipAllowList: {sourceRange: [x]}"), "0", "closed 9")
	closed("traefik", strings.Replace(router("compress: {}"), "[m]", "[other]", 1), "0", "closed 6")
	// What a router protects that is left out stays closed in those of lower priority.
	twice := strings.Replace(router("forwardAuth: {address: x}"), "routers:\n", "routers:\n    all:\n      rule: PathPrefix(`/`)\n      priority: 1\n      service: s\n", 1)
	closed("traefik", strings.Replace(twice, "rule: PathPrefix(`/`)\n      service", "rule: PathPrefix(`/`) && HostRegexp(`x`)\n      service", 1), "0", "8", "closed 8")
	closed("traefik", strings.Replace(twice, "rule: PathPrefix(`/`)\n      service", "rule: PathPrefix(`/`) && !Host(`x`)\n      service", 1), "0", "8", "closed 8")
	closed("traefik", "entryPoints:\n  web:\n    address: ':80'\n    http: {middlewares: [m@file]}\n"+strings.Replace(router("forwardAuth: {address: x}"), "[m]", "[]", 1), "closed 13")
	closed("traefik", "entryPoints:\n  web:\n    address: ':443'\n    http: {tls: {}}\ntls: {certificates: [{certFile: /a, keyFile: /b}], options: {default: {clientAuth: {caFiles: [/c]}}}}\n"+router("compress: {}"), "5", "closed 5")
}
