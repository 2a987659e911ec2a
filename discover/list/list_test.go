package list_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/discover/list"
	"weir/discover/sourcetest"
	"weir/internal/testkit"
	"weir/lb"
)

// scheme returns what the scheme of a URL can do.
func scheme(t *testing.T, text string) (discover.Scheme, *url.URL) {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	all := list.Schemes()
	return all[slices.IndexFunc(all, func(s discover.Scheme) bool { return s.Name == u.Scheme })], u
}

// follow runs the source at a URL until the test ends, or it fails.
func follow(t *testing.T, text string, log io.Writer) (reports chan string, failed chan error) {
	t.Helper()
	s, u := scheme(t, text)
	source, err := s.Source(u, discover.SchemeOptions{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	reports, failed = make(chan string), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		failed <- source.Run(ctx, func(list []lb.Endpoint) {
			select {
			case reports <- fmt.Sprint(list):
			case <-ctx.Done():
			}
		})
	}()
	return reports, failed
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// A document that has not changed is not sent again, but proves that the server is alive.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	p, err := discovertest.StartPage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	p.Set([]byte(`["http://one", 5]`))
	var log bytes.Buffer
	reports, _ := follow(t, "list+http://"+p.Addr+"/#every=100ms", &log)
	for range 3 {
		equal(t, "the same", <-reports, "[{http://one 1 0 false 0}]")
	}
	if whole, same := p.Answers(); whole != 1 || same < 1 {
		t.Errorf("the document was sent %d times, and %d times not", whole, same)
	}
	p.Set([]byte("targets = []"))
	for last := ""; last != "[]"; last = <-reports {
	}
	equal(t, "complaints", fmt.Sprint(strings.Count(log.String(), "cannot be used")), "1")
}

// Whatever is no document is an error.
func TestFails(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			io.WriteString(w, "<html>")
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `["http://one"`)
		case "/same":
			w.WriteHeader(http.StatusNotModified)
		case "/long":
			w.Write(bytes.Repeat([]byte(" "), 17<<20))
		case "/silent":
			<-r.Context().Done()
		case "/token":
			fmt.Fprintf(w, `["http://%s.example"]`, strings.ReplaceAll(r.Header.Get("Authorization"), " ", "-"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	at := "list+" + s.URL
	for text, want := range map[string]string{
		at + "/page": "neither TOML nor JSON", at + "/cut": "unexpected EOF", at + "/same": "304", at + "/long": "more than 16777216 bytes",
		at + "/silent#timeout=100ms": "Client.Timeout", at + "/none": "404", "list+http://" + testkit.Reserve(t) + "/": "refused",
		at + "/token#token_file=/nowhere": "no such file", "list+https" + strings.TrimPrefix(at, "list+http") + "/page": "HTTP response to HTTPS",
	} {
		_, failed := follow(t, text, io.Discard)
		if err := <-failed; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	reports, _ := follow(t, at+"/token#token_file="+token, io.Discard)
	equal(t, "with a token", <-reports, "[{http://bearer-secret.example 1 0 false 0}]")
}

// Redirects are followed, but not for ever, and not from https to what has no TLS.
func TestRedirects(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
		io.WriteString(w, `["http://one"]`)
	}))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := "/list"
		switch r.URL.Path {
		case "/list":
			io.WriteString(w, `["http://two"]`)
			return
		case "/plain":
			to = plain.URL
		}
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	reports, _ := follow(t, "list+"+secure.URL+"/moved#ca="+ca, io.Discard)
	equal(t, "moved", <-reports, "[{http://two 1 0 false 0}]")
	for text, want := range map[string]string{"list+" + secure.URL + "/plain#ca=" + ca: "redirects from https to http://", "list+" + plain.URL + "/loop": "more than 10 times"} {
		_, failed := follow(t, text, io.Discard)
		if err := <-failed; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	p, err := discovertest.StartPage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	p.Set([]byte("one = 1"))
	s, u := scheme(t, "list+http://"+p.Addr+"/weir.toml")
	d, err := s.Documents(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = d.Run(ctx, func(version int64, list []discover.Document) {
		equal(t, "document", fmt.Sprintf("%d %s", version, list), fmt.Sprintf("0 [{http://%s/weir.toml one = 1}]", p.Addr))
		cancel()
	})
	equal(t, "ended with", fmt.Sprint(err), context.Canceled.Error())
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"list+http://a/b?c=d#every=5s&timeout=1s": "", "list+https://a#ca=/a.pem": "", "list+http:a": "without a host", "list+http://u:p@a/": "without a host",
		"list+http://a#every=1h": "100ms to 30s", "list+http://a#ca=/a.pem": "one of the options", "list+https://a#cert=/a.pem": "belong together",
		"list+https://a#ca=a.pem": "absolute path",
	} {
		s, u := scheme(t, text)
		_, err := s.Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	p, err := discovertest.StartPage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	if err := discovertest.Follow(p.Place(list.Schemes()), nil); err != nil {
		t.Error(err)
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	p, err := discovertest.StartPage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	p.Set([]byte(`{"services": {"shop/v1": ["http://a"], "cart": ["http://b"]}}`))
	r := sourcetest.Catalog(t, list.Schemes()[0], "list+http://"+p.Addr+"/services#every=100ms")
	r.Sees("cart http://b, shop/v1 http://a")
	p.Set([]byte(`{"services": {"shop/v1": ["http://c"]}}`))
	r.Sees("shop/v1 http://c")
	p.Break(true)
	if err := <-r.Ended; err == nil {
		t.Error("nonsense: no error")
	}
}
