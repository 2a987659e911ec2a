package config

import (
	"strings"
	"testing"
)

func TestRouteMetrics(t *testing.T) {
	t.Parallel()
	check := func(table, want string) {
		t.Helper()
		_, err := Parse("test.toml", []byte("[[listeners]]\naddress = \":0\"\n[[routes]]\npath = \"/{model}/\"\nrespond = { body = \"x\" }\n"+table))
		switch {
		case err == nil && want != "":
			t.Errorf("%s: no error, want one with %q", table, want)
		case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", table, err, want)
		}
	}
	rule := func(lines string) string { return "[[routes.metrics]]\nname = \"n_total\"\n" + lines + "\n" }
	check(rule(""), "")
	check(rule(`value = "json:a.b"`), "")
	check(rule(`labels = { a = "capture:model", b = "text:", c = "method" }`), "")
	check("[[routes.metrics]]\n", `routes[0].metrics[0].name`)
	check("[[routes.metrics]]\nname = \"weir_x\"\n", `"weir_x"`)
	check("[[routes.metrics]]\nname = \"a b\"\n", `"a b"`)
	check(rule(`type = "sum"`), `"counter"`)
	check(rule(`from = "body"`), `"response"`)
	check(rule(`value = "json:"`), `"json:PATH"`)
	check(rule(`value = "text:1"`), `"text:1"`)
	check(rule(`value = "header:a b"`), `"header:a b"`)
	check(rule(`value = "status:x"`), `"status:x"`)
	check(rule(`value = "-1"`), `routes[0].metrics[0].value: found "-1": want a finite number, which is not negative for a counter`)
	check(rule("type = \"gauge\"\nvalue = \"-1\""), "")
	check(rule("type = \"gauge\"\nvalue = \"Inf\""), `a finite number`)
	check(rule("type = \"gauge\"\nvalue = \"1e999\""), `a finite number`)
	check(rule("from = \"request\"\nvalue = \"status\""), `from = "response"`)
	check(rule(`labels = { a = "capture:nodel" }`), `"model"`)
	check(rule(`labels = { route = "method" }`), `"route"`)
	check(rule(`labels = { a = "nothing" }`), `"text:WORDS"`)
	check(rule(`content_types = ["json"]`), `"json"`)
	check(rule(`max_label_values = 0`), `1 to 1000`)
	check(rule(`max_body = "1GiB"`), `"1GiB"`)
	check(rule("type = \"histogram\"\nbuckets = [1, 1]"), `larger than the one before`)
	check(rule("type = \"histogram\"\nbuckets = []"), `at least one finite number`)
	check(rule("type = \"histogram\"\nbuckets = [1, inf]"), `at least one finite number`)
	check(rule("type = \"histogram\"\nbuckets = [nan]"), `at least one finite number`)
	// Of one name all must be alike.
	check(rule(`labels = { a = "method" }`)+rule(`labels = { a = "text:x" }`), "")
	check(rule(`labels = { a = "method" }`)+rule(`labels = { b = "method" }`), `routes[0].metrics[0]`)
	check(rule("")+rule(`type = "gauge"`), `or another name`)
}
