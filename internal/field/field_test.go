package field_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"weir/internal/field"
)

func TestToken(t *testing.T) {
	check := func(s string, want bool) {
		t.Helper()
		if got := field.IsToken(s); got != want {
			t.Errorf("IsToken(%q) is %v", s, got)
		}
		if got := field.IsToken([]byte(s)); got != want {
			t.Errorf("IsToken of the bytes %q is %v", s, got)
		}
	}
	check("X-Service_1.0", true)
	check("!#$%&'*+-.^_`|~", true)
	check("", false)
	for _, s := range []string{"a b", "a:", "a\x00", "a\x7f", "\u00e4", "a,b", `"a"`, "a/b", "a=b", "(a)", "a@b", "[a]", "{a}", "a;b"} {
		check(s, false)
	}
}

func TestFold(t *testing.T) {
	check := func(a, b string, want bool) {
		t.Helper()
		if got := field.EqualFold([]byte(a), b); got != want {
			t.Errorf("EqualFold(%q, %q) is %v", a, b, got)
		}
	}
	check("Keep-Alive", "keep-alive", true)
	check("keep-alive", "KEEP-ALIVE", true)
	check("", "", true)
	check("a", "ab", false)
	// Bytes that differ in the bit of the case alone, but are not letters.
	check("a\r", "a-", false)
	check("a@", "a`", false)
	check("[", "{", false)
	check("\xc4", "\xe4", false)
	b := []byte("GZip, \xc4[@")
	if field.LowerAll(b); string(b) != "gzip, \xc4[@" {
		t.Errorf("%q", b)
	}
}

func TestTrim(t *testing.T) {
	check := func(in, want string) {
		t.Helper()
		if got := string(field.Trim([]byte(in))); got != want {
			t.Errorf("Trim(%q) is %q, want %q", in, got, want)
		}
	}
	check(" \ta b\t ", "a b")
	check("a", "a")
	check(" \t ", "")
	check("", "")
	check("\ra\n", "\ra\n") // no other space is optional
	if field.Trim([]byte(" ")) == nil {
		t.Error("a value that is empty became one that is absent")
	}
}

func TestLists(t *testing.T) {
	check := func(list string, members, tags, tokens string) {
		t.Helper()
		all := func(next func([]byte) (member, rest []byte, more bool)) string {
			var found []string
			for rest := []byte(list); ; {
				member, left, more := next(rest)
				if !more {
					return strings.Join(found, "|")
				}
				found, rest = append(found, string(member)), left
			}
		}
		if got := all(field.Next); got != members {
			t.Errorf("%q has the members %q, want %q", list, got, members)
		}
		if got := all(field.NextTag); got != tags {
			t.Errorf("%q has the tags %q, want %q", list, got, tags)
		}
		var found []string
		for token := range field.Tokens([]byte(list)) {
			found = append(found, string(token))
		}
		if got := strings.Join(found, "|"); got != tokens {
			t.Errorf("%q has the tokens %q, want %q", list, got, tokens)
		}
	}
	check("", "", "", "")
	check(" a ,\tb", "a|b", "a|b", "a|b")
	check(",a,,b,", "|a||b", "|a||b", "a|b")
	check(`"a,b",c`, `"a,b"|c`, `"a,b"|c`, `"a|b"|c`)
	// A backslash hides the quotation mark after it in a quoted string alone.
	check(`"a\",b",c`, `"a\",b"|c`, `"a\"|b",c`, `"a\"|b"|c`)
	check(`\"a,b"`, `\"a,b"`, `\"a,b"`, `\"a|b"`)
	check(`a", close`, `a", close`, `a", close`, `a"|close`)

	has := func(list, token string, want bool) {
		t.Helper()
		if got := field.HasToken([]byte(list), token); got != want {
			t.Errorf("HasToken(%q, %q) is %v", list, token, got)
		}
	}
	has("keep-alive, Close", "close", true)
	has("closed", "close", false)
	has(`x="a, close, b"`, "close", true) // rather too often than hidden
	has("", "", false)
}

func TestPairs(t *testing.T) {
	cookie := func(line, name, want string, there bool) {
		t.Helper()
		if got := field.Cookie([]byte(line), name); string(got) != want || (got != nil) != there {
			t.Errorf("Cookie(%q, %q) is %q", line, name, got)
		}
	}
	cookie("a=1; b=2", "b", "2", true)
	cookie("a=1;b=2; b=3", "b", "2", true)
	cookie("b=; a=1", "b", "", true)
	cookie("b; b=1=2", "b", "1=2", true)
	cookie("B=1; bb=2", "b", "", false)
	cookie("", "", "", false)

	parameter := func(query, name, want string, there bool) {
		t.Helper()
		if got := field.Parameter([]byte(query), name); string(got) != want || (got != nil) != there {
			t.Errorf("Parameter(%q, %q) is %q", query, name, got)
		}
	}
	parameter("a=1&b=2", "b", "2", true)
	parameter("b=&b=2", "b", "", true)
	parameter("a=b&%62=1", "b", "", false)
	parameter("b=1=2", "b", "1=2", true)
	parameter("", "b", "", false)

	decoded := func(in, want string) {
		t.Helper()
		if got := string(field.AppendDecoded(nil, []byte(in))); got != want {
			t.Errorf("AppendDecoded(%q) is %q, want %q", in, got, want)
		}
	}
	decoded("a%62%2Bc+", "ab+c+")
	decoded("%2", "%2")
	decoded("%g1%+1%%31", "%g1%+1%1")
}

func TestStructured(t *testing.T) {
	check := func(b string, ok bool, want ...string) {
		t.Helper()
		var found []string
		got := field.Dictionary([]byte(b), func(key []byte, v field.Item) bool {
			found = append(found, string(key))
			return string(key) != "refused"
		})
		if got != ok || ok && strings.Join(found, " ") != strings.Join(want, " ") {
			t.Errorf("%q: %v with the keys %q", b, got, found)
		}
	}
	check("", true)
	check("a", true, "a")
	check(" a=1,\tb=(1);x=1, *c=\"d\" ", true, "a", "b", "*c")
	check("a=(1 \"b\";q=1.5 ?0);x, b=:YQ==:, c=@1, d=tok/en", true, "a", "b", "c", "d")
	for _, bad := range []string{"A", "a,", "a b", "a=", "a=\"", "a=(1", "a=1.", "a=1.1234", "a=:%:", "a=?2", "a=\"\\x\"", "refused", "a=(1,2)", "a;x=(1)", "a=1234567890123456"} {
		check(bad, false)
	}

	list := func(b string, ok bool, want string) {
		t.Helper()
		var found []string
		got := field.List([]byte(b), func(v field.Item) {
			if v.Kind == field.String {
				found = append(found, string(v.Text))
			}
		})
		if got != ok || ok && strings.Join(found, "|") != want {
			t.Errorf("%q: %v with %q", b, got, found)
		}
	}
	list(`"a", "b\"c";x, token, ""`, true, `a|b"c|`)
	list("", true, "")
	list(`"a",`, false, "")
	list(`"a" "b"`, false, "")
}

func TestDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix()
	check := func(text string, want time.Time) {
		t.Helper()
		if at, ok := field.ParseDate([]byte(text), now); !ok || at != want.Unix() {
			t.Errorf("%q is %v, %v", text, time.Unix(at, 0).UTC(), ok)
		}
	}
	at := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	check("Sun, 06 Nov 1994 08:49:37 GMT", at)
	check("sun, 06 nov 1994 08:49:37 gmt", at)
	check("Sunday, 06-Nov-94 08:49:37 GMT", at)
	check("Sun Nov  6 08:49:37 1994", at)
	check("Sunday, 06-Nov-76 08:49:37 GMT", time.Date(2076, 11, 6, 8, 49, 37, 0, time.UTC))
	check("Sunday, 06-Nov-77 08:49:37 GMT", time.Date(1977, 11, 6, 8, 49, 37, 0, time.UTC))
	for _, bad := range []string{"", "0", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT", "Sun 06 Nov 1994 08:49:37 GMT"} {
		if at, ok := field.ParseDate([]byte(bad), now); ok {
			t.Errorf("%q is %v", bad, at)
		}
	}
	for _, sec := range []int64{0, -1, at.Unix(), now, 951782400, 4107542399} {
		if got, want := string(field.AppendDate(nil, sec)), time.Unix(sec, 0).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"); got != want {
			t.Errorf("%d is %q, want %q", sec, got, want)
		}
	}
}

// FuzzDate: what is read can be written and read again.
func FuzzDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"Tue, 29 Feb 2000 23:59:60 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at, ok := field.ParseDate(b, 1767323045)
		if !ok {
			return
		}
		text := field.AppendDate(nil, at)
		if again, ok := field.ParseDate(text, 1767323045); !ok || again != at {
			t.Fatalf("%q is %d, which is %q", b, at, text)
		}
	})
}

// FuzzLists: no list makes a split fail, every byte of it is in a member, at its
// ends or a comma, and what cuts at every comma cuts wherever the others do.
func FuzzLists(f *testing.F) {
	for _, s := range []string{"a, b", `"a,b" , c`, `"a\",b", c`, `W/"x\", "y"`, ",,", `"`, `\`, " \t", `a=":,"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		in := bytes.Clone(list)
		plain := strings.Split(string(list), ",")
		for _, next := range []func([]byte) (member, rest []byte, more bool){field.Next, field.NextTag} {
			var pieces [][]byte
			for rest := list; ; {
				member, left, more := next(rest)
				if !more {
					break
				}
				whole := rest[:len(rest)-len(left)]
				if left != nil {
					whole = whole[:len(whole)-1]
				}
				if !bytes.Equal(bytes.Trim(whole, " \t"), member) {
					t.Fatalf("%q: the member %q of %q", list, member, whole)
				}
				pieces, rest = append(pieces, whole), left
			}
			if joined := bytes.Join(pieces, []byte{','}); string(joined) != strings.TrimSuffix(string(list), ",") && string(joined) != string(list) {
				t.Fatalf("%q became %q", list, pieces)
			}
			if len(pieces) > len(plain) {
				t.Fatalf("%q has %d members, and %d between commas", list, len(pieces), len(plain))
			}
		}
		var tokens []string
		for token := range field.Tokens(list) {
			tokens = append(tokens, string(token))
			if !field.HasToken(list, string(bytes.ToUpper(token))) && isASCII(token) {
				t.Fatalf("%q is not found in %q", token, list)
			}
		}
		var want []string
		for _, p := range plain {
			if p = strings.Trim(p, " \t"); p != "" {
				want = append(want, p)
			}
		}
		if strings.Join(tokens, ",") != strings.Join(want, ",") {
			t.Fatalf("%q has the tokens %q, want %q", list, tokens, want)
		}
		if !bytes.Equal(in, list) {
			t.Fatal("the list was changed")
		}
	})
}

func isASCII(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r > 0x7e })
}

// FuzzStructured: no bytes make the parser fail or change what it reads, and
// what it refuses gives the same answer again.
func FuzzStructured(f *testing.F) {
	for _, s := range []string{"a=1;x=?1, b=(a \"c\" 1.5);q, c=:YQ==:", "a=@1, b=-1", `"a", "b\"c"`, "a,", "("} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		keys := 0
		ok := field.Dictionary(b, func(key []byte, v field.Item) bool {
			keys++
			if len(key) == 0 || v.Kind == field.Integer && (v.Number > 999_999_999_999_999 || v.Number < -999_999_999_999_999) {
				t.Fatalf("%q: %q is %v", b, key, v)
			}
			return true
		})
		if ok && keys == 0 && len(field.Trim(b)) > 0 {
			t.Fatalf("%q is a dictionary without a key", b)
		}
		field.List(b, func(field.Item) {})
		if !bytes.Equal(in, b) {
			t.Fatal("the field was changed")
		}
	})
}
