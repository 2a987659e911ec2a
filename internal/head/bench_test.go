package head_test

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/head"
)

// Heads as they are common: of a small client, of a client that comes through another
// proxy, of a browser, and the response of nginx.
const (
	smallRequest = "GET /index.html HTTP/1.1\r\nHost: example.org\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"

	proxiedRequest = "GET /api/v1/items?page=2 HTTP/1.1\r\nHost: api.example.org\r\nX-Forwarded-For: 203.0.113.7\r\n" +
		"X-Forwarded-Proto: https\r\nX-Request-Id: 7f3b0e4c9a5d4d0e\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n\r\n"

	browserRequest = "GET /articles/2024/05/an-article-with-a-long-name?ref=home HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n" +
		"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-Mode: navigate\r\nReferer: https://www.example.org/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"

	nginxResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Tue, 14 May 2024 12:00:00 GMT\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Content-Length: 10240\r\nLast-Modified: Mon, 13 May 2024 08:30:00 GMT\r\nConnection: keep-alive\r\nETag: \"6641d0c8-2800\"\r\n" +
		"Cache-Control: max-age=600\r\nVary: Accept-Encoding\r\nAccept-Ranges: bytes\r\n\r\n"
)

// forward makes the usual edits of a request that is forwarded.
func forward(h *head.Head) {
	h.Del(head.Connection)
	h.Add(head.XForwardedFor, []byte("203.0.113.7"))
	h.Add(head.XForwardedProto, []byte("https"))
	h.Add(head.XForwardedHost, []byte("www.example.org"))
	h.Add(head.Via, []byte("1.1 weir"))
	h.Add(head.RequestID, []byte("0123456789abcdef"))
}

// The head of a request on its way: scanned, edited, written. fasthttp's parser alone,
// with a copy of nothing, stands beside it to tell how fast the machine is just now.
func BenchmarkRequest(b *testing.B) {
	run := func(name, text string) {
		in := []byte(text)
		b.Run(name+"/scan", func(b *testing.B) {
			var h head.Head
			b.ReportAllocs()
			for b.Loop() {
				h.Reset()
				if err := h.ScanRequest(in); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/scan+edit+output", func(b *testing.B) {
			var h head.Head
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				h.Reset()
				if err := h.ScanRequest(in); err != nil {
					b.Fatal(err)
				}
				forward(&h)
				out = h.AppendTo(out[:0])
			}
		})
		b.Run(name+"/fasthttp", func(b *testing.B) {
			var h fasthttp.RequestHeader
			r := bytes.NewReader(in)
			br := bufio.NewReader(r)
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(in)
				br.Reset(r)
				if err := h.Read(br); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("small", smallRequest)
	run("proxied", proxiedRequest)
	run("browser", browserRequest)
}

func BenchmarkResponse(b *testing.B) {
	in := []byte(nginxResponse)
	edit := func(h *head.Head) {
		h.Del(head.Connection)
		h.Add(head.Via, []byte("1.1 weir"))
	}
	b.Run("scan", func(b *testing.B) {
		var h head.Head
		b.ReportAllocs()
		for b.Loop() {
			h.Reset()
			if err := h.ScanResponse(in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan+edit+output", func(b *testing.B) {
		var h head.Head
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			h.Reset()
			if err := h.ScanResponse(in); err != nil {
				b.Fatal(err)
			}
			edit(&h)
			out = h.AppendTo(out[:0])
		}
	})
	b.Run("fasthttp", func(b *testing.B) {
		var h fasthttp.ResponseHeader
		r := bytes.NewReader(in)
		br := bufio.NewReader(r)
		b.ReportAllocs()
		for b.Loop() {
			r.Reset(in)
			br.Reset(r)
			if err := h.Read(br); err != nil {
				b.Fatal(err)
			}
		}
	})
	// The head of a hit: lent, with Age, written.
	b.Run("hit", func(b *testing.B) {
		var scanned, h head.Head
		if err := scanned.ScanResponse(in); err != nil {
			b.Fatal(err)
		}
		stored, present := scanned.AppendTo(nil), scanned.Present()
		stored = stored[:len(stored)-2]
		var out []byte
		age := []byte("17")
		b.ReportAllocs()
		for b.Loop() {
			h.LendResponse(stored, present, 200, 10240)
			h.Add(head.Age, age)
			out = h.AppendTo(out[:0])
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	run := func(name string) {
		n := []byte(name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var sum head.Set
			for b.Loop() {
				sum |= head.Lookup(n)
			}
			_ = sum
		})
	}
	run("Accept")
	run("User-Agent")
	run("X-Request-Id")
	run("Content-Type")
	run("Connection")
	run("X-Forwarded-Proto")
}
