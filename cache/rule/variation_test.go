package rule_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weir/cache/rule"
)

// TestParseVariation: what No-Vary-Search means, and what it does not.
func TestParseVariation(t *testing.T) {
	// f checks that two fields mean the same; an empty second one, that the first means nothing.
	f := func(field, same string) {
		t.Helper()
		v := rule.ParseVariation([]byte(field))
		if same == "" {
			if v != nil {
				t.Errorf("%s: has a meaning", field)
			}
			return
		}
		if o := rule.ParseVariation([]byte(same)); v == nil || !v.Same(o) {
			t.Errorf("%s: not the same as %s", field, same)
		}
	}
	f(`params=("a" "b")`, `params=("b" "a" "b")`)
	f(`except=("x")`, `params, except=("x")`)
	f(`except=()`, `params`)
	f(`params=?1`, `params, except=()`)
	f(`except=("x"), key-order`, `key-order, except=("x")`)
	f(`key-order=?1`, `key-order`)
	f(`key-order, future=(1 2);x`, `key-order`)
	f(`params=("a");x=1`, `params=("a")`)
	f(`params=1, params=("a")`, `params=("a")`)
	f(`params=("%C3%A9+%E6%B0%97")`, `params=("%c3%a9%20%e6%b0%97")`)
	f(`params=("a%3Db" "\"")`, `params=("%22" "a=b")`)
	for _, malformed := range []string{
		``, `params=()`, `key-order=?0`, `key-order="not a boolean"`, `key-order, params="a"`, `params="a"`, `params=(a)`, `params=("a" 1)`,
		`params=a`, `params=?0`, `params=?0, except=("x")`, `params=("a"), except=("x")`, `params=(), except=()`, `except="x"`, `except=(x)`,
		`except=?1`, `except`, `params=1, except=("x")`, `params=("a"`, `params=("a",`, `Params=("a")`, `"a"`, `params=("é")`, `params=("a") except`,
		`params=("` + strings.Repeat("a", 5000) + `")`,
	} {
		f(malformed, "")
	}
	if rule.ParseVariation([]byte(`params=("a")`)).Same(rule.ParseVariation([]byte(`except=("a")`))) {
		t.Error("params and except mean the same")
	}
	if rule.ParseVariation([]byte(`key-order, params=("a")`)).Same(rule.ParseVariation([]byte(`params=("a")`))) {
		t.Error("key-order means nothing")
	}
}

// TestVariationKey: which URLs share a key, and how it looks.
func TestVariationKey(t *testing.T) {
	f := func(field, query, want string) {
		t.Helper()
		exact := "GET http://h/p" + query + "\nlang:de"
		key := string(rule.ParseVariation([]byte(field)).AppendKey(nil, []byte(exact)))
		if got := rule.PlainKey(key); got != "GET http://h/p"+want+"\nlang:de" {
			t.Errorf("%s: %s is %q, want %q", field, query, got, want)
		}
		if !rule.KeyVaries(key) || rule.KeyVaries(exact) || rule.KeyPath(key) != "GET http://h/p" {
			t.Errorf("%q: not a key of a variation", key)
		}
	}
	utm := `params=("utm_source" "%C3%A9+%E6%B0%97")`
	f(utm, ``, ``)
	f(utm, `?`, ``)
	f(utm, `?utm_source=x`, ``)
	f(utm, `?utm%5Fsource=x&id=5`, `?id=5`)
	f(utm, `?id=5&utm_source&b`, `?id=5&b=`)
	f(utm, `?%C3%A9+%E6%B0%97=4&%C3%A9%20%E6%B0%97=5&x`, `?x=`)
	f(utm, `?UTM_SOURCE=x`, `?UTM_SOURCE=x`)
	f(utm, `?a=x&&&&`, `?a=x`)
	f(utm, `?%61=%78`, `?a=x`)
	f(utm, `?a`, `?a=`)
	f(utm, `?=x&=`, `?=x&=`)
	f(utm, `?a=+&b=%20&c=%2B`, `?a=+&b=+&c=%2B`)
	f(utm, `?a=b=c&a%3Db=c`, `?a=b=c&a%3Db=c`)
	f(utm, `?a=%f6&b=%2&c=%`, `?a=%F6&b=%252&c=%25`)
	f(utm, `?b=%0a~&a=%26`, `?b=%0A~&a=%26`)
	f(utm, `?q=a,b/c:d@e`, `?q=a,b/c:d@e`)
	f(utm, `?utm_source=x;id=5`, `?utm_source=x;id=5`)
	f(`key-order`, `?b=1&a=2&b=0&a=1`, `?a=2&a=1&b=1&b=0`)
	f(`key-order`, `?aa=1&a=1`, `?a=1&aa=1`)
	f(`except=("id")`, `?x=1&id=5&y&id=4`, `?id=5&id=4`)
	f(`except=()`, `?x=1&id=5&y`, ``)
	f(`key-order, except=("a" "b")`, `?c=1&b=1&a=1`, `?a=1&b=1`)
}

// TestKeyBegins: the beginning of a URL names the keys of all URLs that begin so.
func TestKeyBegins(t *testing.T) {
	varied := string(rule.ParseVariation([]byte(`params=("a")`)).AppendKey(nil, []byte("GET http://h/p?a=1&b=2")))
	f := func(key, prefix string, want bool) {
		t.Helper()
		if rule.KeyBegins(key, prefix) != want {
			t.Errorf("%q begins with %q: %v", key, prefix, !want)
		}
	}
	f(varied, "GET http://h/", true)
	f(varied, "GET http://h/p?a=", true)
	f(varied, "GET http://h/pp?a=", false)
	f("GET http://h/p?b=2", "GET http://h/p?a=", false)
	f("GET http://h/p?b=2", "GET http://h/p?b", true)
}

// FuzzVariation: two queries share a key exactly if the specification's comparison says that
// they are equivalent, and a query shares one with its own form in the key.
func FuzzVariation(f *testing.F) {
	for _, names := range []string{"a&b", "a&c", "", "b="} {
		for flags := range uint8(4) {
			f.Add(names, flags, "a=1&b=2&c=3", "c=3&a=2")
			f.Add(names, flags, "c=1&b=2&c=3&%62", "b&c=3&c=1")
			f.Add(names, flags, "x=%2b+&=&&%%4", "x=%2B%20&=&%25%254=")
		}
	}
	f.Fuzz(func(t *testing.T, names string, flags uint8, a, b string) {
		if strings.ContainsAny(a+b, ";\n") {
			return
		}
		except, anyOrder := flags&1 != 0, flags&2 != 0
		list := strings.Split(names, "&")
		var text []string
		for _, n := range list {
			text = append(text, `"`+url.QueryEscape(n)+`"`)
		}
		member := "params"
		if except {
			member = "except"
		}
		v := rule.ParseVariation(fmt.Appendf(nil, "key-order=?%d, %s=(%s)", flags>>1&1, member, strings.Join(text, " ")))
		key := func(query string) string { return string(v.AppendKey(nil, []byte("GET http://h/p?"+query+"\nx=y"))) }
		params := func(query string) (kept [][2]string) {
			for pair := range strings.SplitSeq(query, "&") {
				name, value, _ := strings.Cut(pair, "=")
				if name = formDecoded(name); pair != "" && slices.Contains(list, name) == except {
					kept = append(kept, [2]string{name, formDecoded(value)})
				}
			}
			if anyOrder {
				slices.SortStableFunc(kept, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
			}
			return kept
		}
		if same := slices.Equal(params(a), params(b)); same != (key(a) == key(b)) {
			t.Fatalf("%q and %q: equivalent %v, keys %q and %q", a, b, same, key(a), key(b))
		}
		_, form, _ := strings.Cut(string(rule.KeyURL([]byte(key(a)))), "?")
		if key(form) != key(a) {
			t.Fatalf("%q has the form %q, which has another", a, form)
		}
	})
}

var escape = regexp.MustCompile("%[0-9a-fA-F]{2}")

// formDecoded is a name or value without its encoding.
func formDecoded(s string) string {
	return escape.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(e string) string {
		n, _ := strconv.ParseUint(e[1:], 16, 8)
		return string([]byte{byte(n)})
	})
}
