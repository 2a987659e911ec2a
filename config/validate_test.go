package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/config"
)

// valid returns a Config built in Go that is valid.
func valid() *config.Config {
	c := config.Default()
	l := config.DefaultListener()
	l.Address = "127.0.0.1:8080"
	c.Listeners = []config.Listener{l}
	r := config.DefaultRoute()
	r.Upstream = config.MustTemplate("origin")
	c.Routes = []config.Route{r}
	u := config.DefaultUpstream()
	u.Targets = []config.Target{config.DefaultTarget("http://127.0.0.1:9001")}
	c.Upstreams = map[string]config.Upstream{"origin": u}
	return c
}

func TestDefaultValidates(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Error(err)
	}
	c := config.Default()
	want := "routes: found nothing: want at least one [[routes]]"
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestDefaultsAreNotShared fails if a change to one element changes the next.
func TestDefaultsAreNotShared(t *testing.T) {
	a := config.DefaultUpstream()
	a.Retry.On[0] = "changed"
	if b := config.DefaultUpstream(); b.Retry.On[0] == "changed" {
		t.Error("two upstreams share a list")
	}
}

// TestValidateGo checks configurations built in Go, whose texts no decoder has seen.
func TestValidateGo(t *testing.T) {
	check := func(change func(c *config.Config), want string) {
		t.Helper()
		c := valid()
		change(c)
		if err := c.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	check(func(c *config.Config) { c.Listeners[0].Address = "localhost" },
		`listeners[0].address: found "localhost": want "host:port", ":port", "unix:/path" or "systemd:NAME"`)
	check(func(c *config.Config) { c.Cache.Far.URL, c.Cache.Far.Cert = "redis://h", "x.pem" },
		`cache.far.cert: found "x.pem": want nothing, or a url that starts with "rediss://"`+"\n"+`cache.far.key: found "": want the file with the key of cert`)
	check(func(c *config.Config) { c.Lifecycle.Drain = -1 },
		`lifecycle.drain: found "-1ns": want a time span such as "250ms", "5s" or "1h30m"`)
	check(func(c *config.Config) { c.Routes[0].MaxBody = -1 },
		`routes[0].max_body: found "-1": want a size such as "512", "64KiB" or "10MB"`)
	check(func(c *config.Config) { c.Listeners[0].Limits.Connections = -1 },
		`listeners[0].limits.connections: found -1: want 0 or more`)
	check(func(c *config.Config) { c.Forwarding.TrustedProxies = make([]config.Prefix, 1) },
		`forwarding.trusted_proxies[0]: found "invalid Prefix": want an address range such as "10.0.0.0/8", "fd00::/8" or "192.0.2.7"`)
}

// TestValidate checks each rule by the lines that a file adds to, or changes
// in, a valid one.
func TestValidate(t *testing.T) {
	folder := t.TempDir()
	pem := filepath.Join(folder, "a.pem")
	if err := os.WriteFile(pem, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Each check gives keys of one table; the rest of the file is valid.
	parse := func(table, keys string) error {
		text := map[string]string{
			"listeners": "address = ':80'", "routes": "upstream = 'origin'", "upstreams": "targets = ['http://a']", "": "",
		}
		if _, ok := text[table]; !ok {
			panic("BUG: no table " + table)
		}
		text[table] = keys
		_, err := config.Parse("f", fmt.Appendf(nil,
			"%s\n[[listeners]]\n%s\n[[routes]]\n%s\n[upstreams.origin]\n%s\n[upstreams.'a/b']\ntargets = ['demo:b']\n",
			text[""], text["listeners"], text["routes"], text["upstreams"]))
		return err
	}
	bad := func(table, keys, want string) {
		t.Helper()
		err := parse(table, keys)
		if err == nil {
			t.Errorf("%s: %s: no error", table, keys)
			return
		}
		got := strings.ReplaceAll(err.Error(), folder, "DIR")
		var lines []string
		for line := range strings.SplitSeq(got, "\n") {
			_, text, _ := strings.Cut(line, ": ")
			lines = append(lines, text)
		}
		if got = strings.Join(lines, "\n"); got != want {
			t.Errorf("%s: %s\ngot  %s\nwant %s", table, keys, got, want)
		}
	}
	good := func(table, keys string) {
		t.Helper()
		if err := parse(table, keys); err != nil {
			t.Errorf("%s: %s: %v", table, keys, err)
		}
	}

	// listeners: addresses
	good("listeners", "address = ':80'\n[[listeners]]\naddress = '[::1]:81'\n[[listeners]]\naddress = 'unix:/a'")
	good("listeners", "address = '127.0.0.1:80'\n[[listeners]]\naddress = '127.0.0.2:80'\n[[listeners]]\naddress = '[::1]:80'")
	good("listeners", "address = ':0'\n[[listeners]]\naddress = ':0'")
	bad("listeners", "address = ':80'\n[[listeners]]\naddress = '0.0.0.0:80'",
		`listeners[1].address: found "0.0.0.0:80": want another than at listeners[0].address`)
	// what looks like an address is no name
	bad("listeners", "address = '999.1.1.1:80'", `listeners[0].address: found "999.1.1.1:80": want "host:port", ":port", "unix:/path" or "systemd:NAME"`)
	bad("listeners", "address = '127.1:80'", `listeners[0].address: found "127.1:80": want "host:port", ":port", "unix:/path" or "systemd:NAME"`)
	bad("", "upstreams.u.targets = ['http://10.0.0.256']", `upstreams.u.targets[0].url: found "http://10.0.0.256": want "http://host" or "http://host:port", and no path (a route's add_prefix does that)`)
	good("", "upstreams.u.targets = ['http://10.0.0.25', 'http://3com.example', 'http://1.2.3.4.example']")
	// a key that stands behind a table belongs to it
	bad("", "metrics.include = 'a.toml'", `metrics.include: found "include", which is a key of the whole file: want it outside this table: keys of the file stand before its first table`)
	// the kernel opens no address of a port that is taken on all addresses
	const all = ": an address without a host takes the port of all addresses"
	bad("listeners", "address = '127.0.0.1:80'\n[[listeners]]\naddress = '0.0.0.0:80'",
		`listeners[1].address: found "0.0.0.0:80": want another port than at listeners[0].address`+all)
	bad("listeners", "address = ':80'\n[[listeners]]\naddress = '[::1]:80'",
		`listeners[1].address: found "[::1]:80": want another port than at listeners[0].address`+all)
	bad("", "metrics.address = 'localhost:80'", `metrics.address: found "localhost:80": want another port than at listeners[0].address`+all)
	bad("listeners", "address = '127.0.0.1:80'\n[[listeners]]\naddress = 'localhost:080'",
		`listeners[1].address: found "localhost:080": want another than at listeners[0].address`)
	bad("listeners", "address = '[::1]:80'\n[[listeners]]\naddress = '[0:0:0:0:0:0:0:1]:80'",
		`listeners[1].address: found "[0:0:0:0:0:0:0:1]:80": want another than at listeners[0].address`)
	bad("", "metrics.address = ':80'", `metrics.address: found ":80": want another than at listeners[0].address`)
	bad("", "admin.address = ':80'", `admin.address: found ":80": want another than at listeners[0].address`)
	bad("", "admin.address = 'systemd:admin'", `admin.address: found "systemd:admin": want "host:port", ":port" or "unix:/path"`)
	bad("listeners", "name = 'a'\naddress = ':80'\n[[listeners]]\nname = 'a'\naddress = ':81'",
		`listeners[1].name: found "a": want another than at listeners[0].name`)
	// listeners: certificates
	good("listeners", "address = ':80'\ncertificates = [{ cert = '"+pem+"', key = '"+pem+"' }]")
	bad("listeners", "address = ':80'\ncertificates = [{ cert = '"+pem+"' }]",
		`listeners[0].certificates[0].key: found nothing: want a PEM file, because cert and key belong together`)
	bad("listeners", "address = ':80'\ncertificates = [{ cert = '"+folder+"', key = '"+folder+"/no' }]",
		`listeners[0].certificates[0].cert: found "DIR", which is no regular file: want a file`+"\n"+
			`listeners[0].certificates[0].key: found "DIR/no" (no such file or directory): want a file`)
	// listeners: ranges
	bad("listeners", "address = ':80'\nlimits.header_bytes = '17MiB'", `listeners[0].limits.header_bytes: found "17MiB": want "256" to "16MiB"`)
	bad("listeners", "address = ':80'\ntimeouts.header = '0s'",
		`listeners[0].timeouts.header: found "0s": want more than 0, because without a bound this could last for ever`)
	bad("listeners", "address = ':80'\nlimits.connections = -1", `listeners[0].limits.connections: found -1: want 0 or more`)
	bad("listeners", "address = ':80'\nproxy_protocol = ['10.0.0.1/8']", `listeners[0].proxy_protocol[0]: found "10.0.0.1/8": want 10.0.0.0/8, or 10.0.0.1`)

	// time limits of routes and upstreams
	good("routes", "upstream = 'origin'\ntimeouts = { total = '5s', try = '1s', first_byte = '2s', idle = '3s' }")
	bad("routes", "redirect.to = '/'\ntimeouts.total = '5s'",
		`routes[0].timeouts: found it in a route with redirect: want it only in a route with upstream`)
	good("", "upstreams.origin.timeouts = { total = '5s', deadline_header = 'X-Timeout-Ms' }")
	bad("", "upstreams.origin.timeouts.deadline_header = 'a b'",
		`upstreams.origin.timeouts.deadline_header: found "a b": want a field name such as "X-Service"`)

	// routes: exactly one action
	bad("routes", "path = '/'", `routes[0]: found nothing: want exactly one of upstream, redirect, respond and files`)
	bad("routes", "upstream = 'origin'\nrespond = {}\nredirect.to = '/'",
		`routes[0]: found upstream and redirect and respond: want exactly one of upstream, redirect, respond and files`)
	bad("routes", "respond = {}\npath = '/a/'\nstrip_prefix = true", `routes[0].strip_prefix: found it in a route with respond: want it only in a route with upstream`)
	// routes: upstream
	good("routes", "path = '/{x}/{y}/'\nupstream = '{x}/{y}'")
	good("routes", "path = ['/{x}/{y}/', '/z/{y}/{x}/']\nupstream = 'a/{y}'")
	if _, err := config.Parse("f", []byte("[[listeners]]\naddress = ':80'\n[[routes]]\nupstream = 'a'")); err == nil || !strings.Contains(err.Error(), `found "a": want a table [upstreams.NAME] with targets: there is none`) {
		t.Errorf("without upstreams: %v", err)
	}
	bad("listeners", "address = '127.0.0.1:99999'", `listeners[0].address: found "127.0.0.1:99999": want a port of 0 to 65535`)
	bad("routes", "upstream = 'a'", `routes[0].upstream: found "a": want the name of an upstream: one of "a/b", "origin"`)
	bad("routes", "path = ['/{x}/{y}/', '/z/{x}']\nupstream = '{x}/{y}'",
		`routes[0].upstream: found "{y}": want a capture that every path of the route has: "x"`)
	bad("routes", "path = '/{x}/'\nupstream = 'a/b/{x}'",
		`routes[0].upstream: found "a/b/{x}": want a template that fits the name of an upstream: one of "a/b", "origin"`)
	bad("routes", "upstream = '{service}'",
		`routes[0].upstream: found "{service}": want a capture that every path of the route has: none, because there are none`)
	// routes: names
	bad("routes", "upstream = 'origin'\n[[routes]]\nname = 'route-1'\nrespond = {}",
		`routes[1].name: found "route-1": want another than at routes[0].name`)
	// routes: host
	good("routes", "upstream = 'origin'\nhost = ['*.example.org', 'a_b', '127.0.0.1', '[::1]']")
	bad("routes", "upstream = 'origin'\nhost = 'example.org:80'", `routes[0].host[0]: found "example.org:80": want a host without its port: "example.org"`)
	bad("routes", "upstream = 'origin'\nhost = ['a', 'a*.example.org']",
		`routes[0].host[1]: found "a*.example.org": want a host such as "www.example.org" or "*.example.org" (international names in their "xn--" form)`)
	// routes: path
	good("routes", "upstream = 'origin'\npath = ['/', '/a', '/a//b/', '/%C3%A4', '/é', '/{a}/{b}']")
	bad("routes", "upstream = 'origin'\npath = 'a'", `routes[0].path[0]: found "a": want a path that starts with "/"`)
	bad("routes", "upstream = 'origin'\npath = '/a/../b'", `routes[0].path[0]: found "/a/../b": want a path without "." and "..": matching removes them from requests`)
	good("routes", "upstream = 'origin'\npath = ['/v{n}/', '/{f}.html', '/{{x}}/{rest...}']")
	bad("routes", "upstream = 'origin'\npath = '/{a}{b}/'",
		`routes[0].path[0]: found "/{a}{b}/": want at most one capture between two slashes, such as "/{service}/" or "/v{major}/", with letters, digits and underscores, and "{{" for a literal "{"`)
	bad("routes", "upstream = 'origin'\npath = '/{a...}/b'",
		`routes[0].path[0]: found "/{a...}/b": want nothing after "{a...}", which takes everything`)
	bad("routes", "upstream = 'origin'\npath = '/{n}/{n}'", `routes[0].path[0]: found "/{n}/{n}": want each capture once`)
	bad("routes", "upstream = 'origin'\npath = '/a?b'", `routes[0].path[0]: found "/a?b": want a path without "?", "#", "\", spaces and control characters`)
	bad("routes", "upstream = 'origin'\npath = '/%4'", `routes[0].path[0]: found "/%4": want two hexadecimal digits after each "%"`)
	// routes: method
	good("routes", "upstream = 'origin'\nmethod = ['GET', 'custom']")
	bad("routes", "upstream = 'origin'\nmethod = 'get'",
		`routes[0].method[0]: found "get": want a method as clients send it: upper and lower case differ; did you mean "GET"?`)
	bad("routes", "upstream = 'origin'\nmethod = 'A B'", `routes[0].method[0]: found "A B": want a method such as "GET"`)
	// routes: what is forwarded
	good("routes", "upstream = 'origin'\nadd_prefix = '/a'\nrewrite = '{path}?x'\nhost_header = 'a:80'")
	bad("routes", "upstream = 'origin'\nadd_prefix = '/a/'",
		`routes[0].add_prefix: found "/a/": want a path that starts with "/" and does not end with it, without captures`)
	bad("routes", "upstream = 'origin'\nrewrite = 'a'", `routes[0].rewrite: found "a": want a path that starts with "/" or a variable, without spaces and "#"`)
	bad("routes", "upstream = 'origin'\nstrip_prefix = true", `routes[0].strip_prefix: found true without a path: want a path that says what to strip`)
	bad("routes", "upstream = 'origin'\nhost_header = 'pass '",
		`routes[0].host_header: found "pass ": want "pass", "target" or a host with an optional port; did you mean "pass"?`)
	// routes: header rules
	good("routes", "upstream = 'origin'\nrequest_headers = { set = { A = '{host}' }, add = { a = 'x' }, remove = ['A'] }")
	good("routes", "upstream = 'origin'\nrequest_cookies.keep = ['lang', '__Host-s*']")
	good("routes", "upstream = 'origin'\ngrpc_web = true\ncors = { origins = ['https://a.example', 'http://*.b.example:8080', 'http://[::1]:80'], headers = ['*'], expose = ['x-a'], credentials = true }")
	good("routes", "upstream = 'origin'\ncors.origins = '*'")
	bad("routes", "respond = {}\ngrpc_web = true", "routes[0].grpc_web: found it in a route with respond: want it only in a route with upstream")
	bad("routes", "upstream = 'origin'\ncors = {}", `routes[0].cors.origins: found nothing: want at least one origin such as "https://app.example.org"`)
	for _, origin := range []string{"null", "a.example", "https://a.example/", "https://A.example", "https://*", "https://a.*.example", "https://", "*.example"} {
		bad("routes", "upstream = 'origin'\ncors.origins = '"+origin+"'",
			"routes[0].cors.origins[0]: found \""+origin+"\": want an origin such as \"https://app.example.org\" or \"https://*.example.org\", in lower case and without a path, or \"*\"")
	}
	bad("routes", "upstream = 'origin'\ncors = { origins = '*', credentials = true }",
		`routes[0].cors.credentials: found true with the origin "*": want origins by name: any page could act for a client who is logged in`)
	bad("routes", "upstream = 'origin'\ncors = { origins = '*', methods = ['*'] }", `routes[0].cors.methods[0]: found "*": want a method such as "PUT"`)
	bad("routes", "upstream = 'origin'\ncors = { origins = '*', headers = ['a b'] }", `routes[0].cors.headers[0]: found "a b": want the name of a field, or "*"`)
	bad("routes", "upstream = 'origin'\ncors = { origins = 'https://a.example', expose = ['*'], credentials = true }",
		`routes[0].cors.expose[0]: found "*": want the name of a field, or, without credentials, "*"`)
	good("routes", "upstream = 'origin'\ncompress = { codings = ['gzip'], types = ['text/*', '*/*' , 'a/b'] }")
	bad("routes", "upstream = 'origin'\ncompress.codings = []", `routes[0].compress.codings: found none: want at least one of "zstd", "br" and "gzip", or compress = false`)
	bad("routes", "upstream = 'origin'\ncompress.codings = ['deflate']", `routes[0].compress.codings[0]: found "deflate": want one of "zstd", "br", "gzip"`)
	bad("routes", "upstream = 'origin'\ncompress.types = ['html']",
		`routes[0].compress.types[0]: found "html": want a media type such as "text/html", or the start of some, such as "text/*"`)
	good("routes", "upstream = 'origin'\nrequest_cookies.remove = ['*']")
	bad("routes", "upstream = 'origin'\nrequest_cookies = { keep = ['a'], remove = ['b'] }",
		`routes[0].request_cookies.remove: found "b": want nothing beside keep, which removes all others`)
	bad("routes", "upstream = 'origin'\nrequest_cookies.keep = ['a', 'b=1']",
		`routes[0].request_cookies.keep[1]: found "b=1": want the name of a cookie such as "lang", or the start of names such as "_ga*"`)
	bad("routes", "upstream = 'origin'\nrequest_headers.set.Content-Length = '1'",
		`routes[0].request_headers.set.Content-Length: found "Content-Length": want another field: this one belongs to the connection or to the framing of messages, which are weir's`)
	bad("routes", "upstream = 'origin'\nresponse_headers.remove = ['transfer-encoding']",
		`routes[0].response_headers.remove[0]: found "transfer-encoding": want another field: this one belongs to the connection or to the framing of messages, which are weir's`)
	bad("routes", "upstream = 'origin'\nrequest_headers.set.Host = 'a'",
		`routes[0].request_headers.set.Host: found "Host": want another field: for this one there is host_header`)
	bad("routes", "upstream = 'origin'\nrequest_headers.set = { X-A = '1', x-a = '2' }",
		`routes[0].request_headers.set.x-a: found "x-a": want each field once, and here is "X-A"`)
	bad("routes", "upstream = 'origin'\nresponse_headers.set = { http2-settings = '1', content-length = '1' }",
		`routes[0].response_headers.set.content-length: found "content-length": want another field: this one belongs to the connection or to the framing of messages, which are weir's`+"\n"+
			`routes[0].response_headers.set.http2-settings: found "http2-settings": want another field: this one belongs to the connection or to the framing of messages, which are weir's`)
	bad("routes", "upstream = 'origin'\nrequest_headers.remove = ['a b', 'Host']",
		`routes[0].request_headers.remove[0]: found "a b": want a field name such as "X-Service"`+"\n"+
			`routes[0].request_headers.remove[1]: found "Host": want another field: for this one there is host_header`)
	const oneType = `want it under set: of two, some recipients read the first and some the last (RFC 9110 section 8.3)`
	bad("routes", "upstream = 'origin'\nrequest_headers.add.content-type = 'x'", `routes[0].request_headers.add.content-type: found "content-type": `+oneType)
	bad("routes", "upstream = 'origin'\nresponse_headers.add.Content-Type = 'x'", `routes[0].response_headers.add.Content-Type: found "Content-Type": `+oneType)
	const date = `want another field: this one says when the origin answered (RFC 9110 section 6.6.1)`
	good("routes", "upstream = 'origin'\nrequest_headers.set.Date = 'x'")
	bad("routes", "upstream = 'origin'\nresponse_headers.set.Date = 'x'", `routes[0].response_headers.set.Date: found "Date": `+date)
	bad("routes", "upstream = 'origin'\nresponse_headers.add.date = 'x'", `routes[0].response_headers.add.date: found "date": `+date)
	bad("routes", "upstream = 'origin'\nresponse_headers.remove = ['DATE']", `routes[0].response_headers.remove[0]: found "DATE": `+date)
	bad("routes", "upstream = 'origin'\nrequest_headers.add = { 'X A' = '1' }",
		`routes[0].request_headers.add: found "X A": want a field name such as "X-Service"`)
	bad("routes", `upstream = 'origin'`+"\n"+`request_headers.add.A = "a\r\nb: c"`,
		`routes[0].request_headers.add.A: found "a\r\nb: c": want a value without control characters`)
	bad("routes", "upstream = 'origin'\nheader = { 'a b' = '*' }", `routes[0].header: found "a b": want a field name such as "X-Service"`)
	bad("routes", "upstream = 'origin'\nquery = { '' = '*' }", `routes[0].query: found "": want the name of a parameter`)
	// routes: redirect and respond
	bad("routes", "redirect.status = 304", `routes[0].redirect.to: found nothing: want a URL or path such as "https://{host}{path}"`+"\n"+
		`routes[0].redirect.status: found 304: want 301, 302, 303, 307 or 308`)
	bad("routes", "respond.status = 101", `routes[0].respond.status: found 101: want 200 to 599`)
	bad("routes", "respond = { status = 204, body = 'x' }", `routes[0].respond.body: found one for status 204: want none, because such a response has no content`)
	bad("routes", "respond.headers.Connection = 'x'",
		`routes[0].respond.headers.Connection: found "Connection": want another field: this one belongs to the connection or to the framing of messages, which are weir's`)

	// upstreams: targets
	good("upstreams", "targets = ['http://a', 'https://a:1', 'http://[::1]:80', 'unix:/a', 'demo:one', 'handler:my_app-2']")
	bad("upstreams", "targets = []", `upstreams.origin.targets: found nothing: want at least one URL`)
	bad("upstreams", "targets = ['http://a', { url = 'http://a', weight = 2 }]",
		`upstreams.origin.targets[1]: found "http://a": want another than at upstreams.origin.targets[0]`)
	bad("upstreams", "targets = [{ weight = 0 }]",
		`upstreams.origin.targets[0].url: found nothing: want "http://host:port", "https://host:port", "h2c://host:port", "unix:/path", "demo:NAME" or "handler:NAME"`+"\n"+
			`upstreams.origin.targets[0].weight: found 0: want 1 to 1000000`)
	bad("upstreams", "targets = ['127.0.0.1:80']",
		`upstreams.origin.targets[0].url: found "127.0.0.1:80": want "http://host:port", "https://host:port", "h2c://host:port", "unix:/path", "demo:NAME" or "handler:NAME"`)
	good("upstreams", "targets = ['http://a/', 'https://a:1/', 'http://[::1]:80/']")
	bad("upstreams", "targets = ['http://a/', 'http://a']",
		`upstreams.origin.targets[1]: found "http://a": want another than at upstreams.origin.targets[0]`)
	bad("upstreams", "targets = ['http://a//']",
		`upstreams.origin.targets[0].url: found "http://a//": want "http://host" or "http://host:port", and no path (a route's add_prefix does that)`)
	bad("upstreams", "targets = ['https://a/b', 'http:a', 'http://a:0']",
		`upstreams.origin.targets[0].url: found "https://a/b": want "https://host" or "https://host:port", and no path (a route's add_prefix does that)`+"\n"+
			`upstreams.origin.targets[1].url: found "http:a": want "http://host" or "http://host:port", and no path (a route's add_prefix does that)`+"\n"+
			`upstreams.origin.targets[2].url: found "http://a:0": want "http://host" or "http://host:port", and no path (a route's add_prefix does that)`)
	bad("upstreams", "targets = ['http://user:secret@a']",
		`upstreams.origin.targets[0].url: found a URL with a user: want "http://host" or "http://host:port", and no path (a route's add_prefix does that)`)
	bad("upstreams", "targets = ['h2c://a/b']",
		`upstreams.origin.targets[0].url: found "h2c://a/b": want "h2c://host" or "h2c://host:port", and no path (a route's add_prefix does that)`)
	bad("upstreams", "targets = ['etcd://user:secret@a:%zz']",
		`upstreams.origin.targets[0].url: found a URL that cannot be parsed: want the URL of a source (registry:, file:, list+http:, list+https:, dns:, srv:, etcd:, consul:, zookeeper:, kubernetes:)`)
	bad("upstreams", "targets = ['handler:']",
		`upstreams.origin.targets[0].url: found "handler:": want "handler:" and a name of letters, digits, "_" and "-"`)
	bad("upstreams", "targets = ['unix:a', 'demo:a b']",
		`upstreams.origin.targets[0].url: found "unix:a": want "unix:" and an absolute path of at most 107 bytes`+"\n"+
			`upstreams.origin.targets[1].url: found "demo:a b": want "demo:" and a name of letters, digits, "_" and "-"`)
	// upstreams: TLS
	bad("upstreams", "targets = ['https://a']\ntls = { ca = '"+folder+"/no', cert = '"+pem+"', server_name = 'a:1' }",
		`upstreams.origin.tls.ca: found "DIR/no" (no such file or directory): want a file`+"\n"+
			`upstreams.origin.tls.key: found nothing: want a PEM file, because cert and key belong together`+"\n"+
			`upstreams.origin.tls.server_name: found "a:1": want a host name`)
	// upstreams: names
	bad("", "upstreams.'' = { targets = ['http://a'] }", `upstreams: found "": want a name without control characters`)

	// the rest
	bad("", "forwarding.via = 'a b'", `forwarding.via: found "a b": want a name of letters, digits and -._~, or a host with a port (RFC 9110 section 7.6.3)`)
	bad("", "forwarding.request_id = 'a b'", `forwarding.request_id: found "a b": want a field name such as "X-Service"`)
	good("", "forwarding = { via = 'edge.example:80', request_id = '' }")
	bad("", "log = { level = 'warning', format = '' }", `log.level: found "warning": want one of "debug", "info", "warn", "error"`+"\n"+
		`log.format: found "": want one of "text", "json"`)
	good("", "access_log.format = '{client} {status}'")
	bad("", "access_log.format = 'jsn'",
		`access_log.format: found "jsn": want "json", "combined" or a template such as "{client} {method} {request_target} {status}"; did you mean "json"?`)
	bad("", "access_log.output = ''", `access_log.output: found nothing: want "stdout", "stderr", "off", "syslog:" and an address, or a file`)
	bad("", "lifecycle.drain = '0s'", `lifecycle.drain: found "0s": want more than 0, because without a bound this could last for ever`)
}
