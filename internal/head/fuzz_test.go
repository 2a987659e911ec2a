package head_test

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/head"
)

// line is a field of the slow models.
type line struct{ name, value string }

// plain takes a sound head apart in the slowest way: the first line, and the fields as they
// stand. Folded lines are joined.
func plain(text string) (first string, fields []line) {
	first, rest, _ := strings.Cut(strings.TrimLeft(text, "\r\n"), "\r\n")
	for l := range strings.SplitSeq(rest, "\r\n") {
		switch {
		case l == "":
			return first, fields
		case l[0] == ' ' || l[0] == '\t':
			f := &fields[len(fields)-1]
			f.value = strings.Trim(f.value+"  "+l, " \t")
		default:
			name, value, _ := strings.Cut(l, ":")
			fields = append(fields, line{strings.TrimRight(name, " \t"), strings.Trim(value, " \t")})
		}
	}
	return first, fields
}

func pairs(h *head.Head) (fields []line) {
	for f := range h.All() {
		fields = append(fields, line{string(f.Name), string(f.Value)})
	}
	return fields
}

// byName gathers the values of each field in their order. Space within values becomes one
// space, because parsers join folded lines by different space.
func byName(fields []line) map[string][]string {
	m := make(map[string][]string)
	for _, f := range fields {
		n := strings.ToLower(f.name)
		m[n] = append(m[n], strings.Join(strings.FieldsFunc(f.value, func(r rune) bool { return r == ' ' || r == '\t' }), " "))
	}
	return m
}

func sameFields(t *testing.T, what string, text []byte, ours, theirs []line, but ...string) {
	t.Helper()
	a, b := byName(ours), byName(theirs)
	for _, n := range but {
		delete(a, n)
		delete(b, n)
	}
	for n, v := range a {
		if !slices.Equal(v, b[n]) {
			t.Fatalf("%q: we read %s as %q, %s as %q", text, n, v, what, b[n])
		}
	}
	for n, v := range b {
		if a[n] == nil {
			t.Fatalf("%q: %s reads %s as %q, we do not", text, what, n, v)
		}
	}
}

// refused fails the test unless the parser's error is for one of the reasons that are
// known: it is stricter there, and a program that refuses a message does not misread it.
func refused(t *testing.T, what string, text []byte, err error, reasons ...string) {
	t.Helper()
	if !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(err.Error(), r) }) {
		t.Fatalf("%q: %s refuses it: %v", text, what, err)
	}
}

// Whatever the scan accepts is what the slowest reading finds, goes out as it came, and is read the
// same way by the parsers of fasthttp and net/http, both as it came and as it goes out; else
// two programs in one row would read two different messages.
func FuzzScanRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 0005\r\n\r\nhello",
		"PUT / HTTP/1.1\r\nhost: [::1]\r\ntransfer-encoding: CHUNKED\r\nTrailer: X\r\n\r\n0\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nConnection: close, x\r\n\r\n",
		"OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET http://a/b HTTP/1.1\r\nHost: b\r\nCookie: a=b\r\n\r\n",
		"\r\n\r\nGET / HTTP/1.1\r\nHost:a\r\nX-A: \xff\t\r\nX-a:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		browserRequest,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h head.Head
		if err := h.ScanRequest(data); err != nil {
			var d *head.Defect
			if err != head.ErrShort && !errors.As(err, &d) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if h.Size <= 0 || h.Size > len(data) || !bytes.HasSuffix(data[:h.Size], []byte("\r\n\r\n")) {
			t.Fatalf("size of %q is %d", data, h.Size)
		}
		text := data[:h.Size]
		first, fields := plain(string(text))
		part := strings.Split(first, " ")
		authority, _, absolute := head.SplitAbsolute([]byte(part[1]))
		if absolute {
			i := slices.IndexFunc(fields, func(f line) bool { return strings.EqualFold(f.name, "host") })
			if i < 0 {
				fields = append(fields, line{name: "Host"})
				i = len(fields) - 1
			}
			fields[i].value = string(authority)
		} else if string(h.Target()) != part[1] {
			t.Fatalf("target of %q is %q", text, h.Target())
		}
		if got := pairs(&h); string(h.Method()) != part[0] || !slices.Equal(got, fields) {
			t.Fatalf("%q: scanned is %s", text, describe(&h))
		}

		out := h.AppendTo(nil)
		came := strings.TrimLeft(string(text), "\r\n")
		if want := strings.Replace(came, " HTTP/1.0\r\n", " HTTP/1.1\r\n", 1); !absolute && string(out) != want {
			t.Fatalf("%q goes out as %q", text, out)
		}
		asFasthttp(t, &h, text, part[1], absolute)
		asNetHTTP(t, &h, text)
		if h.Get(head.Host) == nil {
			h.Add(head.Host, nil) // HTTP/1.0 needs none
			out = h.AppendTo(nil)
		}
		again := scanned(t, string(out))
		sameMessage(t, string(text), &h, again)
		if got := again.AppendTo(nil); !bytes.Equal(got, out) {
			t.Fatalf("%q goes out as %q, then as %q", text, out, got)
		}
		asFasthttp(t, &h, out, string(h.Target()), false)
		asNetHTTP(t, &h, out)
	})
}

// asFasthttp compares h with what fasthttp reads.
func asFasthttp(t *testing.T, h *head.Head, text []byte, target string, absolute bool) {
	t.Helper()
	var r fasthttp.RequestHeader
	r.DisableNormalizing()
	more := append(bytes.Clone(text), "more"...)
	br := bufio.NewReaderSize(bytes.NewReader(more), len(more)+16)
	if err := r.Read(br); err != nil {
		refused(t, "fasthttp", text, err,
			"forbidden trailer",            // a Trailer field that announces what no trailer may be
			"missing required host header", // an empty Host, as RFC 9110 section 7.2 has it for some targets
			"cannot parse content-length")
		return
	}
	if used := len(more) - br.Buffered(); used != len(text) {
		t.Fatalf("%q: fasthttp ends it after %d bytes, we after %d", text, used, len(text))
	}
	if string(r.Method()) != string(h.Method()) || string(r.RequestURI()) != target {
		t.Fatalf("%q: fasthttp reads %q %q, we %s", text, r.Method(), r.RequestURI(), describe(h))
	}
	if n := int64(r.ContentLength()); n != h.Length && (h.Length != head.LengthNone || n > 0) {
		t.Fatalf("%q: fasthttp finds length %d, we %d", text, n, h.Length)
	}
	var theirs []line
	for k, v := range r.AllInOrder() {
		theirs = append(theirs, line{string(k), string(v)})
	}
	if absolute {
		sameFields(t, "fasthttp", text, pairs(h), theirs, "host") // Host is left to its URI
	} else if !slices.Equal(pairs(h), theirs) {
		t.Fatalf("%q: fasthttp reads %q, we %q", text, theirs, pairs(h))
	}
}

// asNetHTTP compares h with what net/http reads.
func asNetHTTP(t *testing.T, h *head.Head, text []byte) {
	t.Helper()
	// net/http takes no empty lines before a request line.
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimLeft(string(text), "\r\n"))))
	if err != nil {
		refused(t, "net/http", text, err,
			"parse \"",           // its URI is stricter: escapes, ports, characters
			"invalid URI",        // the same
			"bad trailer key",    // a Trailer field that announces what no trailer may be
			"malformed MIME",     // a byte that it wants in no value
			"bad Content-Length") // beyond an int64 with leading zeros
		return
	}
	if r.Method != string(h.Method()) {
		t.Fatalf("%q: net/http reads the method %q", text, r.Method)
	}
	if r.Host != string(h.Get(head.Host)) && !strings.HasPrefix(r.RequestURI, "//") {
		t.Fatalf("%q: net/http reads the host %q, we %s", text, r.Host, describe(h))
	}
	chunked := slices.Equal(r.TransferEncoding, []string{"chunked"})
	if n := r.ContentLength; chunked != (h.Length == head.LengthChunked) || !chunked && n != max(h.Length, 0) {
		t.Fatalf("%q: net/http finds length %d and coding %q, we %d", text, n, r.TransferEncoding, h.Length)
	}
	// It takes these away, and makes Cache-Control of Pragma.
	sameFields(t, "net/http", text, pairs(h), linesOfHTTP(r.Header), "host", "transfer-encoding", "content-length", "trailer", "cache-control")
}

func linesOfHTTP(h http.Header) (fields []line) {
	for n, values := range h {
		for _, v := range values {
			fields = append(fields, line{n, v})
		}
	}
	return fields
}

// The same for responses.
func FuzzScanResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 204\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nX-A: b\r\n c\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\nSet-Cookie: c\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 404 \xff\r\nX-A \t: b:c\r\n : d\r\n\t\r\nContent-Length : 3\r\nX-B:\r\n e\r\n\r\n",
		nginxResponse,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h head.Head
		if err := h.ScanResponse(data); err != nil {
			return
		}
		text := data[:h.Size]
		first, fields := plain(string(text))
		if ours := byName(pairs(&h)); len(pairs(&h)) != len(fields) {
			t.Fatalf("%q: scanned is %q", text, ours)
		}
		sameFields(t, "the model", text, pairs(&h), fields)
		out := h.AppendTo(nil)
		folded := bytes.Contains(text, []byte("\r\n ")) || bytes.Contains(text, []byte("\r\n\t"))
		spaced := bytes.Contains(text, []byte(" :")) || bytes.Contains(text, []byte("\t:"))
		if !folded && !spaced && len(h.Phrase()) > 0 {
			if want := strings.Replace(string(text), "HTTP/1.0", "HTTP/1.1", 1); string(out) != want {
				t.Fatalf("%q goes out as %q", text, out)
			}
		}
		if len(first) > 13 && string(h.Phrase()) != first[13:] {
			t.Fatalf("%q: the phrase is %q", text, h.Phrase())
		}
		again := scanned(t, string(out))
		sameMessage(t, string(text), &h, again)
		if got := again.AppendTo(nil); !bytes.Equal(got, out) {
			t.Fatalf("%q goes out as %q, then as %q", text, out, got)
		}
		var lent head.Head
		lent.LendResponse(out[:len(out)-2], h.Present(), h.Status, h.Length)
		if got := pairs(&lent); !slices.Equal(got, pairs(again)) {
			t.Fatalf("%q: lent is %q", text, got)
		}
		asFasthttpResponse(t, &h, text)
		asFasthttpResponse(t, &h, out)
		if !spaced { // net/http takes space before a colon for a part of the name
			asNetHTTPResponse(t, &h, text)
		}
		asNetHTTPResponse(t, &h, out)
	})
}

func asFasthttpResponse(t *testing.T, h *head.Head, text []byte) {
	t.Helper()
	var r fasthttp.ResponseHeader
	r.DisableNormalizing()
	r.SetNoDefaultContentType(true)
	more := append(bytes.Clone(text), "more"...)
	br := bufio.NewReaderSize(bytes.NewReader(more), len(more)+16)
	if err := r.Read(br); err != nil {
		refused(t, "fasthttp", text, err,
			"malformed mime header line", // a tab before the colon, which goes out repaired
			"forbidden trailer", "cannot parse content-length")
		return
	}
	if used := len(more) - br.Buffered(); used != len(text) {
		t.Fatalf("%q: fasthttp ends it after %d bytes, we after %d", text, used, len(text))
	}
	if r.StatusCode() != h.Status {
		t.Fatalf("%q: fasthttp reads the status %d, we %d", text, r.StatusCode(), h.Status)
	}
	if n := int64(r.ContentLength()); n != h.Length && (h.Length != head.LengthNone || n > 0 || n == -1) {
		t.Fatalf("%q: fasthttp finds length %d, we %d", text, n, h.Length)
	}
	var theirs []line
	for k, v := range r.All() {
		theirs = append(theirs, line{string(k), string(v)})
	}
	// It keeps one line of some, writes others anew, and no length beside a coding.
	sameFields(t, "fasthttp", text, pairs(h), theirs,
		"content-type", "content-encoding", "server", "connection", "trailer", "transfer-encoding", "content-length", "date")
}

func asNetHTTPResponse(t *testing.T, h *head.Head, text []byte) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), nil)
	if err != nil {
		refused(t, "net/http", text, err,
			"malformed MIME", // bytes that it wants in no value
			"bad trailer key", "bad Content-Length")
		return
	}
	if r.StatusCode != h.Status {
		t.Fatalf("%q: net/http reads the status %d, we %d", text, r.StatusCode, h.Status)
	}
	bodyless := h.Status < 200 || h.Status == 204 || h.Status == 304
	chunked := slices.Equal(r.TransferEncoding, []string{"chunked"})
	if n := r.ContentLength; !bodyless && (chunked != (h.Length == head.LengthChunked) || !chunked && n != max(h.Length, -1)) {
		t.Fatalf("%q: net/http finds length %d and coding %q, we %d", text, n, r.TransferEncoding, h.Length)
	}
	sameFields(t, "net/http", text, pairs(h), linesOfHTTP(r.Header), "transfer-encoding", "content-length", "trailer", "cache-control")
}

// Edits do what they do to a slice of names and values.
func FuzzEdits(f *testing.F) {
	f.Add([]byte(edited), []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nX-A : 1\r\n 2\r\nx-forwarded-x: 3\r\n\r\n"), []byte("\x10\x21\x32\x43\x54\x65\x76\x87"))
	names := []head.Name{
		xA, xB, head.NewName("x-a"), head.Host, head.Connection, head.Via, head.XForwardedFor,
		head.NewName("X-Forwarded-X"), head.NewName("x-forwarded-Y"), head.XRealIP, head.ETag,
	}
	f.Fuzz(func(t *testing.T, data, edits []byte) {
		var h head.Head
		scan := h.ScanRequest
		if bytes.HasPrefix(data, []byte("HTTP/")) {
			scan = h.ScanResponse
		}
		if scan(data) != nil {
			return
		}
		if h.Status != 0 && len(edits)%2 == 1 {
			out := h.AppendTo(nil)
			h.LendResponse(out[:len(out)-2], h.Present(), h.Status, h.Length)
		}
		var lent head.Head
		h.CopyTo(&lent) // still without an index, if h is
		model := pairs(&lent)
		for i, e := range edits {
			n := names[int(e>>4)%len(names)]
			value := strings.Repeat("v", i%3)
			model = editModel(model, e&7, n, value)
			edit(&h, e&7, n, value)
			if e&8 != 0 {
				var other head.Head
				h.CopyTo(&other)
				h, other = other, h
				other.DelFunc(func(head.Field) bool { return true })
			}
		}
		if got := pairs(&h); !slices.Equal(got, model) {
			t.Fatalf("%q %x: the fields are %q, want %q", data, edits, got, model)
		}
		var present head.Set
		for _, f := range model {
			present |= head.Lookup([]byte(f.name))
		}
		if h.Present() != present {
			t.Fatalf("%q %x: present are %x, want %x", data, edits, h.Present(), present)
		}
		if _, sent := plain(string(h.AppendTo(nil))); !slices.Equal(sent, model) {
			t.Fatalf("%q %x: sent are %q, want %q", data, edits, sent, model)
		}
	})
}

func edit(h *head.Head, kind byte, n head.Name, value string) {
	switch kind {
	case 0, 1:
		h.Add(n, []byte(value))
	case 2:
		h.Set(n, []byte(value))
	case 3:
		h.Append(n, []byte(value))
	case 4:
		h.Del(n)
	case 5:
		h.DelSet(head.SetOf(n))
	case 6:
		h.DelFunc(func(f head.Field) bool { return f.Is(n) || f.In(head.SetOf(n)) })
	case 7:
		h.Get(n)
	}
}

// editModel does the same to a slice.
func editModel(m []line, kind byte, n head.Name, value string) []line {
	is := func(f line) bool { return strings.EqualFold(f.name, n.String()) }
	in := func(f line) bool { return head.Lookup([]byte(f.name))&head.SetOf(n) != 0 }
	first := slices.IndexFunc(m, is)
	count := len(slices.DeleteFunc(slices.Clone(m), func(f line) bool { return !is(f) }))
	switch {
	case kind <= 1, kind <= 3 && first < 0, kind == 3 && count != 1:
		return append(m, line{n.String(), value})
	case kind == 2:
		m[first].value = value
		rest := slices.DeleteFunc(slices.Clone(m[first+1:]), is)
		return append(m[:first+1], rest...)
	case kind == 3:
		if m[first].value != "" {
			value = strings.TrimRight(m[first].value+", "+value, " ")
		}
		m[first].value = value
	case kind == 4:
		return slices.DeleteFunc(m, is)
	case kind == 5:
		return slices.DeleteFunc(m, in)
	case kind == 6:
		return slices.DeleteFunc(m, func(f line) bool { return is(f) || in(f) })
	}
	return m
}
