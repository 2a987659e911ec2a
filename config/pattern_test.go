package config_test

import (
	"reflect"
	"testing"

	"weir/config"
)

func TestPattern(t *testing.T) {
	route := config.Route{
		Host:   config.Strings{"WWW.Example.org", "*.Example.org", "[::1]"},
		Path:   config.Strings{"/a", "/v{major}.{{x}}/%2f/", "/{a}/{rest...}"},
		Method: config.Strings{"GET"},
		Header: map[string]string{"X-B": "1", "X-A": "*"},
		Query:  map[string]string{"q": "*"},
	}
	got, problems := route.Pattern()
	if problems != nil {
		t.Fatal(problems)
	}
	want := config.Pattern{
		Hosts: []config.HostPattern{{Name: "www.example.org"}, {Name: ".example.org", Wildcard: true}, {Name: "[::1]"}},
		Paths: []config.PathPattern{
			{Segments: []config.PathSegment{{Before: "a"}}, Slashes: 1},
			{
				Segments: []config.PathSegment{{Before: "v", Capture: "major", After: ".{x}"}, {Before: "%2f"}},
				Prefix:   true, Captures: []string{"major"}, Slashes: 3,
			},
			{
				Segments: []config.PathSegment{{Capture: "a"}},
				Prefix:   true, Captures: []string{"a", "rest"}, Rest: true, Slashes: 2,
			},
		},
		Methods: []string{"GET"},
		Headers: []config.Condition{{Name: "X-A", Value: "*", Any: true}, {Name: "X-B", Value: "1"}},
		Queries: []config.Condition{{Name: "q", Value: "*", Any: true}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestErrorsBelow covers keys of a route as they are found and as a file has them.
func TestErrorsBelow(t *testing.T) {
	route := config.Route{Host: config.Strings{"a", "A"}, Query: map[string]string{"": "*"}}
	_, problems := route.Pattern()
	check := func(got config.Errors, want string) {
		t.Helper()
		if got.Error() != want {
			t.Errorf("got\n%v\nwant\n%s", got, want)
		}
	}
	check(problems, "host[1]: found \"A\": want each host once\nquery: found \"\": want the name of a parameter")
	check(problems.Below("routes", 2), "routes[2].host[1]: found \"A\": want each host once\nroutes[2].query: found \"\": want the name of a parameter")
	check(config.Errors{{Found: "x"}, {Key: "[1]", Found: "y"}}.Below("routes"), "routes: found x\nroutes[1]: found y")
}
