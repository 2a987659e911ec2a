package match_test

import (
	"fmt"
	"testing"

	"weir/config"
	"weir/internal/match"
)

// byHost has one route per host, byPath all paths under one host, byTemplate
// templates that differ in their first segment.
func byHost(n int) []config.Route {
	return routes(n, func(i int) config.Route {
		return config.Route{Host: config.Strings{fmt.Sprintf("h%d.example.org", i)}, Path: config.Strings{"/"}}
	})
}

func byPath(n int) []config.Route {
	return routes(n, func(i int) config.Route {
		return config.Route{Path: config.Strings{fmt.Sprintf("/api/v1/service-%d/", i)}}
	})
}

func byTemplate(n int) []config.Route {
	return routes(n, func(i int) config.Route {
		return config.Route{Path: config.Strings{fmt.Sprintf("/service-%d/{version}/{id}", i)}}
	})
}

func routes(n int, one func(i int) config.Route) []config.Route {
	list := make([]config.Route, n)
	for i := range list {
		list[i] = one(i)
	}
	return list
}

// hit is a request for route i of each kind, miss one for none.
func hit(kind string, i int) *match.Request {
	r := &match.Request{Host: []byte("www.example.org"), Path: []byte("/"), Method: []byte("GET")}
	switch kind {
	case "host":
		r.Host = fmt.Appendf(nil, "h%d.example.org", i)
		r.Path = []byte("/some/path/of/a/page.html")
	case "path":
		r.Path = fmt.Appendf(nil, "/api/v1/service-%d/some/path", i)
	case "template":
		r.Path = fmt.Appendf(nil, "/service-%d/v1/1234", i)
	}
	return r
}

func BenchmarkMatch(b *testing.B) {
	tables := map[string]func(int) []config.Route{"host": byHost, "path": byPath, "template": byTemplate}
	for _, kind := range []string{"host", "path", "template"} {
		table := tables[kind]
		for _, n := range []int{10, 1000, 100000} {
			tab, err := match.New(table(n))
			if err != nil {
				b.Fatal(err)
			}
			for _, which := range []string{"hit", "miss"} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind, n, which), func(b *testing.B) {
					r := hit(kind, n*2/3)
					if which == "miss" {
						r = hit(kind, n)
					}
					var c match.Captures
					b.ReportAllocs()
					for b.Loop() {
						if _, _, ok := tab.Match(r, &c); ok != (which == "hit") {
							b.Fatal(ok)
						}
					}
				})
			}
		}
	}
}

func BenchmarkNew(b *testing.B) {
	list := byPath(100000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := match.New(list); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMatchAllocates(t *testing.T) {
	tab := table(t,
		config.Route{Host: config.Strings{"*.example.org"}, Path: config.Strings{"/{a}/v{b}/{rest...}"}, Header: map[string]string{"X-A": "1"}},
		config.Route{Path: config.Strings{"/{a}/{b}/"}, Query: map[string]string{"q": "a b"}, Method: config.Strings{"GET"}},
	)
	requests := []*match.Request{
		{Host: []byte("WWW.example.org:80"), Path: []byte("/x/v1/y/z"), Query: []byte("q=a+b"), Method: []byte("GET"), Header: request(t, "X-A: 1")},
		{Host: []byte("other"), Path: []byte("/x/v1/y/z"), Query: []byte("q=a+b"), Method: []byte("GET"), Header: request(t, "X-A: 2")},
		{Host: []byte("other"), Path: []byte("/x"), Query: []byte("q=a+b"), Method: []byte("GET"), Header: request(t, "X-A: 2")},
	}
	var c match.Captures
	for i, r := range requests {
		if n := testing.AllocsPerRun(100, func() { tab.Match(r, &c) }); n != 0 {
			t.Errorf("request %d: Match allocates %v times", i, n)
		}
	}
}
