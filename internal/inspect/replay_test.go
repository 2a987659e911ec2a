package inspect_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/admin"
	"weir/internal/testkit"
)

// echo answers with what it got, under a name.
func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %s %s x=%s a:%s body=%s", name, r.Method, r.URL, r.Header.Get("X-Own"), r.Header.Get("Authorization"), body)
	}
}

// replay asks for a replay and returns status, what came, and the text.
func (s *stand) replay(body string) (int, admin.Replayed, string) {
	s.t.Helper()
	status, text := s.send("POST", s.api+"/inspect/replay", body, "Content-Type: application/json")
	var done admin.Replayed
	if status == 200 {
		if err := json.Unmarshal([]byte(text), &done); err != nil {
			s.t.Fatal(err)
		}
	}
	return status, done, text
}

func TestReplay(t *testing.T) {
	t.Parallel()
	one, two, outside := httptest.NewServer(echo("one")), httptest.NewServer(echo("two")), httptest.NewServer(echo("outside"))
	for _, s := range []*httptest.Server{one, two, outside} {
		t.Cleanup(s.Close)
	}
	s := startFile(t, fmt.Sprintf(`
[inspect]
sample = 1
[[routes]]
name = "r"
path = "/"
upstream = "one"
[[routes]]
name = "cached"
path = "/cached"
upstream = "one"
cache = { default_ttl = "1h" }
[upstreams.one]
targets = [%q]
[upstreams.two]
targets = [%q]
`, one.URL, two.URL))
	s.send("POST", s.url+"/a?b=1", "hello", "X-Own: 7", "Authorization: Bearer abcdefghij")
	d := s.only("path=/a")
	check := func(what, body, want string) *admin.ExchangeDetail {
		t.Helper()
		status, done, text := s.replay(body)
		if status != 200 {
			t.Errorf("%s: status %d: %s", what, status, text)
			return nil
		}
		if got := done.Replayed.Response.Body.Text; got != want {
			t.Errorf("%s: the answer is %q, want %q", what, got, want)
		}
		return done.Replayed
	}
	again := check("as it was", fmt.Sprintf(`{"id":%q}`, d.ID), "one POST /a?b=1 x=7 a: body=hello")
	if again != nil {
		equal(t, "its original", again.ReplayOf, d.ID)
		equal(t, "its route", again.Route, "r")
		if s.only("id="+again.ID).ReplayOf != d.ID {
			t.Error("the replay is not in the list")
		}
	}
	_, done, _ := s.replay(fmt.Sprintf(`{"id":%q}`, d.ID))
	if fmt.Sprint(done.LeftOut) != "[authorization]" || done.Original == nil || done.Original.ID != d.ID {
		t.Errorf("left out are %v, the original is %v", done.LeftOut, done.Original)
	}
	check("edited", fmt.Sprintf(`{"id":%q,"request":{"method":"PUT","target":"/c","fields":[["X-Own","8"],["Authorization","Bearer new"]],"text":"bye"}}`, d.ID), "one PUT /c x=8 a:Bearer new body=bye")
	check("another upstream", fmt.Sprintf(`{"id":%q,"upstream":"two"}`, d.ID), "two POST /a?b=1 x=7 a: body=hello")
	check("a target", fmt.Sprintf(`{"id":%q,"upstream":"two","server":%q}`, d.ID, two.URL), "two POST /a?b=1 x=7 a: body=hello")
	check("outside", fmt.Sprintf(`{"id":%q,"url":%q}`, d.ID, outside.URL), "outside POST /a?b=1 x=7 a: body=hello")
	check("without a record", `{"request":{"host":"h","target":"/d"}}`, "one GET /d x= a: body=")
	// Another upstream's answer must not come into the cache, nor out of it.
	s.send("GET", s.url+"/cached", "")
	cached := s.only("path=/cached")
	check("beside the cache", fmt.Sprintf(`{"id":%q,"upstream":"two"}`, cached.ID), "two GET /cached x= a: body=")
	if _, text := s.send("GET", s.url+"/cached", ""); !strings.HasPrefix(text, "one ") {
		t.Errorf("the cache has the answer to a replay: %q", text)
	}

	refuse := func(body string, status int, want string) {
		t.Helper()
		if got, _, text := s.replay(body); got != status || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %d %s", body, got, text, status, want)
		}
	}
	refuse(`{"id":"nothing"}`, 404, "no such exchange")
	refuse(`{"ID":1}`, 400, "no replay")
	refuse(`{"id":"x","more":1}`, 400, "unknown field")
	refuse(fmt.Sprintf(`{"id":%q,"upstream":"three"}`, d.ID), 400, "three")
	refuse(fmt.Sprintf(`{"id":%q,"server":"http://127.0.0.1:1"}`, d.ID), 400, "want a target of an upstream")
	refuse(fmt.Sprintf(`{"id":%q,"url":"file:///etc/passwd"}`, d.ID), 400, "url: want")
	refuse(fmt.Sprintf(`{"id":%q,"request":{"target":"/a b"}}`, d.ID), 400, "a space or a line end")
	// Fields cannot make other fields, other framing or another request.
	for _, f := range []string{
		`"X","a\r\nX-Other: b"`, `"X","a\nX-Other: b"`, `"X","a\rb"`, `"X","a\r\nContent-Length: 1"`, `"X","a\r\nTransfer-Encoding: chunked"`,
		`"X","a\r\n\r\nGET /other HTTP/1.1"`, `"X: a\r\nY","b"`, `"X:","b"`, `"Transfer-Encoding ","chunked"`, `" X","a"`, `"","a"`, `"X\u0000","a"`, `"X","a\u0000b"`,
	} {
		refuse(fmt.Sprintf(`{"id":%q,"request":{"fields":[[%s]],"text":"GET /other HTTP/1.1\r\nHost: h\r\n\r\n"}}`, d.ID, f), 400, "found the field")
	}
	for _, q := range []string{`"method":"GET /other HTTP/1.1\r\nX:"`, `"method":"G\tT"`, `"host":"h\r\nX: y"`, `"host":"h/x"`, `"target":"/a\u0000"`, `"target":"/a\tb"`, `"target":"/a#\nb"`} {
		if status, _, text := s.replay(fmt.Sprintf(`{"id":%q,"request":{%s}}`, d.ID, q)); status != 400 {
			t.Errorf("%s: %d %s, want 400", q, status, text)
		}
	}
	// Fields of framing are weir's own, whatever they say.
	check("with framing of its own", fmt.Sprintf(`{"id":%q,"request":{"fields":[["content-length","1"],["Transfer-Encoding","chunked"],["Connection","X-Own"],["X-Own","9"],["Expect","100-continue"]],"text":"all"}}`, d.ID),
		"one POST /a?b=1 x=9 a: body=all")
	// A request whose body or target is not all there must be completed.
	s.send("POST", s.url+"/masked", `{"password":"x"}`, "Content-Type: application/json")
	refuse(fmt.Sprintf(`{"id":%q}`, s.only("path=/masked").ID), 409, "a part of the body is masked")
	s.send("POST", s.url+"/long", strings.Repeat("x", 70<<10))
	refuse(fmt.Sprintf(`{"id":%q}`, s.only("path=/long").ID), 409, "only the beginning of the body")
	s.send("GET", s.url+"/secret?token=x", "")
	refuse(fmt.Sprintf(`{"id":%q}`, s.only("path=/secret").ID), 409, "a part of the target is masked")
}

// What is exported can be imported again, here or elsewhere, and is masked then.
func TestHAR(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/image" {
			w.Header().Set("Content-Type", "image/png")
			io.WriteString(w, "\x89PNG\r\n\x1a\n\x00\xff")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"a":"b"}`)
	}, "sample = 1", "")
	s.send("POST", s.url+"/x?q=1", "a=1", "Content-Type: application/x-www-form-urlencoded")
	s.send("GET", s.url+"/image", "")
	s.only("path=/image")
	status, text := s.send("GET", s.api+"/inspect/har", "")
	if status != 200 {
		t.Fatalf("status %d: %s", status, text)
	}
	var archive admin.HAR
	if err := json.Unmarshal([]byte(text), &archive); err != nil {
		t.Fatal(err)
	}
	if archive.Log.Version != "1.2" || archive.Log.Creator.Name != "weir" || len(archive.Log.Entries) != 2 {
		t.Fatalf("the archive is %s", text)
	}
	e := archive.Log.Entries[1]
	equal(t, "URL", e.Request.URL, s.url+"/x?q=1")
	equal(t, "posted", e.Request.PostData.Text, "a=1")
	equal(t, "content", e.Response.Content.Text, `{"a":"b"}`)
	equal(t, "parameter", fmt.Sprint(e.Request.QueryString), "[{q 1}]")
	equal(t, "coding of the image", archive.Log.Entries[0].Response.Content.Encoding, "base64")

	status, answer := s.send("POST", s.api+"/inspect/har", text)
	if status != 200 || !strings.Contains(answer, `"imported":2,"skipped":0`) {
		t.Fatalf("importing answers %d %s", status, answer)
	}
	d := s.only("kind=imported path=/x")
	equal(t, "the imported body", d.Response.Body.Text, `{"a":"b"}`)
	equal(t, "the imported request", d.Request.Line, "POST /x?q=1 HTTP/1.1")
	image := s.only("kind=imported path=/image")
	equal(t, "the imported image", image.Response.Body.Image, true)

	// One of a browser, with secrets.
	foreign := `{"log":{"version":"1.2","creator":{"name":"a browser","version":"1"},"entries":[
{"startedDateTime":"2026-01-02T03:04:05.678Z","time":12,"request":{"method":"GET","url":"https://h.example/p?token=SECRET","httpVersion":"h2","headers":[{"name":":path","value":"/p"},{"name":"cookie","value":"sid=SECRET"}]},
"response":{"status":200,"statusText":"OK","headers":[{"name":"content-type","value":"application/json"}],"content":{"size":1,"mimeType":"application/json","text":"{\"password\":\"SECRET\"}"}},"timings":{"wait":5,"receive":-1}},
{"request":{"method":"GET","url":"data:text/plain,x"},"response":{}}]}}`
	status, answer = s.send("POST", s.api+"/inspect/har", foreign)
	if status != 200 || !strings.Contains(answer, `"imported":1,"skipped":1`) {
		t.Fatalf("importing answers %d %s", status, answer)
	}
	d = s.only("kind=imported host=h.example")
	_, shown := s.send("GET", s.api+"/inspect/exchanges/"+d.ID, "")
	if strings.Contains(shown, "SECRET") || d.Target != "/p?token=(hidden)" {
		t.Errorf("what was imported shows secrets: %s", shown)
	}
	for _, wrong := range []string{"", "[]", "{}", `{"log":1}`} {
		if status, answer := s.send("POST", s.api+"/inspect/har", wrong); status != 400 {
			t.Errorf("%q: %d %s", wrong, status, answer)
		}
	}
}

// A replay has no field that belonged to the connection of the recorded request, those that Connection named among them,
// and says that its client takes trailers if that one did, as clients of gRPC must.
func TestReplayOfConnection(t *testing.T) {
	t.Parallel()
	heads := make(chan *testkit.Message, 1)
	o := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			heads <- m
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	s := startFile(t, fmt.Sprintf("[inspect]\nsample = 1\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", o.URL))
	c := testkit.Dial(t, s.Addr("main"))
	c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: X-Hop, TE\r\nX-Hop: 1\r\nTE: trailers\r\nX-Own: 1\r\n\r\n")
	c.Response("GET")
	check := func(what string, m *testkit.Message) {
		t.Helper()
		equal(t, what, m.Get("X-Hop")+" "+m.Get("TE")+" "+m.Get("X-Own"), " trailers 1")
	}
	check("the request", <-heads)
	status, _, text := s.replay(fmt.Sprintf(`{"id":%q}`, s.only("").ID))
	if status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	check("the replay", <-heads)
}
