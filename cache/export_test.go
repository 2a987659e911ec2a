package cache

import "github.com/valyala/fasthttp"

// KeyForTest is the key of a request with the fields A and B.
func KeyForTest(p *Policy, host, target, a, b string) (string, bool) {
	var h fasthttp.RequestHeader
	h.Set("A", a)
	h.Set("B", b)
	return string(p.appendKey(nil, []byte("http"), []byte(host), []byte(target), &h)), true
}

// DateForTest is parseDate at a fixed time.
func DateForTest(b []byte) (int64, bool) { return parseDate(b, 1767323045) }

// AppendDateForTest is appendDate.
func AppendDateForTest(at int64) []byte { return appendDate(nil, at) }
