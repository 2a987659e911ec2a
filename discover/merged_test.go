package discover_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/discover"
	"weir/lb"
)

// scripted is a Catalog that a test reports for.
type scripted struct {
	reports chan []discover.Entry
	fails   chan error
}

func (s *scripted) Run(ctx context.Context, report func([]discover.Entry)) error {
	for {
		select {
		case list := <-s.reports:
			report(list)
		case err := <-s.fails:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func entriesOf(name string, urls ...string) (list []discover.Entry) {
	for _, url := range urls {
		list = append(list, discover.Entry{Name: name, Endpoint: lb.Endpoint{URL: "http://" + url}})
	}
	return list
}

// A Merged reports what all parts have; a part that fails keeps what it had, and all that fail are a failure.
func TestMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := make(map[string]*scripted)
		m := discover.NewMerged(nil)
		set := func(names string) {
			m.Set(strings.Fields(names), func(name string) discover.Catalog {
				parts[name] = &scripted{make(chan []discover.Entry), make(chan error)}
				return parts[name]
			})
		}
		last, reports := "nothing", 0
		ended := make(chan error)
		run := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				ended <- m.Run(ctx, func(list []discover.Entry) {
					var texts []string
					for _, e := range list {
						texts = append(texts, e.Name+" "+e.URL)
					}
					last = strings.Join(texts, ", ")
					reports++
				})
			}()
			return cancel
		}
		sees := func(want string) {
			t.Helper()
			time.Sleep(10 * time.Second) // of the bubble
			synctest.Wait()
			if last != want {
				t.Errorf("got %q, want %q", last, want)
			}
		}
		cancel := run()
		sees("nothing")
		set("a b")
		sees("nothing")
		parts["a"].reports <- entriesOf("a", "1")
		sees("nothing") // b has not answered
		parts["b"].fails <- errors.New("wrong")
		sees("a http://1")
		parts["b"].reports <- entriesOf("b", "2", "3")
		sees("a http://1, b http://2, b http://3")
		parts["b"].fails <- errors.New("wrong again")
		sees("a http://1, b http://2, b http://3")
		set("b c")
		sees("a http://1, b http://2, b http://3") // until c has answered
		parts["c"].reports <- nil
		sees("b http://2, b http://3")
		before := reports
		for range 100 {
			parts["b"].reports <- entriesOf("b", "2")
		}
		sees("b http://2")
		if reports-before > 3 {
			t.Errorf("%d reports of a burst", reports-before)
		}
		parts["b"].fails <- errors.New("wrong")
		parts["c"].fails <- errors.New("wrong, too")
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "wrong") {
			t.Errorf("all parts fail: got %v", err)
		}
		cancel()
		cancel = run()
		parts["c"].reports <- entriesOf("c", "4")
		sees("b http://2, c http://4")
		set("")
		sees("")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended: got %v", err)
		}
	})
}

func TestParseEntries(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"services": {"shop/v1": ["http://a", {"url": "http://b", "weight": 3}], "cart": []}}`:      "[{shop v1 {http://a 1 0 false 0} <nil>} {shop v1 {http://b 3 0 false 0} <nil>}] [] <nil>",
		"[services]\n\"shop/v1\" = [\"a:80\"]\ncart = [\"http://c\"]":                                "[{cart  {http://c 1 0 false 0} <nil>} {shop v1 {http://a 1 0 false 0} <nil>}] [] <nil>",
		"[[services.cart]]\nurl = \"http://c\"":                                                      "[{cart  {http://c 1 0 false 0} <nil>}] [] <nil>",
		`{"services": {}}`:                                                                           "[] [] <nil>",
		`{"services": {"a b": ["http://a"], "c": 5, "d": ["ftp://d"], "e/": [], "f": ["http://f"]}}`: "[{c  { 0 0 false 0} services.c: found 5: want a list} {d  { 0 0 false 0} services.d[0]: found \"ftp://d\": want \"http://host:port\", \"https://host:port\", \"h2c://host:port\", \"unix:/path\", \"demo:NAME\" or \"handler:NAME\"} {f  {http://f 1 0 false 0} <nil>}] 2 <nil>",
		`{"services": {"d": ["ftp://d"]}}`:                                                           "none of the entries can be used",
		`{"targets": []}`:                                                                            `no table "services"`,
		`{"services": [], "a": 1}`:                                                                   `no table "services"`,
		`[]`:                                                                                         `no table "services"`,
		"nonsense":                                                                                   "neither TOML nor JSON",
	} {
		good, bad, err := discover.ParseEntries([]byte(text))
		got := fmt.Sprint(good, " ", len(bad), " ", err)
		if len(bad) == 0 {
			got = fmt.Sprint(good, " ", bad, " ", err)
		}
		if err != nil && strings.Contains(err.Error(), want) {
			continue
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
