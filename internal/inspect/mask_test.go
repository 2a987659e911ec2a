package inspect

import (
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
)

func TestMaskBody(t *testing.T) {
	t.Parallel()
	names := newSecretNames([]string{"X-Our-Key", "ssn*", "*zip-code"})
	check := func(kind, body, want string) {
		t.Helper()
		m := masker{names: names, at: "b"}
		if got := string(m.appendBody(nil, kind, []byte(body))); got != want {
			t.Errorf("%s %s\nis  %s\nwant %s", kind, body, got, want)
		}
		// A body that is cut anywhere shows no secret, which all have an S in these tests.
		for i := range body {
			m := masker{names: names, at: "b"}
			if got := string(m.appendBody(nil, kind, []byte(body[:i]))); strings.Contains(got, "SECRET") || strings.Contains(got, "SEC") {
				t.Errorf("cut after %q: %s", body[:i], got)
			}
		}
	}
	const jsonKind, form, events = "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/event-stream"
	check(jsonKind, `{"user":"u","password":"SECRET","n":1}`, `{"user":"u","password":"(hidden)","n":1}`)
	check(jsonKind, `{ "Api-Key" : "SECRET\"SECRET" , "x": [1,2] }`, `{ "Api-Key" : "(hidden)" , "x": [1,2] }`)
	check(jsonKind, `{"token":{"a":["SECRET"],"b":"SECRET}"},"b":2}`, `{"token":"(hidden)","b":2}`)
	check(jsonKind, `{"token":["SECRET",{"a":"SECRET"}],"b":{"c":null}}`, `{"token":"(hidden)","b":{"c":null}}`)
	check(jsonKind, `{"password":null,"pin":123456}`, `{"password":null,"pin":"(hidden)"}`)
	check(jsonKind, `{"pass\u0077ord":"SECRET"}`, `{"pass\u0077ord":"(hidden)"}`)
	check(jsonKind, `{"accessToken":"SECRET","max_tokens":100,"author":"a","tokens":3}`, `{"accessToken":"(hidden)","max_tokens":100,"author":"a","tokens":3}`)
	check(jsonKind, `{"SSN_number":"SECRET","zip_code":"SECRET","x_our_key":"SECRET"}`, `{"SSN_number":"(hidden)","zip_code":"(hidden)","x_our_key":"(hidden)"}`)
	check(jsonKind, `[{"name":"password","value":"SECRET"},{"name":"user","value":"u"}]`, `[{"name":"password","value":"(hidden)"},{"name":"user","value":"u"}]`)
	check(jsonKind, `{"x" "password":"SECRET","y":}{"password":'SECRET'}`, `{"x" "password":"(hidden)","y":}{"password":"(hidden)"}`)
	check(jsonKind, `"password":"SECRET", "a":"b"`, `"password":"(hidden)", "a":"b"`)
	check(jsonKind, `{password: "SECRET", 'token': "SECRET", a: 1}`, `{password: "(hidden)", 'token': "(hidden)", a: 1}`)
	check(jsonKind, `["password":["SECRET"],"a"]}"token":"SECRET"`, `["password":"(hidden)","a"]}"token":"(hidden)"`)
	check(jsonKind, `{"value" : {"a":1} , "x":[1], "name":"password","b":"c"}`, `{"value" :"(hidden)", "x":[1], "name":"password","b":"c"}`)
	check(jsonKind, `{"value":"v","name":"user"}`, `{"value":"v","name":"user"}`)
	check(jsonKind, `{"body":"{\"password\":\"SECRET\",\"a\":\"b\"}"}`, `{"body":"{\"password\":\"(hidden)\",\"a\":\"b\"}"}`)
	check(jsonKind, `{"query":"mutation { login(password: \"SECRET\") { id } }"}`, `{"query":"mutation { login(password: \"(hidden)\") { id } }"}`)
	check(jsonKind, `{"url":"http://u:SECRET@h/x?token=SECRET&a=1"}`, `{"url":"http://u:(hidden)@h/x?token=(hidden)&a=1"}`)
	check(jsonKind, `{"a":1}{"secret":"SECRET"}`, `{"a":1}{"secret":"(hidden)"}`)
	check(jsonKind, `{"error":"unexpected token: x","code":1}`, `{"error":"unexpected token: (hidden)","code":1}`)
	check("application/x-ndjson", "{\"token\":\"SECRET\"}\n{\"a\":\"b\"}\n", "{\"token\":\"(hidden)\"}\n{\"a\":\"b\"}\n")
	check("", `{"password":"SECRET"}`, `{"password":"(hidden)"}`)
	check("text/html", ")]}'\n{\"password\":\"SECRET\"}", ")]}'\n{\"password\":\"(hidden)\"}")
	check(form, "a=1&password=SECRET&b=2", "a=1&password=(hidden)&b=2")
	check(form, "pass%77ord=SECRET&user%5Bpassword%5D=SECRET&x", "pass%77ord=(hidden)&user%5Bpassword%5D=(hidden)&x")
	check(form, "j=%7B%22password%22%3A%22SECRET%22%7D&u=http%3A%2F%2Fh", "j=%7B%22password%22%3A%22(hidden)%22%7D&u=http%3A%2F%2Fh")
	check(events, "event: a\ndata: {\"token\":\"SECRET\"}\n\ndata: {\"a\":\ndata: \"b\"}\n\n", "event: a\ndata: {\"token\":\"(hidden)\"}\n\ndata: {\"a\":\ndata: \"b\"}\n\n")
	check(events, "data: {\"token\":\ndata: \"SECRET\"}\n\n", "data: {\"token\":\ndata: \"(hidden)\"}\n\n")
	check("multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nSECRET\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nhello\r\n--B--\r\n",
		"--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n(hidden)\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nhello\r\n--B--\r\n")
	check("multipart/form-data", "SECRET", "(hidden)")
	check("text/plain", "user: u\npassword: SECRET SECRET\nx: 1", "user: u\npassword: (hidden)\nx: 1")
	check("text/plain", "Authorization: Bearer SECRET\nHost: h", "Authorization: (hidden)\nHost: h")
	check("text/plain", "curl -H 'Authorization: Bearer SECRET' x", "curl -H 'Authorization: (hidden)' x")
	check("text/plain", "sent Bearer SECRETSECRET to x", "sent Bearer (hidden) to x")
	check("application/xml", "<a><password>SECRET</password><b>1</b><ns:token x='1'>SECRET</ns:token></a>", "<a><password>(hidden)</password><b>1</b><ns:token x='1'>(hidden)</ns:token></a>")
	check("text/html", `<input type="hidden" name="csrf_token" value="SECRET"><input name="q" value="1">`, `<input type="hidden" name="csrf_token" value="(hidden)"><input name="q" value="1">`)
	check("text/html", `<script>var c = {"apiKey": "SECRET", "a": 1}</script>`, `<script>var c = {"apiKey": "(hidden)", "a": 1}</script>`)
	check("application/xml", "<s:secret><v>SECRET</v><w/>SECRET</s:secret><token><![CDATA[SECRET]]></token><b>1</b>", "<s:secret>(hidden)</s:secret><token>(hidden)</token><b>1</b>")
	check("application/xml", `<password token="SECRET" a="1">SECRET</password>`, `<password token="(hidden)" a="1">(hidden)</password>`)
	check("text/plain", "Bearer   SECRETSECRET to x", "Bearer   (hidden) to x")
	check("text/html", `<input value="v" name="q"> <input type=hidden name=csrf_token value=SECRET>`, `<input value="v" name="q"> <input type=hidden name=csrf_token value=(hidden)>`)
	check("image/png", "\x00\x01token=x", "\x00\x01token=x")
}

func TestMaskFields(t *testing.T) {
	t.Parallel()
	names := newSecretNames(nil)
	check := func(name, value, want string) {
		t.Helper()
		m := masker{names: names, at: "request"}
		if got := string(m.appendField(nil, []byte(name), []byte(value))); got != name+": "+want+"\n" {
			t.Errorf("%s: %s is %q, want %q", name, value, got, want)
		}
	}
	check("Authorization", "Bearer abc", "Bearer (hidden)")
	check("authorization", "abc", "(hidden)")
	check("Proxy-Authorization", "Basic dTpw", "Basic (hidden)")
	check("Cookie", "a=1; session=2; odd", "a=(hidden); session=(hidden); (hidden)")
	check("Set-Cookie", "a=1; Path=/; HttpOnly", "a=(hidden); Path=/; HttpOnly")
	check("X-Api-Key", "abc", "(hidden)")
	check("X-Auth-Token", "abc", "(hidden)")
	check("Referer", "http://h/?token=abc&a=1", "http://h/?token=(hidden)&a=1")
	check("Location", "https://u:p@h/cb#access_token=abc&x=1", "https://u:(hidden)@h/cb#access_token=(hidden)&x=1")
	check("Accept", "text/html;q=0.9", "text/html;q=0.9")
	check("WWW-Authenticate", `Bearer realm="x"`, `Bearer realm="x"`)
	check("Idempotency-Key", "abc", "abc")
	check("ETag", `"abc"`, `"abc"`)
	m := masker{names: names, at: "request"}
	if got := string(m.appendTarget(nil, []byte("/a;jsessionid=1?b=2&api%5Fkey=3&c"))); got != "/a;jsessionid=(hidden)?b=2&api%5Fkey=(hidden)&c" {
		t.Errorf("the target is %q", got)
	}
}

// TestMaskForms: forms, whatever the order of their fields, the names of these, and the type that they are said to have.
func TestMaskForms(t *testing.T) {
	t.Parallel()
	names := newSecretNames([]string{"our2"})
	check := func(kind, body, want string) {
		t.Helper()
		m := masker{names: names, at: "b"}
		if got := string(m.appendBody(nil, kind, []byte(body))); got != want {
			t.Errorf("%s %s\nis  %s\nwant %s", kind, body, got, want)
		}
	}
	const form, jsonKind = "application/x-www-form-urlencoded", "application/json"
	// A pair of fields, one of which names a secret.
	check(form, "name=password&value=SECRET&a=1", "name=password&value=(hidden)&a=1")
	check(form, "value=SECRET&a=1&name=password", "value=(hidden)&a=1&name=password")
	check(form, "value=v&name=user", "value=v&name=user")
	check(form, "f%5B0%5D%5Bvalue%5D=SECRET&f[0][name]=api+key&f[1][value]=v&f[1][name]=user",
		"f%5B0%5D%5Bvalue%5D=(hidden)&f[0][name]=api+key&f[1][value]=v&f[1][name]=user")
	check(form, "i.0.val=SECRET&i.0.key=pin&i.1.val=v&i.1.key=x", "i.0.val=(hidden)&i.0.key=pin&i.1.val=v&i.1.key=x")
	check(form, "value1=SECRET&value_2=v&name1=token&name_2=b", "value1=(hidden)&value_2=v&name1=token&name_2=b")
	check(form, "value[]=SECRET&name[]=password", "value[]=(hidden)&name[]=password")
	// Names with parts and numbers.
	check(form, "user[pin][]=SECRET&login.pin=SECRET&form:pw=SECRET&pin[0]=SECRET", "user[pin][]=(hidden)&login.pin=(hidden)&form:pw=(hidden)&pin[0]=(hidden)")
	check(form, "otp1=SECRET&token-2=SECRET&our2=SECRET&our3=v&api+key=SECRET", "otp1=(hidden)&token-2=(hidden)&our2=(hidden)&our3=v&api+key=(hidden)")
	// A plus sign in a value is no space.
	check(form, "u=a%2Bb+c%3Fpassword%3DSECRET", "u=a%2Bb+c%3Fpassword%3D(hidden)")
	// HTML with the value first.
	check("text/html", `don't <input value="a>SECRET" type='hidden' name = "csrf_token"><input value="v" name=q>`, `don't <input value="(hidden)" type='hidden' name = "csrf_token"><input value="v" name=q>`)
	check("text/html", `<meta content='SECRET' name='csrf-token'/><input value=SECRET name=pin><p value=v>`, `<meta content='(hidden)' name='csrf-token'/><input value=(hidden) name=pin><p value=v>`)
	// What is no form.
	check(form, `{"password":"SECRET","a":"="}`, `{"password":"(hidden)","a":"="}`)
	check(form, "<a><password>SECRET</password></a>", "%3Ca%3E%3Cpassword%3E(hidden)%3C%2Fpassword%3E%3C%2Fa%3E")
	check(jsonKind, "a=1&password=SECRET&b=2", "a=1&password=(hidden)&b=2")
	check(jsonKind, "<password>SECRET</password>", "<password>(hidden)</password>")

	const head, multi = "Content-Disposition: form-data; ", "multipart/form-data; boundary="
	part := func(name, value string) string {
		return "--B\r\n" + head + "name=" + name + "\r\n\r\n" + value + "\r\n"
	}
	parts := func(kind, before, after string) {
		t.Helper()
		check(kind, before+"--B--\r\n", after+"--B--\r\n")
	}
	for _, kind := range []string{multi + "B", multi + `"B"; charset=x`, "Multipart/Form-Data; charset=x; BOUNDARY=B", form, "text/plain", jsonKind} {
		parts(kind, part(`"value"`, "SECRET")+part(`"name"`, "password")+part("a", "b"), part(`"value"`, "(hidden)")+part(`"name"`, "password")+part("a", "b"))
		parts(kind, part("pin", "SECRET\r\n\r\nSECRET")+part("a", "b\r\n\r\n"), part("pin", "(hidden)")+part("a", "b\r\n\r\n"))
	}
	for _, name := range []string{`"password"`, "password", `"pass\word"`, "x; name=\"token\"; filename*=UTF-8''a", "\"pin\"; filename=\"name=a;b\"", "\"user[pin]\""} {
		text := strings.Replace(part(name, "SECRET"), "name=x; ", `filename="a;name=b"; `, 1)
		parts(multi+"B", text, strings.Replace(text, "SECRET", "(hidden)", 1))
	}
	check(multi+"B", "--B\r\ncontent-disposition:form-data;\r\n name*=UTF-8'en'p%61ssword\r\n\r\nSECRET", "--B\r\ncontent-disposition:form-data;\r\n name*=UTF-8'en'p%61ssword\r\n\r\n(hidden)")
	// Lines that end with LF alone; what looks like a mark, inside of a secret; a boundary that is not there.
	check(multi+"B", "--B\n"+head+"name=pin\n\nSECRET\n--B--\n", "--B\n"+head+"name=pin\n\n(hidden)\n--B--\n")
	check(multi+"B", "--B\r\n"+head+"name=pin\r\n\nS--BSECRET\r\n--Bx SECRET\r\n--B--", "--B\r\n"+head+"name=pin\r\n\n(hidden)\r\n--B--")
	check(multi+"C", part("pin", "SECRET"), "(hidden)")
	check(multi, "", "")
}

// Whatever the body is, masking ends, and keeps what has no secrets.
func FuzzMaskBody(f *testing.F) {
	names := newSecretNames(nil)
	for _, kind := range []string{"application/json", "text/plain", "text/event-stream", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B"} {
		f.Add(kind, []byte(`{"a":["b",{"password":"\"x"}],"token":{"x":1`))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		m := masker{names: names, at: "b"}
		m.appendBody(nil, kind, body)
	})
}

// Masking looks at each byte a bounded number of times, whatever the text is: in place of some milliseconds, a text would
// take half a minute if each byte were compared with all others.
func TestMaskIsLinear(t *testing.T) {
	t.Parallel()
	names := newSecretNames(nil)
	for _, piece := range []string{" ", ">", "<a>>", "=", ": ", "\" ", "\\\"", "]", "name=\"", "token='", "<token>", "<token><a>", "Bearer ", "://", "%41=", "<a \"", "<a '", "<a \"<a '", "<a name=", "<a name=\"", "value=1&name=pin&", "--B\r\n\r\n", "[0]", "[", "{\"a\":", "{\"value\":1,\"name\":\"pin\"}", "&", "--B"} {
		size := testkit.Rounds(64, 256) << 10
		body := []byte("<a " + strings.Repeat(piece, size/len(piece)))
		for _, kind := range []string{"text/plain", "application/json", "application/x-www-form-urlencoded", "text/event-stream", "multipart/form-data; boundary=B"} {
			m := masker{names: names, at: "b"}
			began := time.Now()
			m.appendBody(nil, kind, body)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%q repeated, as %s: it took %v", piece, kind, took)
			}
		}
	}
}
