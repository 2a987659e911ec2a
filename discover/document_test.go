package discover_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/discover"
	"weir/lb"
)

func TestParseEndpoints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, good, bad, err string }{
		{`targets = ["http://a", { url = "https://b/", weight = 3, priority = 2, drain = true }]`, "[{http://a 1 0 false 0} {https://b 3 2 true 0}]", "", ""},
		{"[[targets]]\nurl = \"unix:/a\"\n", "[{unix:/a 1 0 false 0}]", "", ""},
		{`{"targets": ["http://a", {"url": "http://b", "weight": 3}]}`, "[{http://a 1 0 false 0} {http://b 3 0 false 0}]", "", ""},
		{` ["a:80", "[::1]:80", "10.0.0.1:80"] `, "[{http://a 1 0 false 0} {http://[::1] 1 0 false 0} {http://10.0.0.1 1 0 false 0}]", "", ""},
		{"targets = []", "[]", "", ""},
		{"\ufeff[\"http://a\"]", "[{http://a 1 0 false 0}]", "", ""},
		{"\ufefftargets = [\"http://a\"]", "[{http://a 1 0 false 0}]", "", ""},
		{"[]", "[]", "", ""},
		// One that is bad costs the others nothing.
		{`["http://a", 5, null, {"url": "ftp://b"}, "http://c"]`, "[{http://a 1 0 false 0} {http://c 1 0 false 0}]",
			`targets[1]: found 5: want a URL|targets[2]: found null|targets[3]: found "ftp://b": want "http://host:port"`, ""},
		{`[{"url": "http://a", "weight": 0}, {"url": "http://a", "weight": 1.5}, {"url": "http://a", "priority": 16}, {"url": "http://a", "drain": 1}, {"url": 1}, {"wieght": 1}, {}]`, "[]",
			"weight: found 0: want a whole number of 1 to 1000000|found 1.5|priority: found 16|drain: found 1: want true or false|url: found 1|found the key \"wieght\"|found nothing", "none of the targets can be used: targets[0]: weight"},
		{`["http://user:secret@a"]`, "[]", "a URL with a user", "none of"},
		{`["http://${HOME}"]`, "[]", "${HOME}", "none of"}, // the environment is not for those who write documents
		{"", "[]", "", `no key "targets"`},
		{"other = 1", "[]", "", `found the key "other"`},
		{"targets = 5", "[]", "", "targets: found 5: want a list"},
		{"targets = [", "[]", "", "neither TOML nor JSON"},
		{`{"targets": [`, "[]", "", "no JSON"},
		{"[] []", "[]", "", "neither TOML nor JSON"},
		{"{} {}", "[]", "", "more after the JSON"},
		{`"http://a"`, "[]", "", "want a list of targets"},
		{"<html>nonsense</html>", "[]", "", "neither TOML nor JSON"},
		{"targets = [\"http://\xff\"]", "[]", "", "not UTF-8"},
	} {
		good, bad, err := discover.ParseEndpoints([]byte(test.text))
		equal(t, test.text, fmt.Sprint(good), test.good)
		if problem := fmt.Sprint(err); err == nil && test.err != "" || !strings.Contains(problem, test.err) {
			t.Errorf("%s: got error %v, want %s", test.text, err, test.err)
		}
		for i, want := range strings.Split(test.bad, "|") {
			switch {
			case want == "":
				equal(t, test.text, len(bad), 0)
			case i >= len(bad) || !strings.Contains(bad[i].Error(), want) || strings.Contains(bad[i].Error(), "secret"):
				t.Errorf("%s: got %v, want %s", test.text, bad, want)
			}
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http://a\n":  "{http://a 1 0 false 0} <nil>",
		"A:080":       "{http://a 1 0 false 0} <nil>",
		`"https://a"`: "{https://a 1 0 false 0} <nil>",
		`{"url": "http://a", "weight": 2, "drain": true}`: "{http://a 2 0 true 0} <nil>",
	} {
		e, err := discover.ParseEndpoint([]byte(text))
		equal(t, text, fmt.Sprint(e, err), want)
	}
	for _, text := range []string{"", "nonsense", "{", "{} x", `["http://a"]`, "a:99999"} {
		if e, err := discover.ParseEndpoint([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, e)
		}
	}
	e := lb.Endpoint{URL: "http://a", Weight: 7, Priority: 3, Drain: true}
	again, err := discover.ParseEndpoint(discover.FormatEndpoint(e))
	equal(t, "read again", fmt.Sprint(again, err), fmt.Sprint(e, nil))
}

func TestQuery(t *testing.T) {
	t.Parallel()
	read := func(q *discover.Query) string {
		return fmt.Sprintln(q.Text("a"), q.Texts("b"), q.OneOf("c", "x", "y"), q.Flag("d", true), q.Duration("e", time.Second, 0, time.Minute))
	}
	for text, want := range map[string]string{
		"":                              "[] x true 1s",
		"a=1&b=2&b=3&c=y&d=false&e=10s": "1 [2 3] y false 10s",
	} {
		q := discover.ParseQuery(text)
		equal(t, text, strings.TrimSpace(read(q)), want)
		equal(t, text, q.Err(), nil)
	}
	for text, want := range map[string]string{
		"a=1&a=2": "this option once", "c=z": `found "c=z": want x or y`, "d=1": "true or false", "e=2m": "a time of 0s to 1m0s", "e=x": "a time",
		"f=1": "one of the options a, b, c, d, e", "%": "NAME=VALUE",
	} {
		q := discover.ParseQuery(text)
		read(q)
		if err := q.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
