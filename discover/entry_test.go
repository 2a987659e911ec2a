package discover_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"weir/config"
	"weir/discover"
)

// A service's name is safe in paths of registries and in names of metrics.
func TestCheckService(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "a-b_c.d", "V1", strings.Repeat("a", 128)} {
		if err := discover.CheckService(good, good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "\x00", "é", strings.Repeat("a", 129)} {
		if err := discover.CheckService(bad, ""); err == nil || !strings.Contains(err.Error(), "found name") {
			t.Errorf("name %q: %v", bad, err)
		}
		if err := discover.CheckService("a", bad); (err == nil) != (bad == "") {
			t.Errorf("version %q: %v", bad, err)
		}
	}
}

// A program says of a URL what it can do, and never what secrets are in it.
func TestSchemes(t *testing.T) {
	t.Parallel()
	opened := errors.New("opened")
	schemes := discover.Schemes{
		{Name: "one", Source: func(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
			o.Log.Log(t.Context(), slog.LevelInfo, "a log is always there")
			return nil, fmt.Errorf("%w %s", opened, u.Host)
		}},
		{Name: "two", Catalog: func(*url.URL, discover.SchemeOptions) (discover.Catalog, error) { return nil, opened }},
	}
	for text, want := range map[string]string{
		"one://host/path":        "opened host",
		"two://host":             `found a URL of the scheme "two": want, for targets, "one:"`,
		"one://user:secret@%zz/": "found a URL that cannot be parsed",
	} {
		_, err := schemes.Source(text, discover.SchemeOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := schemes.Registrar("one://host", discover.SchemeOptions{}); err == nil || !strings.Contains(err.Error(), "this program has no scheme for registration") {
		t.Error(err)
	}
	equal(t, "password", config.DisplayURL("etcd://user:secret@host/a?token=secret&dc=b"), "etcd://user:xxxxx@host/a?dc=b&token=xxxxx")
	equal(t, "unchanged", config.DisplayURL("srv:_http._tcp.a?b=%20"), "srv:_http._tcp.a?b=%20")
}
