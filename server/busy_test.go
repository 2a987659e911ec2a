package server_test

import (
	"strings"
	"testing"

	"weir/internal/testkit"
)

// A target that says 503 costs no request that can be repeated, without any setting, and no request
// that cannot is sent twice.
func TestBusyTarget(t *testing.T) {
	t.Parallel()
	wells := map[int]int{200: 1, 503: 0} // requests at the target that is well, by the answer
	for _, status := range []string{"503 Service Unavailable", "503 Service Unavailable\r\nRetry-After: 0"} {
		for request, want := range map[string]int{
			get:                                  200,
			"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n": 200,
			"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello":                        200,
			"POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nContent-Length: 5\r\n\r\nhello": 200,
			post(5) + "hello": 503,
		} {
			busy := testkit.Listen(t, testkit.Answer("HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n"))
			well := testkit.Listen(t, testkit.Answer(ok))
			w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q, %q]\n", busy.URL, well.URL)
			method, _, _ := strings.Cut(request, " ")
			c := w.dial()
			c.Send(request)
			equal(t, method+" while a target says "+status, c.Response(method).Status(), want)
			equal(t, "requests at the busy target", busy.Requests(), 1)
			equal(t, "requests at the other one", well.Requests(), wells[want])
		}
	}
}
