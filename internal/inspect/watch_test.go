package inspect

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/admin"
)

// passing returns an exchange as it is kept whose response has a body of that size.
func passing(i, size int) *kept {
	return &kept{
		Exchange: admin.Exchange{
			Time: time.Unix(1e9, 0), Kind: admin.KindRecent, RequestID: fmt.Sprint("request-", i), Listener: "web", Client: "192.0.2.7", Method: "GET", Scheme: "https",
			Host: "shop.example.org", Target: fmt.Sprint("/items/", i), Version: "HTTP/1.1", Route: "shop", Upstream: "shop", TargetURL: "http://10.0.0.1:8080",
			Attempts: 1, Status: 200, Cause: "ok", OK: true, BytesOut: int64(size), Type: "application/json", Duration: 0.012, Complete: true,
		},
		messages: [parts]*message{partResponse: {line: "HTTP/1.1 200 OK", fields: "Content-Type: application/json\n", body: &bodyPart{text: strings.Repeat("x", size)}}},
	}
}

// recordingWith returns a recorder that has room for some bytes.
func recordingWith(memory int64) *Recorder {
	r := NewRecorder()
	r.Use(&Plan{recorder: r, budget: memory})
	return r
}

// Those who watch get the newest ones, in their order, and the number of all others.
func TestNews(t *testing.T) {
	t.Parallel()
	r := recordingWith(64 << 20)
	r.keep(passing(0, 10))
	all, err := r.Watch("", false)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := r.Watch("path~1 path~/items", false)
	if err != nil {
		t.Fatal(err)
	}
	if news := all.Take(); news != nil {
		t.Errorf("what was recorded before is news: %+v", news)
	}
	const passed = 200
	for i := range passed {
		k := passing(i, 10)
		if i%3 == 0 {
			k.Kind = admin.KindFailed
		}
		r.keep(k)
	}
	check := func(name string, s admin.ExchangeStream, wantPassed, wantShown int, last string) {
		t.Helper()
		news := s.Take()
		if news == nil || news.Passed != wantPassed || len(news.Exchanges) != wantShown || news.Dropped != wantPassed-wantShown {
			t.Fatalf("%s: %+v, want %d of %d", name, news, wantShown, wantPassed)
		}
		if got := news.Exchanges[wantShown-1].(admin.Exchange).Target; got != last {
			t.Errorf("%s: the last one is %s, want %s", name, got, last)
		}
		before := ""
		for _, e := range news.Exchanges {
			if id := e.(admin.Exchange).ID; id <= before {
				t.Errorf("%s: %s comes after %s", name, id, before)
			} else {
				before = id
			}
		}
	}
	check("all", all, passed, maxNews, "/items/199")
	check("with a 1", odd, 119, maxNews, "/items/199")
	if news := all.Take(); news != nil {
		t.Errorf("there is news after all was taken: %+v", news)
	}
}

// What was pushed out before anybody looked is counted, and takes no memory.
func TestNewsThatIsGone(t *testing.T) {
	t.Parallel()
	r := recordingWith(256 << 10)
	s, err := r.Watch("path=/none", true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		r.keep(passing(i, 10<<10))
	}
	kept := r.State().Exchanges
	news := s.Take()
	if news == nil || news.Passed != 100-kept || news.Dropped != 100-kept || news.Exchanges == nil {
		t.Errorf("of 100 exchanges %d are kept, and the news is %+v", kept, news)
	}
	if used := r.State().Used; used > 256<<10 {
		t.Errorf("%d bytes are used", used)
	}
}

// BenchmarkWatched is what a page that watches takes of weir in a quarter of a second in which 1,250 exchanges pass: 5,000 a
// second. percent-of-core is the share of a processor.
func BenchmarkWatched(b *testing.B) {
	for _, filter := range []string{"", "path~/items status=2xx", "body~needle"} {
		b.Run("filter="+filter, func(b *testing.B) {
			r := recordingWith(32 << 20)
			s, err := r.Watch(filter, false)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var took time.Duration
			for range b.N {
				for i := range 1250 {
					r.keep(passing(i, 1<<10))
				}
				began := time.Now()
				if _, err := json.Marshal(s.Take()); err != nil {
					b.Fatal(err)
				}
				took += time.Since(began)
			}
			b.ReportMetric(float64(took)/float64(b.N), "watch-ns/op")
			b.ReportMetric(100*float64(took)/float64(b.N)/float64(250*time.Millisecond), "percent-of-core")
		})
	}
}
