package origin

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Field is a field of a response.
type Field struct{ Name, Value string }

// PageFields are the fields of a page that its site, not its server, adds: /page/N
// is answered with them and those of an ordinary server, 15 in all.
func PageFields() []Field {
	return []Field{
		{"Cache-Control", "private, max-age=0, must-revalidate"},
		{"Vary", "Accept-Encoding, Cookie"},
		{"Set-Cookie", "session=4f1d0c9b7a3e4d5c8b6a1f2e3d4c5b6a; Path=/; Secure; HttpOnly; SameSite=Lax"},
		{"Strict-Transport-Security", "max-age=31536000; includeSubDomains"},
		{"Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'self'; frame-ancestors 'none'"},
		{"X-Content-Type-Options", "nosniff"},
		{"Referrer-Policy", "strict-origin-when-cross-origin"},
	}
}

// kind is a family of answers.
type kind struct {
	prefix []byte
	// start and end are what bodies of sufficient length begin and end with.
	start, end string
	// text says that bodies are Text.
	text bool
	// fields are those besides ETag and Content-Length.
	fields  []Field
	answers sync.Map // int (N) to []byte: the whole answer, made once
}

func kinds() []kind {
	now := time.Now().UTC().Format(http.TimeFormat)
	file := []Field{{"Server", "origin"}, {"Date", now}, {"Last-Modified", now}, {"Accept-Ranges", "bytes"}}
	page := append([]Field{{"Content-Type", "text/html"}, {"Connection", "keep-alive"}}, file...)
	entry := append([]Field{{"Content-Type", "application/octet-stream"}, {"Cache-Control", "max-age=7200"}}, file...)
	return []kind{
		// No Date: the bytes are made once, and a cache would soon find them
		// older than they may be (RFC 9110 section 6.6.1 allows its absence).
		{prefix: []byte("/bytes/"), fields: []Field{{"Content-Type", "application/octet-stream"}, {"Cache-Control", "max-age=3600"}}},
		{prefix: []byte("/page/"), fields: append(page, PageFields()...)},
		{prefix: []byte("/entry/"), fields: entry},
		{prefix: []byte("/text/"), text: true, fields: []Field{{"Content-Type", "text/plain"}, {"Cache-Control", "max-age=3600"}}},
		{
			prefix: []byte("/json/"), fields: []Field{{"Content-Type", "application/json"}},
			start: `{"model":"pets","predictions":[{"class":"cat","score":0.8},{"class":"dog","score":0.6}],"text":"`, end: `"}`,
		},
	}
}

// asked reads what "GET /KIND/N" asks for.
func (s *Server) asked(head []byte) (k *kind, n int, ok bool) {
	_, path, _ := bytes.Cut(head, []byte(" "))
	for i := range s.kinds {
		if digits, found := bytes.CutPrefix(path, s.kinds[i].prefix); found {
			n, ok = size(digits)
			return &s.kinds[i], n, ok
		}
	}
	return nil, 0, false
}

// size reads the number that digits begin with.
func size(digits []byte) (n int, ok bool) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			break
		}
		if n = n*10 + int(c-'0'); n > Largest {
			return 0, false
		}
	}
	return n, true
}

func (k *kind) answer(n int) []byte {
	if a, ok := k.answers.Load(n); ok {
		return a.([]byte)
	}
	a := []byte("HTTP/1.1 200 OK\r\n")
	for _, f := range k.fields {
		a = append(a, f.Name+": "+f.Value+"\r\n"...)
	}
	a = append(a, "ETag: \""+strconv.Itoa(n)+"\"\r\nContent-Length: "+strconv.Itoa(n)+"\r\n\r\n"...)
	if k.text {
		a = append(a, Text(n)...)
	} else {
		for i := range n {
			a = append(a, 'a'+byte(i%26))
		}
	}
	if len(k.start)+len(k.end) <= n {
		copy(a[len(a)-n:], k.start)
		copy(a[len(a)-len(k.end):], k.end)
	}
	k.answers.Store(n, a)
	return a
}

// Text is n bytes of text, always the same, which gzip makes about a third of that.
func Text(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var words []string
	for range 400 {
		word := make([]byte, 2+random.IntN(8))
		for i := range word {
			word[i] = "etaoinshrdlucmfw"[random.IntN(16)]
		}
		words = append(words, string(word))
	}
	text := make([]byte, 0, n+10)
	for len(text) < n {
		text = append(append(text, words[min(random.IntN(400), random.IntN(400))]...), ' ')
	}
	return text[:n]
}
