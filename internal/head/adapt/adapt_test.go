package adapt_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/head"
	"weir/internal/head/adapt"
)

func scanned(t *testing.T, scan func(*head.Head, []byte) error, text string) *head.Head {
	t.Helper()
	h := new(head.Head)
	if err := scan(h, []byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return h
}

// A request comes to a handler as from a server of fasthttp, and back without inventions.
func TestRequest(t *testing.T) {
	var c adapt.FastHTTP
	check := func(text, back string) {
		t.Helper()
		h := scanned(t, (*head.Head).ScanRequest, text)
		var r fasthttp.RequestHeader
		if err := c.Request(h, &r); err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		var got []string
		for k, v := range r.AllInOrder() {
			got = append(got, string(k)+": "+string(v))
		}
		var want []string
		for f := range h.All() {
			want = append(want, string(fasthttp.AppendNormalizedHeaderKeyBytes(nil, f.Name))+": "+string(f.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: fasthttp has %q, want %q", text, got, want)
		}
		var again head.Head
		if err := adapt.FillRequest(&again, &r); err != nil {
			t.Errorf("%q back: %v", text, err)
		}
		if got := string(again.AppendTo(nil)); got != back {
			t.Errorf("%q came back as %q, want %q", text, got, back)
		}
		if again.Length != h.Length {
			t.Errorf("%q: the length was %d and is %d", text, h.Length, again.Length)
		}
	}
	check("GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n")
	check("PUT / HTTP/1.1\r\nx-a: 1\r\nContent-Length: 3\r\nhost: a\r\nX-B: 2\r\nx-a: 3\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n")
	check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
	check("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nUser-Agent: u\r\nCookie: b=2\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\nCookie: a=1; b=2\r\n\r\n")

	var r fasthttp.RequestHeader
	announced := scanned(t, (*head.Head).ScanRequest, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	announced.Add(head.Trailer, []byte("Host"))
	if err := c.Request(announced, &r); err == nil {
		t.Error("a Trailer field that fasthttp refuses is accepted")
	}
	r.Reset()
	r.SetHost("a/b")
	var h head.Head
	if err := adapt.FillRequest(&h, &r); err != head.DefectHost {
		t.Errorf("a bad Host: %v", err)
	}
}

// A response of a handler has what the handler set, nothing else.
func TestResponse(t *testing.T) {
	var c adapt.FastHTTP
	check := func(want string, set func(r *fasthttp.ResponseHeader)) {
		t.Helper()
		var r fasthttp.ResponseHeader
		set(&r)
		var h head.Head
		if err := adapt.FillResponse(&h, &r); err != nil {
			t.Error(err)
		}
		if got := string(h.AppendTo(nil)); got != want {
			t.Errorf("the head is %q, want %q", got, want)
		}
	}
	check("HTTP/1.1 200 OK\r\n\r\n", func(r *fasthttp.ResponseHeader) {})
	check("HTTP/1.1 404 Gone fishing\r\nContent-Type: a/b\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n", func(r *fasthttp.ResponseHeader) {
		r.SetStatusCode(404)
		r.SetStatusMessage([]byte("Gone fishing"))
		r.Add("X-A", "1")
		r.SetContentType("a/b")
		r.Add("X-B", "2")
		r.Add("X-A", "3")
	})
	check("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: a=2\r\n\r\n", func(r *fasthttp.ResponseHeader) {
		r.Add("Set-Cookie", "a=1; Path=/")
		r.Add("Set-Cookie", "a=2")
	})

	// There and back.
	const text = "HTTP/1.1 200 Fine\r\nDate: d\r\nSet-Cookie: a=1\r\nx-a: 1\r\nSet-Cookie: b=2\r\nX-A: 2\r\nContent-Length: 3\r\n\r\n"
	const back = "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nDate: d\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
	check(back, func(r *fasthttp.ResponseHeader) {
		if err := c.Response(scanned(t, (*head.Head).ScanResponse, text), r); err != nil {
			t.Error(err)
		}
		if got := r.ContentType(); len(got) != 0 {
			t.Errorf("Content-Type is %q", got)
		}
	})
}

// A long head after a short one needs a larger buffer; then nothing is allocated.
func TestFastHTTPBuffers(t *testing.T) {
	var c adapt.FastHTTP
	var r fasthttp.RequestHeader
	short := scanned(t, (*head.Head).ScanRequest, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	long := scanned(t, (*head.Head).ScanRequest, "GET / HTTP/1.1\r\nHost: a\r\nX-A: "+strings.Repeat("x", 16<<10)+"\r\n\r\n")
	convert := func() {
		for _, h := range []*head.Head{short, long} {
			if err := c.Request(h, &r); err != nil {
				t.Error(err)
			}
		}
	}
	convert()
	if got := len(r.Peek("X-A")); got != 16<<10 {
		t.Errorf("X-A has %d bytes", got)
	}
	if n := testing.AllocsPerRun(20, convert); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHeader(t *testing.T) {
	h := scanned(t, (*head.Head).ScanRequest, "GET / HTTP/1.1\r\nhost: a\r\nx-b: 1\r\nX-A: 2\r\nX-B: 3\r\n\r\n")
	header := adapt.Header(h)
	if want := (http.Header{"Host": {"a"}, "X-B": {"1", "3"}, "X-A": {"2"}}); !reflect.DeepEqual(header, want) {
		t.Errorf("header is %v, want %v", header, want)
	}
	check := func(header http.Header, want string, defect error) {
		t.Helper()
		var h head.Head
		h.StartResponse(200)
		if err := adapt.FillHeader(&h, header); err != defect {
			t.Errorf("%v: %v, want %v", header, err, defect)
		} else if got := string(h.AppendTo(nil)); err == nil && got != want {
			t.Errorf("%v is %q, want %q", header, got, want)
		}
	}
	check(header, "HTTP/1.1 200 OK\r\nHost: a\r\nX-A: 2\r\nX-B: 1\r\nX-B: 3\r\n\r\n", nil)
	check(http.Header{}, "HTTP/1.1 200 OK\r\n\r\n", nil)
	check(http.Header{"X-A": {"1\r\nX-B: 2"}}, "", head.DefectValue)
	check(http.Header{"X A": {"1"}}, "", head.DefectName)
}
