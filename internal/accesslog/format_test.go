package accesslog_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weir/config"
	"weir/internal/accesslog"
	"weir/internal/head"
	"weir/trace"
)

func full() *accesslog.Record {
	return &accesslog.Record{
		Time:          time.Date(2026, 1, 31, 23, 59, 59, 7_900_000, time.FixedZone("", 3600)),
		Client:        netip.MustParseAddr("192.0.2.7"),
		Peer:          netip.MustParseAddrPort("[::ffff:10.0.0.1]:41000"),
		Listener:      "public",
		Route:         "api",
		Upstream:      "origin",
		Target:        "http://127.0.0.1:9001",
		Method:        []byte("GET"),
		RequestTarget: []byte("/a?b=%20c"),
		Host:          []byte("www.example.org"),
		Proto:         "HTTP/1.1",
		UserAgent:     []byte(`curl "8"`),
		Referer:       []byte("https://example.org/"),
		RequestID:     []byte("0123"),
		Status:        200,
		Cause:         "delivered",
		Attempts:      2,
		BytesIn:       0,
		BytesOut:      1234567,
		Duration:      1500 * time.Millisecond,
		FirstByte:     1234 * time.Microsecond,
		Scheme:        []byte("https"),
		Cache:         "miss",
	}
}

func line(t *testing.T, format string, r *accesslog.Record) string {
	t.Helper()
	f, err := accesslog.ParseFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	return string(f.Append(nil, r))
}

func TestLine(t *testing.T) {
	check := func(format string, r *accesslog.Record, want string) {
		t.Helper()
		if got := line(t, format, r); got != want {
			t.Errorf("format %s\n got %s\nwant %s", format, got, want)
		}
	}
	// Everything, in the order of Fields; the time is told in UTC.
	check("json", full(), `{"time":"2026-01-31T22:59:59.007Z","listener":"public","scheme":"https","client":"192.0.2.7",`+
		`"peer":"10.0.0.1:41000","method":"GET","request_target":"/a?b=%20c","proto":"HTTP/1.1","host":"www.example.org",`+
		`"user_agent":"curl \"8\"","referer":"https://example.org/","request_id":"0123","route":"api",`+
		`"upstream":"origin","target":"http://127.0.0.1:9001","attempts":2,"cache":"miss","status":200,"cause":"delivered",`+
		`"bytes_in":0,"bytes_out":1234567,"duration":1.500000,"first_byte":0.001234}`+"\n")
	// What is not there is left out, except numbers that mean something when they are 0.
	check("json", &accesslog.Record{Cause: "client_gone"},
		`{"time":"0001-01-01T00:00:00.000Z","attempts":0,"status":0,"cause":"client_gone","bytes_in":0,"bytes_out":0,"duration":0.000000}`+"\n")
	// A template; literal braces; a field twice; text at both ends.
	check(`<{client} {{x}} {status} {status}>`, full(), "<192.0.2.7 {x} 200 200>\n")
	// Two fields without text between them.
	check("{method}{status}", full(), "GET200\n")
	// What is not there is a hyphen in text.
	check(`{client} {peer} "{user_agent}" {first_byte} {status}`, &accesslog.Record{}, `- - "-" - 0`+"\n")
	// A clock that went backwards is no negative time.
	check("{duration}", &accesslog.Record{Duration: -time.Second}, "0.000000\n")
	// A proxy may report an address with any text for a zone.
	check("{client}", &accesslog.Record{Client: netip.MustParseAddr("fe80::1%x\ny")}, "fe80::1\n")
	check("json", &accesslog.Record{Client: netip.MustParseAddr("fe80::1%\"")},
		`{"time":"0001-01-01T00:00:00.000Z","client":"fe80::1","attempts":0,"status":0,"bytes_in":0,"bytes_out":0,"duration":0.000000}`+"\n")
}

// Numbers and addresses of all lengths are what the standard library writes.
func TestNumbersAndAddresses(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 99_999, 100_000, 1234567, 1<<63 - 1, -1} {
		if got, want := line(t, "{bytes_out}", &accesslog.Record{BytesOut: n}), strconv.FormatInt(n, 10)+"\n"; got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	for _, text := range []string{"0.0.0.0:0", "255.255.255.255:65535", "1.20.100.9:80", "[::1]:443", "[2001:db8::f]:9"} {
		a := netip.MustParseAddrPort(text)
		if got, want := line(t, "{client} {peer}", &accesslog.Record{Client: a.Addr(), Peer: a}), a.Addr().String()+" "+text+"\n"; got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}

// TestHeaders: any header field, in templates and in JSON.
func TestHeaders(t *testing.T) {
	r := full()
	r.TLSVersion, r.SNI = "TLSv1.3", "a.example"
	r.Request, r.Response = new(head.Head), new(head.Head)
	add := func(h *head.Head, name, value string) { h.Add(head.NewName(name), []byte(value)) }
	add(r.Request, "X-Team", "red")
	add(r.Request, "x-team", "blue\"")
	add(r.Response, "Content-Type", "text/html")
	check := func(format string, r *accesslog.Record, want string) {
		t.Helper()
		if got := line(t, format, r); got != want+"\n" {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
	check(`"{request_header:X-TEAM}" {response_header:content-type} {request_header:X-None} {tls_version} {sni}`, r, `"red, blue\"" text/html - TLSv1.3 a.example`)
	check(`{request_header:X-Team}`, full(), "-")
	check("combined", r, `192.0.2.7 - - [31/Jan/2026:22:59:59 +0000] "GET /a?b=%20c HTTP/1.1" 200 1234567 "https://example.org/" "curl \"8\""`)
	path := filepath.Join(t.TempDir(), "access.log")
	l, err := accesslog.New(config.AccessLog{
		Output: path, Format: "json", RequestHeaders: []string{"X-Team", "X-None"}, ResponseHeaders: []string{"Content-Type"},
	}, accesslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(r)
	l.Log(&accesslog.Record{Request: new(head.Head)})
	stop(t, l)
	lines := strings.Split(read(t, path), "\n")
	if want := `"request_headers":{"X-Team":"red, blue\""},"response_headers":{"Content-Type":"text/html"}}`; !strings.HasSuffix(lines[0], want) ||
		!strings.Contains(lines[0], `"tls_version":"TLSv1.3","sni":"a.example"`) || !json.Valid([]byte(lines[0])) {
		t.Errorf("%s does not end with %s", lines[0], want)
	}
	if !json.Valid([]byte(lines[1])) || strings.Contains(lines[1], "headers") {
		t.Errorf("without fields: %s", lines[1])
	}
}

func TestEscape(t *testing.T) {
	check := func(value, text, inJSON string) {
		t.Helper()
		r := &accesslog.Record{UserAgent: []byte(value)}
		if got, want := line(t, `"{user_agent}"`, r), `"`+text+`"`+"\n"; got != want {
			t.Errorf("%q as text: got %q, want %q", value, got, want)
		}
		if got := line(t, "json", r); !strings.Contains(got, `"user_agent":"`+inJSON+`",`) {
			t.Errorf("%q as JSON: got %q, want %q", value, got, inJSON)
		}
	}
	// A second line, made by a client.
	check("a\r\nb", `a\x0d\x0ab`, `a\u000d\u000ab`)
	// The end of the quotes.
	check(`" 200 \`, `\" 200 \\`, `\" 200 \\`)
	// Control bytes, terminal escapes, DEL.
	check("\x00\x1b[2J\x7f", `\x00\x1b[2J\x7f`, `\u0000\u001b[2J\u007f`)
	// Letters beyond ASCII live on in JSON.
	check("Zürich €𝄞", `Z\xc3\xbcrich \xe2\x82\xac\xf0\x9d\x84\x9e`, "Zürich €𝄞")
	// C1 controls and line separators do not.
	check("\u0085\u009b\u2028", `\xc2\x85\xc2\x9b\xe2\x80\xa8`, `\u0085\u009b\u2028`)
	// Not UTF-8, a surrogate, a rune cut off at the end.
	check("\xffx\xed\xa0\x80", `\xffx\xed\xa0\x80`, `\ufffdx\ufffd\ufffd\ufffd`)
	check("x\xe2\x82", `x\xe2\x82`, `x\ufffd\ufffd`)
	// The replacement character itself, sent as such.
	check("\ufffd", `\xef\xbf\xbd`, "\ufffd")
}

func TestParseFormatErrors(t *testing.T) {
	check := func(format string, want ...string) {
		t.Helper()
		_, err := accesslog.ParseFormat(format)
		if err == nil {
			t.Errorf("format %q was accepted", format)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("format %q: error %q does not say %q", format, err, w)
			}
		}
	}
	// An unknown field, what was meant, and the known ones.
	check("{status} {stats} {foo}", `found {stats}`, `"status"?`, `request_target`, `first_byte`)
	// A misspelt name of the JSON format.
	check("JSON", `"json"`, `status`)
	check("combine", `"combined"?`)
	// Header fields without a name, and names for what has none.
	check("{request_header:}", `found {request_header:}`, `request_header:NAME`)
	check("{request_header}", `found {request_header}`)
	check("{request_header:NAME} {status:x}", `found {status:x}`)
	check("", `"json"`)
	// Not a template.
	check("{status", `"{status"`)
	// A line in two, or with terminal escapes.
	check("{status}\n{method}", `{status}\n{method}`, `control`)
	check("{status}\x00", `\x00`, `control`)
}

// TestFieldsAreDocumented fails if a field is missing from the reference page.
func TestFieldsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range accesslog.Fields() {
		if row := "| `" + f.Name + "` | " + f.Meaning + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/access-log.md has no row %s", row)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add(`{client} "{user_agent}" {{}}`, []byte("a\nb"))
	f.Add("json", []byte("\xff\"\\\x00"))
	f.Fuzz(func(t *testing.T, format string, value []byte) {
		r := full()
		r.UserAgent, r.RequestTarget, r.Host = value, value, value
		var parsed map[string]any
		object := line(t, "json", r)
		if err := json.Unmarshal([]byte(object), &parsed); err != nil {
			t.Fatalf("%q is not JSON: %s", object, err)
		}
		if want := strings.ToValidUTF8(string(value), ""); len(value) > 0 && utf8.Valid(value) && parsed["host"] != want {
			t.Fatalf("host %q came back as %q", value, parsed["host"])
		}
		if strings.Count(object, "\n") != 1 {
			t.Fatalf("%q is not one line", object)
		}
		compiled, err := accesslog.ParseFormat(format)
		if err != nil {
			return
		}
		text := string(compiled.Append(nil, r))
		if strings.Index(text, "\n") != len(text)-1 {
			t.Fatalf("format %q: %q is not one line", format, text)
		}
	})
}

// TestFormsAgree: a JSON line has the fields and the values that templates have, in the order of Fields.
func TestFormsAgree(t *testing.T) {
	r := full()
	r.UserAgent = []byte("curl/8") // that both forms write alike
	r.TLSVersion, r.SNI, r.User, r.GRPCStatus = "TLSv1.3", "a.example", []byte("ann"), "OK"
	r.ClientSubject, r.ClientFingerprint, r.Err = []byte("CN=a"), []byte("00ff"), errors.New("connect: refused")
	r.TraceID, r.SpanID = trace.TraceID{1}, trace.SpanID{2}
	want := "{"
	for _, f := range accesslog.Fields() {
		if f.Name == "time_clf" {
			break // only in templates, as all that follow
		}
		value := strings.TrimSuffix(line(t, "{"+f.Name+"}", r), "\n")
		switch f.Name {
		case "attempts", "status", "bytes_in", "bytes_out", "duration", "first_byte":
		default:
			value = `"` + value + `"`
		}
		want += `"` + f.Name + `":` + value + ","
	}
	if got := line(t, "json", r); got != strings.TrimSuffix(want, ",")+"}\n" {
		t.Errorf(" got %s\nwant %s", got, want)
	}
}

// TestEveryByte: each byte, at each place of a text of each length, is escaped if it must be.
func TestEveryByte(t *testing.T) {
	for n := 1; n <= 20; n++ {
		for at := range n {
			for c := range 256 {
				text := []byte(strings.Repeat("~", n))
				text[at] = byte(c)
				var back struct{ Host string }
				json1 := line(t, "json", &accesslog.Record{Host: text})
				if err := json.Unmarshal([]byte(json1), &back); err != nil || back.Host != strings.ToValidUTF8(string(text), "\ufffd") {
					t.Fatalf("%q: %q, %v", text, json1, err)
				}
				plain := c >= ' ' && c < 0x7f && c != '"' && c != '\\'
				if got := line(t, "{host}", &accesslog.Record{Host: text}); plain != (got == string(text)+"\n") {
					t.Fatalf("%q: template has %q", text, got)
				}
				if strings.IndexFunc(json1[:len(json1)-1], func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
					t.Fatalf("%q: control byte in %q", text, json1)
				}
			}
		}
	}
}
