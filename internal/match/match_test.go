package match_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/head"
	"weir/internal/match"
	"weir/internal/testkit"
)

func table(t testing.TB, routes ...config.Route) *match.Table {
	t.Helper()
	tab, err := match.New(routes)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// ask matches "METHOD host/path?query" with header lines.
func ask(t testing.TB, tab *match.Table, line string, header ...string) (route int, ok bool, c match.Captures) {
	t.Helper()
	method, rest, _ := strings.Cut(line, " ")
	slash := strings.IndexByte(rest, '/')
	host, target := rest[:slash], rest[slash:]
	path, query, _ := strings.Cut(target, "?")
	canonical, refusal := match.Canonical(nil, []byte(path))
	if refusal != match.Accepted {
		t.Fatalf("%s: %v", line, refusal)
	}
	route, _, ok = tab.Match(&match.Request{
		Host: []byte(host), Path: canonical, Query: []byte(query), Method: []byte(method), Header: request(t, header...),
	}, &c)
	return route, ok, c
}

// request scans a request head with the given lines.
func request(t testing.TB, lines ...string) *head.Head {
	t.Helper()
	h := &head.Head{}
	raw := "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
	if err := h.ScanRequest([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHosts(t *testing.T) {
	tab := table(t,
		config.Route{Host: config.Strings{"www.example.org"}},
		config.Route{Host: config.Strings{"*.example.org"}},
		config.Route{Host: config.Strings{"*.a.example.org", "[::1]", "192.0.2.1"}},
		config.Route{},
	)
	check := func(host string, want int) {
		t.Helper()
		if got, ok, _ := ask(t, tab, "GET "+host+"/"); !ok || got != want {
			t.Errorf("host %q: route %d, %t; want %d", host, got, ok, want)
		}
	}
	// Exact before wildcard; case, port and final dot do not count.
	check("www.example.org", 0)
	check("WWW.Example.ORG:8080", 0)
	check("www.example.org.", 0)
	check("www.example.org.:80", 0)
	// A wildcard takes one label or more, but not none; the longest wins.
	check("x.example.org", 1)
	check("y.x.example.org", 1)
	check("x.a.example.org", 2)
	check("a.example.org", 1)
	check("example.org", 3)
	check(".example.org", 3)
	check("wwwexample.org", 3)
	// Addresses.
	check("[::1]:80", 2)
	check("[::1]", 2)
	check("192.0.2.1:1", 2)
	// Hosts that no route names.
	check("", 3)
	check(strings.Repeat("a.", 200)+"example.org", 3)
}

func TestPaths(t *testing.T) {
	tab := table(t,
		config.Route{Path: config.Strings{"/"}},                          // 0
		config.Route{Path: config.Strings{"/api/"}},                      // 1
		config.Route{Path: config.Strings{"/api/users"}},                 // 2
		config.Route{Path: config.Strings{"/api/{name}"}},                // 3
		config.Route{Path: config.Strings{"/api/v{major}"}},              // 4
		config.Route{Path: config.Strings{"/api/v1{minor}"}},             // 5
		config.Route{Path: config.Strings{"/api/{file}.html"}},           // 6
		config.Route{Path: config.Strings{"/{service}/{version}/"}},      // 7
		config.Route{Path: config.Strings{"/files/{dir}/{rest...}"}},     // 8
		config.Route{Path: config.Strings{"/über/", "/a%2fb", "/{{x}}"}}, // 9
		config.Route{Path: config.Strings{"/api/users/{id}/x"}},          // 10
		config.Route{Path: config.Strings{"/{$}", "/api/{$}"}},           // 11
	)
	check := func(path string, want int, captures string) {
		t.Helper()
		got, ok, c := ask(t, tab, "GET h"+path)
		var list []string
		for i := range c.Len() {
			name, value := c.At(i)
			list = append(list, name+"="+string(value))
			if string(c.Get(name)) != string(value) {
				t.Errorf("path %q: Get(%q) = %q, want %q", path, name, c.Get(name), value)
			}
		}
		if s := strings.Join(list, " "); !ok || got != want || s != captures {
			t.Errorf("path %q: route %d, %t, captures %q; want %d, %q", path, got, ok, s, want, captures)
		}
	}
	check("/", 11, "")
	check("//", 0, "")
	check("/x", 0, "")
	check("/api", 0, "")
	check("/api/", 11, "")
	check("/api//", 1, "")
	check("/api/users", 2, "")
	check("/api/%75sers", 2, "")
	check("/api/x", 3, "name=x")
	check("/api/v", 3, "name=v")
	check("/api/v2", 4, "major=2")
	check("/api/v12", 5, "minor=2")
	check("/api/v1", 4, "major=1")
	check("/api/a.html", 6, "file=a")
	check("/api/v1.html", 6, "file=v1")
	check("/api/.html", 3, "name=.html")
	check("/a/b/", 7, "service=a version=b")
	check("/a/b/c/d", 7, "service=a version=b")
	check("/a/b", 0, "")
	check("/a//c", 0, "")
	// A literal wins at the first difference, even if less is captured after it.
	check("/api/x/y", 1, "")
	check("/api/users/1/x", 10, "id=1")
	check("/api/users/1/y", 1, "")
	check("/files/a/b/c", 8, "dir=a rest=b/c")
	check("/files/a/", 8, "dir=a rest=")
	check("/files//b", 0, "")
	// Paths are compared in their canonical form.
	check("/%C3%BCber/x", 9, "")
	check("/a%2Fb", 9, "")
	check("/%7Bx%7d", 9, "")
	check("/files/a%2fb/%25", 8, "dir=a%2Fb rest=%25")
}

func TestConditions(t *testing.T) {
	tab := table(t,
		config.Route{Path: config.Strings{"/a"}},                                                                            // 0
		config.Route{Path: config.Strings{"/a"}, Method: config.Strings{"POST", "PUT"}},                                     // 1
		config.Route{Path: config.Strings{"/a"}, Header: map[string]string{"X-Beta": "1"}},                                  // 2
		config.Route{Path: config.Strings{"/a"}, Header: map[string]string{"x-beta": "*"}, Method: config.Strings{"POST"}},  // 3
		config.Route{Path: config.Strings{"/a"}, Query: map[string]string{"q": "a b", "r": "*"}},                            // 4
		config.Route{Path: config.Strings{"/b"}, Method: config.Strings{"GET"}},                                             // 5
		config.Route{Path: config.Strings{"/{x}"}, Method: config.Strings{"DELETE", "HEAD"}},                                // 6
		config.Route{Host: config.Strings{"h"}, Path: config.Strings{"/b"}, Header: map[string]string{"User-Agent": "bot"}}, // 7
	)
	check := func(line string, want int, header ...string) {
		t.Helper()
		got, ok, c := ask(t, tab, line, header...)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%s %q: route %d, want %d", line, header, got, want)
		}
		if !ok && c.Len() != 0 {
			t.Errorf("%s: captures without a route", line)
		}
	}
	check("GET x/a", 0)
	check("POST x/a", 1)
	check("PUT x/a", 1)
	check("post x/a", 0)
	check("GET x/a", 2, "X-BETA: 1")
	check("GET x/a", 2, "X-Beta: 2", "X-Beta: 1")
	check("GET x/a", 0, "X-Beta: 2")
	// More conditions win.
	check("POST x/a", 3, "X-Beta: 1")
	check("POST x/a", 3, "X-Beta: 9")
	// Of one condition each the first in the file wins.
	check("PUT x/a", 1, "X-Beta: 1")
	check("GET x/a?q=a+b&r=", 4)
	check("GET x/a?z&r&%71=%61%20b", 4)
	check("GET x/a?q=a+b", 0)
	check("GET x/a?q=a+bc&r=1", 0)
	check("GET x/a?q=%zz&r=1", 0)
	// GET routes fit HEAD too; a request that does not fit falls to the next best path.
	check("GET x/b", 5)
	check("HEAD x/b", 5)
	check("DELETE x/b", 6)
	check("PATCH x/b", -1)
	// And to the next best host.
	check("GET h/b", 7, "User-Agent: bot")
	check("GET h/b", 5, "User-Agent: x")
}

func TestAsteriskFitsRoutesWithoutPath(t *testing.T) {
	tab := table(t, config.Route{Path: config.Strings{"/"}}, config.Route{Method: config.Strings{"OPTIONS"}})
	route, _, ok := tab.Match(&match.Request{Path: []byte("*"), Method: []byte("OPTIONS")}, &match.Captures{})
	if !ok || route != 1 {
		t.Errorf("OPTIONS *: route %d, %t; want 1", route, ok)
	}
}

func TestSlashesAndCommonCaptures(t *testing.T) {
	routes := []config.Route{
		{Path: config.Strings{"/{service}/{version}/", "/old/{service}/v{version}"}},
		{Path: config.Strings{"/x/{a}", "/y/{b}/{a}"}},
		{},
	}
	tab := table(t, routes...)
	check := func(path string, pattern int, stripped string) {
		t.Helper()
		var c match.Captures
		_, p, ok := tab.Match(&match.Request{Path: []byte(path)}, &c)
		if got := match.StripPrefix([]byte(path), c.Slashes()); !ok || p != pattern || string(got) != stripped {
			t.Errorf("path %q: pattern %d, stripped to %q; want %d, %q", path, p, got, pattern, stripped)
		}
	}
	check("/serviceone/v1/anything", 0, "/anything")
	check("/serviceone/v1/", 0, "/")
	check("/old/s/v2", 1, "/v2")
	check("/x/1", 0, "/1")
	check("/other", 0, "/other")
	names := func(route int, want string) {
		t.Helper()
		if got := strings.Join(routes[route].Captures(), " "); got != want {
			t.Errorf("route %d captures %q, want %q", route, got, want)
		}
	}
	names(0, "service version")
	names(1, "a")
	names(2, "")
}

func TestProblems(t *testing.T) {
	check := func(want string, routes ...config.Route) {
		t.Helper()
		_, err := match.New(routes)
		var p config.Errors
		switch {
		case want == "" && err != nil:
			t.Errorf("unexpected problems:\n%v", err)
		case want != "" && !errors.As(err, &p):
			t.Errorf("no problem, want %s", want)
		case want != "" && err.Error() != want:
			t.Errorf("problems:\n%v\nwant\n%s", err, want)
		}
	}
	path := func(p ...string) config.Route { return config.Route{Path: p} }
	host := func(h ...string) config.Route { return config.Route{Host: h} }

	// Bad paths.
	check(`routes[0].path[0]: found "a": want a path that starts with "/"`, path("a"))
	const capture = `want at most one capture between two slashes, such as "/{service}/" or "/v{major}/", with letters, digits and underscores, and "{{" for a literal "{"`
	check(`routes[1].path[0]: found "/{a": `+capture, path("/"), path("/{a"))
	check(`routes[0].path[0]: found "/a}": `+capture, path("/a}"))
	check(`routes[0].path[0]: found "/{a}{b}": `+capture, path("/{a}{b}"))
	check(`routes[0].path[0]: found "/{}": `+capture, path("/{}"))
	check(`routes[0].path[0]: found "/{1}": want captures with names of letters, digits and underscores, a letter first`, path("/{1}"))
	check(`routes[0].path[0]: found "/{...}": want captures with names of letters, digits and underscores, a letter first`, path("/{...}"))
	check(`routes[0].path[0]: found "/{a}/{a}": want each capture once`, path("/{a}/{a}"))
	check(`routes[0].path[0]: found "/{a...}/b": want nothing after "{a...}", which takes everything`, path("/{a...}/b"))
	check(`routes[0].path[0]: found "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}": want at most 8 captures`,
		path("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"))
	// Paths that no request can have.
	check(`routes[0].path[0]: found "/a/../b": want a path without "." and "..": matching removes them from requests`, path("/a/../b"))
	check(`routes[0].path[1]: found "/a/%2e%2E/b": want a path without "." and "..", encoded ones too: matching removes them from requests`, path("/a", "/a/%2e%2E/b"))
	check(`routes[0].path[0]: found "/a/..;b": want a path without "." and "..", encoded ones too: matching removes them from requests`, path("/a/..;b"))
	check(`routes[0].path[0]: found "/a?b": want a path without "?", "#", "\", spaces and control characters`, path("/a?b"))
	check(`routes[0].path[0]: found "/a\tb": want a path without "?", "#", "\", spaces and control characters`, path("/a\tb"))
	check(`routes[0].path[0]: found "/%zz": want two hexadecimal digits after each "%"`, path("/%zz"))
	check(`routes[0].path[0]: found "/a/x%00{b}": want a path that requests can have: with "x%00" they are refused (path_null_byte)`, path("/a/x%00{b}"))
	// Bad hosts.
	check(`routes[0].host[0]: found "a:80": want a host without its port: "a"`, host("a:80"))
	check(`routes[0].host[0]: found "[::1]:80": want a host without its port: "[::1]"`, host("[::1]:80"))
	const name = `want a host such as "www.example.org" or "*.example.org" (international names in their "xn--" form)`
	check(`routes[0].host[0]: found "*": `+name, host("*"))
	check(`routes[0].host[0]: found "a.*.b": `+name, host("a.*.b"))
	check(`routes[0].host[0]: found "ü.de": `+name, host("ü.de"))
	check(`routes[0].host[0]: found "*.[::1]": `+name, host("*.[::1]"))
	check(`routes[0].host[1]: found "A": want each host once`, host("a", "A"))
	// Bad conditions.
	check(`routes[0].method[0]: found "get": want a method as clients send it: upper and lower case differ; did you mean "GET"?`, config.Route{Method: config.Strings{"get"}})
	check(`routes[0].method[1]: found "PUT": want each method once`, config.Route{Method: config.Strings{"PUT", "PUT"}})
	check(`routes[0].header: found "a b": want a field name such as "X-Service"`, config.Route{Header: map[string]string{"a b": "1"}})
	check(`routes[0].header.a: found " 1": want a value without spaces around it, which fields never have`, config.Route{Header: map[string]string{"a": " 1"}})
	check(`routes[0].header.x-a: found "x-a": want each field once, and here is "X-A"`, config.Route{Header: map[string]string{"X-A": "1", "X-B": "1", "x-a": "1"}})
	// Several at once, in the order of the file.
	check("routes[0].path[0]: found \"a\": want a path that starts with \"/\"\n"+
		"routes[1].host[0]: found \"*\": "+name, path("a"), host("*"))

	// Routes that cannot be reached.
	check(`routes[1].path: can never match: route "route-1" fits the same requests and comes first`, path("/a"), path("/a"))
	check(`routes[1].path: can never match: route "one" fits the same requests and comes first`,
		config.Route{Name: "one", Path: config.Strings{"/{a}/"}}, path("/{b}/"))
	check(`routes[1].path: can never match: route "route-1" fits the same requests and comes first`, path("/a/"), path("/a/{rest...}"))
	check(`routes[1].path: can never match: route "route-1" fits the same requests and comes first`, path("/a%2fb"), path("/%61%2Fb"))
	check(`routes[1].host: can never match: route "route-1" fits the same requests and comes first`, host("a"), host("A"))
	check(`routes[0].path: path "/%61" fits the same requests as "/a" of the same route`, path("/a", "/%61"))
	check(`routes[1].path: can never match: route "route-1" fits the same requests and comes first`,
		config.Route{Path: config.Strings{"/a"}, Method: config.Strings{"GET", "POST"}},
		config.Route{Path: config.Strings{"/a"}, Method: config.Strings{"POST"}})
	check(`routes[1].path: can never match: route "route-1" fits the same requests and comes first`,
		config.Route{Path: config.Strings{"/a"}, Header: map[string]string{"X": "*"}},
		config.Route{Path: config.Strings{"/a"}, Header: map[string]string{"x": "1"}})
	check(`routes[2].path: can never match: route "route-1" fits the same requests and comes first`,
		path("/a"), path("/b"), path("/b", "/a")) // each half by another route: the first counts
	// Those that can, at least for some requests.
	check("", path("/a"), path("/a", "/b"))
	check("", path("/a"), config.Route{Path: config.Strings{"/a"}, Method: config.Strings{"GET"}})
	check("", config.Route{Path: config.Strings{"/a"}, Header: map[string]string{"X": "1"}},
		config.Route{Path: config.Strings{"/a"}, Header: map[string]string{"X": "*"}})
	check("", path("/"), config.Route{})
	check("", host("a"), host("*.a"), config.Route{})
}

// Routes that ask for a client's certificate win over those that do not, those that ask for more over others, and none takes a
// client without one.
func TestClients(t *testing.T) {
	client := func(cn, o string) *config.ClientPattern {
		p := &config.ClientPattern{CN: config.Strings{cn}}
		if o != "" {
			p.O = config.Strings{o}
		}
		return p
	}
	tab := table(t, config.Route{}, config.Route{Client: client("a", "")}, config.Route{Client: client("*", "")}, config.Route{Client: client("*", "x")})
	authority := testkit.NewAuthority(t)
	check := func(cn, o string, want int) {
		t.Helper()
		r := match.Request{Path: []byte("/"), Method: []byte("GET")}
		if cn != "" {
			pair := authority.IssueWith(func(c *x509.Certificate) { c.Subject.Organization = []string{o} }, cn)
			r.Client = config.NewClientIdentity(pair.Certificate.Leaf)
		}
		var c match.Captures
		if got, _, ok := tab.Match(&r, &c); !ok || got != want {
			t.Errorf("%q of %q: route %d, %v, want %d", cn, o, got, ok, want)
		}
		if got := match.Misfit(&config.Route{Client: client("a", "x")}, &r); (got == "") != (cn == "a" && o == "x") {
			t.Errorf("%q of %q does not fit because of %q", cn, o, got)
		}
	}
	check("", "", 0)
	check("b", "y", 2)
	check("a", "y", 1)
	check("a", "x", 3)
	check("b", "x", 3)

	dead := func(want bool, first, second *config.ClientPattern) {
		t.Helper()
		if _, err := match.New([]config.Route{{Client: first}, {Client: second}}); (err != nil) != want {
			t.Errorf("%v and then %v: %v", first, second, err)
		}
	}
	dead(true, client("a", ""), client("a", ""))
	dead(true, client("*", ""), client("a", ""))
	dead(false, client("a", ""), client("*", ""))
	dead(false, client("a", ""), client("b", ""))
	dead(false, client("a", ""), client("a", "x"))
}
