package browser_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"weir/internal/testkit"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// recordsAll is a configuration that wants routes, of which everything is recorded.
const recordsAll = `
[[listeners]]
name = "web"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[access_log]
output = "off"
[inspect]
sample = 1.0
`

// recorded is a weir in front of one service, of which everything is recorded.
func recorded(t *testing.T, serve http.HandlerFunc) *stage {
	t.Helper()
	origin := httptest.NewServer(serve)
	t.Cleanup(origin.Close)
	return perform(t, recordsAll+`
[[routes]]
name = "all"
upstream = "origin"
[upstreams.origin]
targets = ["`+origin.URL+`"]
`)
}

// Exchanges appear as they pass, are filtered, walked through by keys, and explained.
func TestExchanges(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, s.page+"#/exchanges")
	b.shows(".split", "Nothing has passed yet")
	s.ask("POST", "/v1/models/pets:predict", `{"instances": [{"pixels": [0.10, 12345678901234567890]}]}`)
	b.shows(".list", "/v1/models/pets:predict")
	s.ask("POST", "/v1/models/pets:predict", `{"instancez": []}`)
	s.get("/shop/fail")
	b.shows(".list", "/shop/fail")

	b.write("/status=5xx")
	b.until("document.querySelectorAll('.x').length == 1 && location.hash.includes('filter=status')")
	b.shows(".list", "/shop/fail")
	b.set("[data-search]", "stat=5xx")
	b.shows(".failure", "stat")
	b.set("[data-search]", "pets")
	b.until("document.querySelectorAll('.x').length == 2")
	b.press(kb.Escape)

	b.write("j") // the newest is the one that failed
	b.shows(".detail", "Missing 'inputs' or 'instances' key")
	b.shows(".detail", "Why this route")
	b.until("document.querySelectorAll('.segments i').length > 2")
	b.write("j")
	b.shows(".detail", "predictions")
	b.click(".detail", "Request")
	b.shows(".detail pre.json", "0.10,\n        12345678901234567890") // digits stay as they are
	b.click(".detail", "To the target")
	b.until("[...document.querySelectorAll('.detail .line.new')].some(l => l.innerText.includes('X-Forwarded-For'))")
	b.press(kb.Escape)
	b.until("!document.querySelector('.detail')")
}

// Holding the list keeps it as it is, and counts what comes meanwhile.
func TestHold(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	s.get("/teapot")
	b := open(t, s.page+"#/exchanges")
	b.shows(".list", "/teapot")
	b.until("document.querySelector('.live').innerText.includes('of 32 MiB')")
	b.write("p")
	b.shows("header", "Go on")
	for range 3 {
		s.get("/shop/none")
	}
	b.shows("header", "3 new")
	if got := b.text(".list"); strings.Contains(got, "/shop/none") {
		t.Errorf("the list goes on: %s", got)
	}
	b.write("p")
	b.shows(".list", "/shop/none")
}

func TestNothingRecorded(t *testing.T) {
	t.Parallel()
	s := perform(t, strings.ReplaceAll(plain, "sample = 1.0", "sample = 0.0"))
	b := open(t, s.page+"#/exchanges")
	b.shows("main", "Nothing is recorded")
	b.shows("main", "sample = 1")
}

// hostile is what a service may answer, and a client send, to have a script run in the page.
var hostile = []struct{ kind, body string }{
	{"text/html", `<script>window.ran = 1</script><img src=x onerror="window.ran = 1">`},
	{"image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg" onload="window.ran = 1"><script>window.ran = 1</script></svg>`},
	{"application/json", `{"a": "</script><script>window.ran = 1</script>", "__proto__": {"ran": 1}}`},
	{"application/xhtml+xml", `<html xmlns="http://www.w3.org/1999/xhtml"><script>window.ran = 1</script></html>`},
	{"image/png", `<svg xmlns="http://www.w3.org/2000/svg" onload="window.ran = 1"/>`},
	{"text/javascript", `window.ran = 1`},
	{"image/png\"><script>window.ran = 1</script>", `x`},
}

// Nothing that was captured runs in the page, wherever it stands, nor when it is looked at by itself.
func TestCapturedContentCannotRun(t *testing.T) {
	t.Parallel()
	s := recorded(t, func(w http.ResponseWriter, r *http.Request) {
		h := hostile[len(r.URL.Query().Get("n"))]
		w.Header().Set("Content-Type", h.kind)
		w.Header().Set("X-Evil", `"><img src=x onerror="window.ran = 1">`)
		io.WriteString(w, h.body)
	})
	b := open(t, s.page+"#/exchanges")
	for i, h := range hostile {
		path := fmt.Sprintf("/%%3Cimg%%20src=x%%20onerror=window.ran=1%%3E?n=%s&%d", strings.Repeat("x", i), i)
		s.ask("POST", path, h.body)
		id := s.someID(fmt.Sprintf("target~&%d", i))
		b.do(chromedp.Navigate(s.page + "#/exchanges/" + id))
		b.shows(".detail", fmt.Sprintf("&%d", i))
		for _, message := range []string{"Request", "Response"} {
			b.click(".detail section", message)
			for _, mode := range value[[]string](b, "[...document.querySelectorAll('.bodyhead .choice button')].map(e => e.innerText)") {
				b.click(".bodyhead", mode)
				b.until("document.querySelector('.detail .body')")
			}
			if n := value[int](b, "document.querySelectorAll('.detail script, .detail iframe, .detail object, .detail embed, .detail .body svg, .detail .body img').length"); n > 0 {
				t.Errorf("%s: %d elements of the captured body are in the page", h.kind, n)
			}
		}
		for _, message := range []string{"request", "response"} {
			harmless(t, fmt.Sprintf("http://%s/inspect/exchanges/%s/%s/body", s.AdminAddr(), id, message))
		}
	}
	if value[bool](b, "!!window.ran") {
		t.Error("a script ran")
	}
}

// harmless checks that a browser that goes to an address keeps what it gets as a file, and runs it nowhere.
func harmless(t *testing.T, address string) {
	t.Helper()
	r, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	h := r.Header
	if r.StatusCode != http.StatusOK || h.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") ||
		h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%s: %d %v", address, r.StatusCode, h)
	}
}

// A picture is shown, and other bytes as such.
func TestImageAndHex(t *testing.T) {
	t.Parallel()
	s := recorded(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		w.Write(picture())
	})
	s.ask("POST", "/p.png", "\x00\x01binary\xff")
	b := open(t, s.page+"#/exchanges/"+s.someID("p.png"))
	b.until("document.querySelector('.detail .body img')?.naturalWidth == 240")
	b.click(".detail section", "Request")
	b.shows(".detail pre.hex", "00000000  00 01 62 69 6e 61 72 79 ff")
}

// A shell that runs the copied line sends what was recorded, whatever is in it.
func TestCurl(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "curl")
	got := make(chan string, 9)
	s := recorded(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s %q %q %q", r.Method, r.RequestURI, r.Header.Get("X-Odd"), r.Header.Get("Content-Type"), body)
	})
	var b *tab
	for _, c := range []struct{ method, path, odd, kind, body string }{
		{"GET", "/a/../b?x={1,2}&y=[a]", "it's $(touch x) `id` \\ \"q\" !!", "", ""},
		{"POST", "/$(id)", "a", "application/json", "{\"a\": \"it's\\n\"}\n\n$HOME @file"},
		{"PUT", "/bin", "b", "", "\x00\xff\n"},
		{"DELETE", "/x", "c", "", ""},
	} {
		r, err := http.NewRequest(c.method, s.web+"/", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = strings.TrimPrefix(s.web, "http:") + c.path
		r.Header.Set("X-Odd", c.odd)
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		want := <-got
		if b == nil {
			b = open(t, s.page)
		}
		b.do(chromedp.Navigate(s.page + "#/exchanges/" + s.someID("method="+c.method)))
		b.shows(".detail h2", c.method)
		value[bool](b, "!(window.copied = '', navigator.clipboard.writeText = async (t) => { window.copied = t })")
		b.write("c")
		b.until("window.copied")
		line := value[string](b, "window.copied")
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
			continue
		}
		if again := <-got; again != want {
			t.Errorf("%s\nsent %s\nwant %s", line, again, want)
		}
	}
}

// However many pass, the page has a few rows and answers to its user.
func TestMany(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, s.page+"#/exchanges")
	b.shows(".split", "Nothing has passed yet")
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 500 {
				s.get("/teapot")
			}
		})
	}
	b.until("document.querySelectorAll('.x').length > 10")
	b.write("j")
	b.shows(".detail", "short and stout")
	clients.Wait()
	b.until("Number(document.querySelector('.live').innerText.match(/([\\d,]+) listed/)[1].replace(',', '')) >= 50")
	if n := value[int](b, "document.querySelectorAll('.x').length"); n > 100 {
		t.Errorf("%d rows are in the page", n)
	}
	b.write("/no-such-word")
	b.shows(".split", "Nothing fits")
}
