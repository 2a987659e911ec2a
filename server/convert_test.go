package server_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/testkit"
	"weir/server/hook"
)

// Hooks can hand heads to code that knows the header types of net/http and fasthttp. What such
// code changes is a copy.
func TestHookConverts(t *testing.T) {
	t.Parallel()
	lines := func(all func(func(k, v []byte) bool)) string {
		var b strings.Builder
		for k, v := range all {
			b.WriteString(string(k) + ": " + string(v) + "|")
		}
		return b.String()
	}
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 404 Gone fishing\r\nx-a: 1\r\nSet-Cookie: a=1; Path=/\r\nDate: d\r\nX-A: 2\r\n"+
		"Set-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	w := hooked(t, toOrigin(origin.URL), hook.Hooks{
		OnRequest: func(x hook.Exchange) {
			if x.Request().Method() != "PUT" {
				return
			}
			header := hook.Header(x.Request())
			want := http.Header{
				"Host": {"weir.test"}, "X-B": {"1", "3"}, "Cookie": {"a=1", "b=2"}, "X-A": {strings.Repeat("x", 5000)}, "Content-Length": {"2"},
			}
			if !reflect.DeepEqual(header, want) {
				t.Errorf("net/http has %.300q, want %.300q", header, want)
			}
			header.Set("X-B", "changed")
			var r fasthttp.RequestHeader
			if err := hook.FastHTTPRequest(x.Request(), &r); err != nil {
				t.Error(err)
			}
			equal(t, "the first line", string(r.Method())+" "+string(r.RequestURI()), "PUT /x?y")
			equal(t, "what fasthttp has", lines(r.AllInOrder()),
				"Host: weir.test|X-B: 1|Cookie: a=1|X-B: 3|Cookie: b=2|X-A: "+strings.Repeat("x", 5000)+"|Content-Length: 2|")
			r.Set("X-B", "changed")
		},
		OnResponse: func(x hook.Exchange) {
			if x.Request().Method() != "PUT" {
				return
			}
			var r fasthttp.ResponseHeader
			if err := hook.FastHTTPResponse(x.Response(), &r); err != nil {
				t.Error(err)
			}
			equal(t, "the status", r.StatusCode(), 404)
			equal(t, "Content-Type", string(r.ContentType()), "")
			equal(t, "fields of a name", strings.Join(hook.Header(x.Response())["X-A"], " "), "1 2")
			equal(t, "cookies", string(r.PeekCookie("a"))+" "+string(r.PeekCookie("b")), "a=1; Path=/ b=2")
			equal(t, "Date", string(r.Peek("Date")), "d")
			equal(t, "length", r.ContentLength(), -1)
		},
	}, hook.Hooks{OnRequest: func(x hook.Exchange) {
		if x.Request().Method() == "PUT" {
			return
		}
		x.Request().Del("Host")
		x.Request().Add("Host", "")
		var r fasthttp.RequestHeader
		if err := hook.FastHTTPRequest(x.Request(), &r); err == nil {
			t.Error("fasthttp takes an empty Host")
		}
	}})
	c := w.dial()
	c.Send("PUT /x?y HTTP/1.1\r\nhost: weir.test\r\nx-b: 1\r\nCookie: a=1\r\nX-B: 3\r\nCookie: b=2\r\nX-A: " + strings.Repeat("x", 5000) +
		"\r\nContent-Length: 2\r\n\r\nok")
	m := c.Response("PUT")
	equal(t, "the status line", m.Line, "HTTP/1.1 404 Gone fishing")
	equal(t, "what the target got", strings.Contains(origin.Conns()[0].Seen(), "changed"), false)
	c.Get("/")
}
