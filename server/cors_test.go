package server_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// What a page of another origin may do is said by weir, in stored answers too, for each client by
// itself; a route without cors leaves it to the target.
func TestCORS(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Access-Control-Allow-Origin", "https://target.example")
		rw.Header().Set("Access-Control-Expose-Headers", "x-target")
		if r.Method == "OPTIONS" {
			rw.WriteHeader(http.StatusTeapot)
		}
	})
	w := run(t, `
[[routes]]
path = "/kept/"
upstream = "origin"
cache = true
cors = { origins = ["https://a.example", "https://b.example"], methods = ["GET", "PUT"], headers = "*", expose = ["x-one"], credentials = true, max_age = "1h" }
[[routes]]
path = "/all/"
respond = {}
cors.origins = "*"
[[routes]]
path = "/plain/"
upstream = "origin"
[upstreams.origin]
targets = [%q]
`, origin)
	c := w.dial()
	c.SetDeadline(time.Now().Add(time.Minute))
	ask := func(method, path, fields, want string) {
		t.Helper()
		c.Send(method + " " + path + " HTTP/1.1\r\nHost: weir.test\r\n" + fields + "\r\n")
		m := c.Response(method)
		got := m.Line
		for _, name := range []string{"Vary", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers", "Access-Control-Max-Age"} {
			got += "|" + m.Get(name)
		}
		equal(t, method+" "+path+" "+fields, got, want)
	}
	for _, origin := range []string{"https://a.example", "https://b.example", "https://a.example"} {
		ask("GET", "/kept/", "Origin: "+origin+"\r\n", "HTTP/1.1 200 OK|Origin|"+origin+"|true|||x-one|")
	}
	ask("GET", "/kept/", "Origin: https://target.example\r\n", "HTTP/1.1 200 OK|Origin||||||")
	ask("GET", "/kept/", "", "HTTP/1.1 200 OK|Origin||||||")
	equal(t, "requests to the origin", asked.Load(), int64(1))
	const asks = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a, x-b\r\n"
	ask("OPTIONS", "/kept/", "Origin: https://a.example\r\n"+asks,
		"HTTP/1.1 204 No Content|Access-Control-Request-Headers, Origin|https://a.example|true|GET, PUT|x-a, x-b|x-one|3600")
	ask("OPTIONS", "/kept/", "Origin: https://other.example\r\n"+asks, "HTTP/1.1 204 No Content|Origin||||||")
	equal(t, "requests to the origin", asked.Load(), int64(1))
	// A request that is no preflight is the target's.
	ask("OPTIONS", "/kept/", "Origin: https://a.example\r\n", "HTTP/1.1 418 I'm a teapot|Origin|https://a.example|true|||x-one|")
	ask("GET", "/all/", "Origin: https://any.example\r\n", "HTTP/1.1 200 OK||*|||||")
	ask("OPTIONS", "/all/", "Origin: https://any.example\r\n"+asks, "HTTP/1.1 204 No Content||*||GET, HEAD, POST|||600")
	ask("OPTIONS", "/plain/", "Origin: https://any.example\r\n"+asks, "HTTP/1.1 418 I'm a teapot||https://target.example||||x-target|")
	ask("GET", "/plain/", "", "HTTP/1.1 200 OK||https://target.example||||x-target|")
}
