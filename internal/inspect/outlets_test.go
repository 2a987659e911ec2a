package inspect_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"weir/admin"
	"weir/config"
	"weir/internal/testkit"
	"weir/server"
	"weir/trace"
)

// spans keeps the spans that are sent.
type spans struct {
	mu   sync.Mutex
	list []*trace.Span
}

func (s *spans) Export(_ context.Context, list []*trace.Span) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, list...)
	return 0, nil
}

func (s *spans) Close() error { return nil }

func (s *spans) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, span := range s.list {
		fmt.Fprintf(&b, "%+v\n", *span)
	}
	return b.String()
}

// Secrets come out nowhere: not in lists, details, streams, archives, replays, bodies as files, and spans, whatever form the
// body has in which they passed. All of them begin with SECRET.
func TestSecretsComeOutNowhere(t *testing.T) {
	t.Parallel()
	zipped := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.String()
	}
	const deep = `{"a":[{"b":[[{"password":"SECRET1","n":1},{"list":[{"api_key":"SECRET2"}]}]]}],"token":["SECRET3",{"x":"SECRET4"}],"custom-field":{"y":"SECRET5"}}`
	bodies := []struct{ kind, coding, body string }{
		{"application/json", "", deep},
		{"application/vnd.api+json; charset=utf-8", "gzip", zipped(deep)},
		{"application/json", "gzip", zipped(deep)[:90]},
		{"application/json", "zstd, gzip", zipped(deep)},
		{"application/json", "unknown", deep},
		{"text/plain", "", deep},
		{"", "", deep},
		{"application/json", "", `[` + deep + `,` + deep[:60]},
		{"application/json", "", "\xef\xbb\xbf" + deep},
		{"application/json", "", `{"broken" "password":"SECRET6","x":}{"password":'SECRET7'}`},
		{"application/x-www-form-urlencoded", "", "a=1&password=SECRET8&user[secret]=SECRET9&custom_field=SECRET10&q=" + `%7B%22token%22%3A%22SECRET11%22%7D`},
		{"application/x-www-form-urlencoded", "gzip", zipped("a=1&password=SECRET8")},
		{"multipart/form-data; boundary=xx", "", "--xx\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nSECRET12\r\n--xx\r\nContent-Disposition: form-data; name=\"j\"\r\nContent-Type: application/json\r\n\r\n" + deep + "\r\n--xx--\r\n"},
		{"text/event-stream", "", "data: {\"choices\":[{\"token\":\"SECRET13\"}]}\n\ndata: {\"password\":\ndata: \"SECRET14\"}\n\ndata: [DONE]\n\n"},
		{"application/graphql", "", `mutation { login(user: "u", password: "SECRET15") { token } }`},
		{"application/json", "", `{"query":"mutation($password: String!) { login(password: $password) }","variables":{"password":"SECRET16"}}`},
		{"application/xml", "", "<a><password>SECRET17</password><ns:token><v>SECRET18</v></ns:token></a>"},
		{"text/html", "", `<input name="csrf_token" value="SECRET19"><a href="/x?token=SECRET20&b=1">x</a>`},
		{"application/x-ndjson", "", "{\"token\":\"SECRET21\"}\n{\"a\":{\"secret\":\"SECRET22\"}}\n"},
		{"image/png", "", `{"password":"SECRET23"}`},
		{"application/octet-stream", "", "password=SECRET24&a=1"},
	}
	next := 0
	o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		b := bodies[next]
		h := w.Header()
		h["Content-Type"] = nil
		if b.kind != "" {
			h.Set("Content-Type", b.kind)
		}
		if b.coding != "" {
			h.Set("Content-Encoding", b.coding)
		}
		h.Add("Set-Cookie", "sid=SECRET30; Path=/")
		h.Set("X-Auth-Token", "SECRET31")
		h.Set("Location", "https://u:SECRET32@h/x?token=SECRET33")
		h.Set("WWW-Authenticate", `Basic realm="x"`)
		io.WriteString(w, b.body)
	}))
	t.Cleanup(o.Close)
	seen := new(spans)
	s := &stand{t: t}
	var err error
	s.Server, err = server.New(parse(t, fmt.Sprintf("[inspect]\nsample = 1\nsecrets = [\"custom-*\"]\n[tracing]\nenabled = true\n[[routes]]\nname = \"r\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", o.URL)),
		server.WithTraceExporter(func(*config.Tracing) (trace.Exporter, error) { return seen, nil }))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.url, s.api = "http://"+s.Addr("main").String(), "http://"+s.AdminAddr().String()

	streamed := make(chan string, 2*len(bodies))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go (&admin.Client{Address: config.Address(s.AdminAddr().String())}).Watch(ctx, "", func(list []*admin.ExchangeDetail, _ int) bool {
		for _, d := range list {
			text, _ := json.Marshal(d)
			streamed <- string(text)
		}
		return true
	})
	testkit.Eventually(t, "the stream runs", func() bool {
		var state admin.InspectState
		s.ask("/inspect", &state)
		return state.Streams == 1
	})
	check := func(where, text string) {
		t.Helper()
		if i := strings.Index(text, "SECRET"); i >= 0 {
			t.Errorf("%s has a secret: %s", where, text[max(0, i-80):min(len(text), i+40)])
		}
	}
	for i, b := range bodies {
		next = i
		fields := []string{
			"Authorization: Bearer SECRET40", "Proxy-Authorization: Basic SECRET41", "Cookie: a=SECRET42; b=SECRET43", "X-Api-Key: SECRET44", "Custom-Header: SECRET45",
			"Referer: https://u:SECRET46@h/p?access_token=SECRET47", "X-Forwarded-Authorization: SECRET48", "Accept-Encoding: identity",
		}
		if b.kind != "" {
			fields = append(fields, "Content-Type: "+b.kind)
		}
		if b.coding != "" {
			fields = append(fields, "Content-Encoding: "+b.coding)
		}
		name := fmt.Sprintf("%d (%s %s)", i, b.kind, b.coding)
		s.send("POST", fmt.Sprintf("%s/p%d?token=SECRET49&a[password]=SECRET50&custom_x=SECRET51", s.url, i), b.body, fields...)
		d := s.only(fmt.Sprintf("path=/p%d", i))
		text, _ := json.Marshal(d)
		check("the detail of "+name, string(text))
		for _, m := range []*admin.Message{d.Request, d.Response} {
			if m.Body != nil {
				check("a body in base64 of "+name, string(m.Body.Base64))
				_, file := s.send("GET", s.api+m.Body.URL, "")
				check("a file of "+name, file)
			}
		}
		_, _, replayed := s.replay(fmt.Sprintf(`{"id":%q,"request":{"target":"/replayed","text":"x"}}`, d.ID))
		check("the replay of "+name, replayed)
	}
	for range 2 * len(bodies) {
		check("the stream", <-streamed)
	}
	_, list := s.send("GET", s.api+"/inspect/exchanges?limit=1000", "")
	check("the list", list)
	_, har := s.send("GET", s.api+"/inspect/har?limit=1000", "")
	check("the archive", har)
	testkit.Eventually(t, "the spans are sent", func() bool { return strings.Count(seen.text(), "http.request.method") >= 4*len(bodies) })
	check("spans", seen.text())
}
