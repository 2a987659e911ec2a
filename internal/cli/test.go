package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	urfave "github.com/urfave/cli/v3"

	"weir/config"
	"weir/server"
)

func testCommand() *urfave.Command {
	return withArguments(test, &urfave.Command{
		Name:      "test",
		Usage:     "compare what a configuration makes of requests with what files expect",
		ArgsUsage: "FILE...",
		Flags: []urfave.Flag{
			configFlag("the configuration `FILE`, instead of the one that the test files name"),
			&urfave.BoolFlag{Name: flagJSON, Usage: "print JSON"},
		},
	}, func(c *urfave.Command) error {
		if !c.Args().Present() {
			return usage("%s takes %s, found no argument; see %s --help", c.FullName(), c.ArgsUsage, c.FullName())
		}
		return nil
	})
}

// testFile is a file of weir test.
type testFile struct {
	// Config is the path of the configuration, relative to the folder of the test file.
	Config string
	Tests  []testCase
}

// testCase is a request and what is expected to become of it.
type testCase struct {
	Name string
	// Request is "METHOD URL", or the URL of a GET.
	Request string
	// Headers are fields of the request, and Answer those of the response that the target is
	// assumed to give: "Name: value".
	Headers, Answer []string
	From, Listener  string
	Want            testWants
}

// testWants are expectations; a key that is not there expects nothing.
type testWants struct {
	Route, Upstream, Cause, Cache *string
	// Target is the target, or several of which the first pick must be one.
	Target any
	Status *int
	// Request is the first line that the target gets, without its version: "GET /x".
	Request *string
	// RequestHeaders are fields that the target gets, and ResponseHeaders those that the client
	// gets: a value, true for any, false for none.
	RequestHeaders  map[string]any `toml:"request_headers"`
	ResponseHeaders map[string]any `toml:"response_headers"`
}

// testResult is what came of one test.
type testResult struct {
	File     string   `json:"file"`
	Name     string   `json:"name"`
	Failures []string `json:"failures,omitempty"`
}

// test runs the tests of files. It fails if one of them does.
func test(c *urfave.Command) error {
	var results []testResult
	for _, path := range c.Args().Slice() {
		more, err := runTests(c, path)
		if err != nil {
			return err
		}
		results = append(results, more...)
	}
	failed := 0
	for _, r := range results {
		if len(r.Failures) > 0 {
			failed++
		}
	}
	if err := printResults(c, results); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s failed", failed, count(len(results), "test"))
	}
	return nil
}

func printResults(c *urfave.Command, results []testResult) error {
	if c.Bool(flagJSON) {
		return printJSON(c, results)
	}
	w := c.Root().Writer
	passed := make(map[string]int)
	var files []string
	for _, r := range results {
		if !slices.Contains(files, r.File) {
			files = append(files, r.File)
		}
		if len(r.Failures) == 0 {
			passed[r.File]++
			continue
		}
		fmt.Fprintf(w, "FAIL %s: %s\n", r.File, r.Name)
		for _, f := range r.Failures {
			fmt.Fprintf(w, "     %s\n", f)
		}
	}
	for _, file := range files {
		if _, err := fmt.Fprintf(w, "%s: %s passed\n", file, count(passed[file], "test")); err != nil {
			return err
		}
	}
	return nil
}

// runTests runs the tests of one file.
func runTests(c *urfave.Command, path string) ([]testResult, error) {
	f, err := readTests(path)
	if err != nil {
		return nil, err
	}
	configuration := c.String(flagConfig)
	if !c.IsSet(flagConfig) && f.Config != "" {
		if configuration = f.Config; !filepath.IsAbs(configuration) {
			configuration = filepath.Join(filepath.Dir(path), configuration)
		}
	}
	cfg, err := load(configuration)
	if err != nil {
		return nil, fmt.Errorf("cannot run the tests of %s: %w", path, err)
	}
	var results []testResult
	for i, t := range f.Tests {
		name := t.Name
		if name == "" {
			name = fmt.Sprintf("test %d, %s", i+1, t.Request)
		}
		q, err := t.question()
		var e *server.Explanation
		if err == nil {
			e, err = server.Explain(cfg, q, server.WithChecked(), server.WithSchemes(schemes()...))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		results = append(results, testResult{File: path, Name: name, Failures: t.Want.judge(e)})
	}
	return results, nil
}

// readTests reads a file of tests.
func readTests(path string) (*testFile, error) {
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tests: %w", err)
	}
	var f testFile
	meta, err := toml.Decode(string(data), &f)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tests of %s: %w", path, err)
	}
	var unknown config.Errors
	for _, key := range meta.Undecoded() {
		known := []string{"config", "tests"}
		switch {
		case len(key) == 2:
			known = []string{"name", "request", "headers", "answer", "from", "listener", "want"}
		case len(key) > 2:
			known = []string{"route", "upstream", "target", "status", "cause", "cache", "request", "request_headers", "response_headers"}
		}
		unknown = append(unknown, config.Problem{File: path, Key: key.String(), Found: "an unknown key", Want: config.OneOf(known), Hint: config.Nearest(key[len(key)-1], known)})
	}
	if err := unknown.Err(); err != nil {
		return nil, err
	}
	if len(f.Tests) == 0 {
		return nil, fmt.Errorf("%s: tests: found nothing: want at least one [[tests]]", path)
	}
	return &f, nil
}

// question is the request of a test.
func (t *testCase) question() (q server.Question, err error) {
	q = server.Question{URL: t.Request, Fields: t.Headers, Listener: t.Listener, Answer: t.Answer}
	if method, url, ok := strings.Cut(t.Request, " "); ok {
		q.Method, q.URL = method, strings.TrimSpace(url)
	}
	if t.From != "" {
		if q.From, err = netip.ParseAddr(t.From); err != nil {
			return q, fmt.Errorf("from: found %q: want an IP address", t.From)
		}
	}
	return q, nil
}

// judge returns what is not as expected.
func (w *testWants) judge(e *server.Explanation) (failures []string) {
	differs := func(what string, got, want any) {
		failures = append(failures, fmt.Sprintf("%s is %s, want %s", what, quoted(got), quoted(want)))
	}
	text := func(what, got string, want *string) {
		if want != nil && got != *want {
			differs(what, got, *want)
		}
	}
	text("route", e.Route, w.Route)
	text("upstream", e.Upstream, w.Upstream)
	text("cause", e.Cause, w.Cause)
	cache := ""
	if e.Cache != nil {
		cache = e.Cache.Verdict
	}
	text("cache", cache, w.Cache)
	// The names of targets that weir shows may be spelled otherwise than in the configuration.
	isPicked := func(url string) bool { return url == e.Target || (&config.Target{URL: url}).Origin() == e.Target }
	if targets := stringsOf(w.Target); targets != nil && !slices.ContainsFunc(targets, isPicked) {
		differs("target", e.Target, w.Target)
	}
	var status int
	var request string
	var sent, received []string
	if e.Response != nil {
		status, received = e.Response.Status, e.Response.Fields
	}
	if e.Request != nil {
		request, sent = strings.TrimSuffix(e.Request.Line, " HTTP/1.1"), e.Request.Fields
	}
	if w.Status != nil && status != *w.Status {
		differs("status", status, *w.Status)
	}
	text("request", request, w.Request)
	failures = append(failures, judgeFields("request_headers", sent, w.RequestHeaders)...)
	return append(failures, judgeFields("response_headers", received, w.ResponseHeaders)...)
}

// judgeFields compares lines of a head with what is expected of fields: a value, several, true
// for any, false for none.
func judgeFields(what string, lines []string, wants map[string]any) (failures []string) {
	for _, name := range slices.Sorted(maps.Keys(wants)) {
		var got []string
		for _, line := range lines {
			if n, value, _ := strings.Cut(line, ": "); strings.EqualFold(n, name) {
				got = append(got, value)
			}
		}
		ok, want := false, wants[name]
		switch want := want.(type) {
		case bool:
			ok = want == (len(got) > 0)
		default:
			ok = slices.Equal(got, stringsOf(want))
		}
		if !ok {
			failures = append(failures, fmt.Sprintf("%s.%s is %s, want %s", what, name, quoted(got), quoted(want)))
		}
	}
	return failures
}

// stringsOf is a string, or a list of strings, as a list; nil if v is nil.
func stringsOf(v any) (list []string) {
	switch v := v.(type) {
	case nil:
	case []any:
		list = []string{}
		for _, one := range v {
			list = append(list, fmt.Sprint(one))
		}
	default:
		list = []string{fmt.Sprint(v)}
	}
	return list
}

// quoted is a value as messages have it.
func quoted(v any) string {
	if list, ok := v.([]string); ok {
		switch len(list) {
		case 0:
			return "not there"
		case 1:
			return quoted(list[0])
		}
	}
	if b, ok := v.(bool); ok {
		return map[bool]string{true: "any value", false: "none"}[b]
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
