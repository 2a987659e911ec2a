package acme

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"weir/config"
)

var records = []libdns.Record{libdns.RR{Type: "TXT", Name: "_acme-challenge.www", Data: "value"}}

// A command gets the name of the record and its value, and says by its status whether it was done, also if it leaves
// a process behind that has its output.
func TestCommand(t *testing.T) {
	t.Parallel()
	told := filepath.Join(t.TempDir(), "told")
	p, err := newProvider(&config.DNSChallenge{Provider: config.DNSExec, Command: []string{"/bin/sh", "-c", `echo "$@" >> "$0"; case "$1" in set) sleep 3 & ;; delete) echo no such zone; exit 3;; esac`, told}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AppendRecords(t.Context(), "example.org.", records); err != nil {
		t.Error(err)
	}
	if _, err := p.DeleteRecords(t.Context(), "example.org.", records); err == nil || !strings.Contains(err.Error(), "exit status 3: no such zone") {
		t.Errorf("a command that fails: %v", err)
	}
	got, err := os.ReadFile(told)
	if want := "set _acme-challenge.www.example.org. value\ndelete _acme-challenge.www.example.org. value\n"; string(got) != want {
		t.Errorf("the command was told %q, %v, want %q", got, err, want)
	}
}

// Cloudflare's API is used as its reference says.
func TestCloudflare(t *testing.T) {
	t.Parallel()
	var calls []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.RequestURI()
		if r.Method == http.MethodPost {
			var body struct{ Type, Name, Content string }
			json.NewDecoder(r.Body).Decode(&body)
			call += fmt.Sprintf(" %+v", body)
		}
		calls = append(calls, call)
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"success":false,"errors":[{"code":9109,"message":"Invalid access token"}]}`)
		case strings.HasPrefix(r.URL.Path, "/zones/z1/dns_records"):
			fmt.Fprint(w, `{"success":true,"result":[{"id":"r1"}]}`)
		case r.URL.Query().Get("name") == "example.org":
			fmt.Fprint(w, `{"success":true,"result":[{"id":"z1"}]}`)
		default:
			fmt.Fprint(w, `{"success":true,"result":[]}`)
		}
	}))
	defer api.Close()
	p := provider{(&cloudflare{token: "secret", api: api.URL}).change}
	if _, err := p.AppendRecords(t.Context(), "example.org.", records); err != nil {
		t.Error(err)
	}
	if _, err := p.DeleteRecords(t.Context(), "example.org.", records); err != nil {
		t.Error(err)
	}
	want := []string{
		"GET /zones?name=example.org",
		`POST /zones/z1/dns_records {Type:TXT Name:_acme-challenge.www.example.org Content:"value"}`,
		"GET /zones?name=example.org",
		"GET /zones/z1/dns_records?type=TXT&name=_acme-challenge.www.example.org&content.contains=value",
		"DELETE /zones/z1/dns_records/r1",
	}
	if strings.Join(calls, "\n") != strings.Join(want, "\n") {
		t.Errorf("the calls are\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
	if _, err := p.AppendRecords(t.Context(), "other.org.", records); err == nil || !strings.Contains(err.Error(), `no zone "other.org"`) {
		t.Errorf("a zone that is not there: %v", err)
	}
	p = provider{(&cloudflare{token: "wrong", api: api.URL}).change}
	if _, err := p.AppendRecords(t.Context(), "example.org.", records); err == nil || !strings.Contains(err.Error(), "Invalid access token") {
		t.Errorf("a wrong token: %v", err)
	}
}

func TestWait(t *testing.T) {
	m := New(Options{})
	for tries, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
		if got := m.wait(os.ErrDeadlineExceeded, tries); got != want {
			t.Errorf("after %d tries weir waits for %s, want %s", tries, got, want)
		}
	}
	if got := m.wait(os.ErrDeadlineExceeded, 100); got != 10*time.Minute {
		t.Errorf("weir waits for %s at most", got)
	}
}

func TestRate(t *testing.T) {
	r := rate{most: 2}
	now := time.Now()
	for i, want := range []bool{true, true, false} {
		if r.allow(now) != want {
			t.Errorf("try %d is allowed: %v", i, !want)
		}
	}
	if !r.allow(now.Add(time.Minute)) {
		t.Error("after a minute nothing is allowed")
	}
}
