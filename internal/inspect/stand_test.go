package inspect_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"weir/admin"
	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// stand is a weir whose exchanges are recorded, with its admin API.
type stand struct {
	*server.Server
	t testing.TB
	// url and api begin the URLs of weir and of its API.
	url, api string
}

// start runs weir in front of an origin. keys are those of [inspect], below are tables and keys
// after the route's name; the route is "r".
func start(t testing.TB, origin http.HandlerFunc, keys, below string) *stand {
	t.Helper()
	o := httptest.NewServer(origin)
	t.Cleanup(o.Close)
	return startFile(t, fmt.Sprintf(`
[inspect]
%s
[[routes]]
name = "r"
upstream = "o"
%s
[upstreams.o]
targets = [%q]
`, keys, below, o.URL))
}

func startFile(t testing.TB, text string) *stand {
	t.Helper()
	s := &stand{t: t}
	var err error
	if s.Server, err = server.New(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.url, s.api = "http://"+s.Addr("main").String(), "http://"+s.AdminAddr().String()
	return s
}

// parse makes a configuration of text, with a listener and the admin API.
func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte("[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n[access_log]\noutput = \"off\"\n[admin]\naddress = \"127.0.0.1:0\"\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// send makes a request of weir, or of its API, and returns status and body.
func (s *stand) send(method, url, body string, fields ...string) (status int, text string) {
	s.t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if r.Header.Add(name, value); name == "Host" {
			r.Host = value
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// ask reads an answer of the API into out.
func (s *stand) ask(path string, out any) {
	s.t.Helper()
	status, text := s.send("GET", s.api+path, "")
	if status != 200 {
		s.t.Fatalf("%s: status %d: %s", path, status, text)
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		s.t.Fatalf("%s: %v in %s", path, err, text)
	}
}

// list returns the exchanges that fit a filter, newest first.
func (s *stand) list(filter string) []admin.Exchange {
	s.t.Helper()
	var got struct{ Exchanges []admin.Exchange }
	s.ask("/inspect/exchanges?limit=1000&filter="+url.QueryEscape(filter), &got)
	return got.Exchanges
}

// only waits for the only exchange that fits a filter, and returns all that is kept of it.
func (s *stand) only(filter string) *admin.ExchangeDetail {
	s.t.Helper()
	var list []admin.Exchange
	testkit.Eventually(s.t, "an exchange that fits "+filter+" is kept", func() bool {
		list = s.list(filter)
		return len(list) > 0
	})
	if len(list) != 1 {
		s.t.Fatalf("%d exchanges fit %s, want 1: %+v", len(list), filter, list)
	}
	var d admin.ExchangeDetail
	s.ask("/inspect/exchanges/"+list[0].ID, &d)
	return &d
}

// field is the value of the first field of a message of that name.
func field(m *admin.Message, name string) string {
	if m != nil {
		for _, f := range m.Fields {
			if strings.EqualFold(f[0], name) {
				return f[1]
			}
		}
	}
	return ""
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}
