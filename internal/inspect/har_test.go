package inspect_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir/admin"
)

// Archives of others may have anything in them: what is no exchange is left out, nothing of them breaks lists, filters,
// archives or replays, and nothing counts as one of weir's own.
func TestMalformedHAR(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }, "sample = 1", "")
	archive := func(entries string) string { return `{"log":{"version":"1.2","entries":[` + entries + `]}}` }
	const ok = `{"request":{"method":"GET","url":"http://h/ok"},"response":{"status":200}}`
	for _, c := range []struct {
		text             string
		status, imported int
	}{
		{archive(""), 200, 0},
		{archive("null"), 200, 0},
		{archive(ok + "," + `{},{"request":null},{"request":{"method":"","url":"http://h/"}},{"request":{"method":"GET","url":"::"}},{"request":{"method":"G\nT","url":"http://h/"}}`), 200, 1},
		{archive(ok[:40]), 400, 0},
		{archive(`{"request":{"method":1}}`), 400, 0},
		{archive(`{"startedDateTime":"yesterday"}`), 400, 0},
		{archive(`{"time":1e400}`), 400, 0},
		{strings.Repeat(`{"log":`, 20000), 400, 0},
		{`{"log":{"version":"1.2","entries":{}}}`, 400, 0},
		{archive(`{"time":-5,"request":{"method":"GET","url":"http://h/a?%zz=%zz&token=SECRET","httpVersion":"HTTP/9\r\nToken: SECRET","bodySize":-1,
			"headers":[{"name":"a\r\nb: c","value":"d\r\ne: f"},{"name":"","value":""},{"name":"Authorization","value":"SECRET"},{"name":"X\u0000","value":"\u0000"}],
			"postData":{"mimeType":"application/json","text":"{\"password\":\"SECRET\"","params":null}},
			"response":{"status":-7,"statusText":"OK\r\npassword: SECRET","content":{"mimeType":"text/html","text":"!!!","encoding":"base64"}},"timings":{"wait":-1,"blocked":1e300},
			"_weir":{"id":"zzz","kind":"failed","replay_of":"token=SECRET","error":"password=SECRET","user":"token=SECRET","cause":"password: SECRET","status":200,"listener":"none"}}`), 200, 1},
		{archive(`{"request":{"method":"GET","url":"http://h/big","headers":[]},"response":{"status":200,"content":{"text":"` + strings.Repeat("x", 9<<20) + `"}}}`), 200, 0}, // there is no room
	} {
		status, answer := s.send("POST", s.api+"/inspect/har", c.text)
		var done struct{ Imported int }
		json.Unmarshal([]byte(answer), &done)
		if status != c.status || done.Imported != c.imported {
			t.Errorf("%.80s: %d %s, want %d and %d imported", c.text, status, answer, c.status, c.imported)
		}
	}
	list := s.list("")
	if len(list) != 2 {
		t.Errorf("%d exchanges are kept, want 2", len(list))
	}
	for _, x := range list {
		equal(t, "the kind of "+x.Target, x.Kind, admin.KindImported)
		_, text := s.send("GET", s.api+"/inspect/exchanges/"+x.ID, "")
		if strings.Contains(text, "SECRET") {
			t.Errorf("%s shows a secret: %.3000s", x.Target, text)
		}
		if status, _, text := s.replay(`{"id":"` + x.ID + `"}`); status != 200 && status != 400 && status != 409 {
			t.Errorf("the replay of %s: %d %s", x.Target, status, text)
		}
	}
	status, text := s.send("GET", s.api+"/inspect/har?limit=1000", "")
	if status != 200 || !json.Valid([]byte(text)) || strings.Contains(text, "SECRET") {
		t.Errorf("the archive of imported exchanges: %d, %d bytes", status, len(text))
	}
}
