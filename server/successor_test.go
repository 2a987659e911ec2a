package server_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/lb"
	"weir/server"
)

// What changes in the registry of a process is told to the process that replaces it, and the other way round.
func TestRegistryOfTwoProcesses(t *testing.T) {
	t.Parallel()
	const text = "[[routes]]\npath = \"/{service}/\"\nupstream = \"{service}\"\n"
	old := launch(t, text)
	add := func(w *weir, port int) {
		t.Helper()
		if err := w.Registry().Add("shop", "", lb.Endpoint{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(w *weir, what string, want ...int) {
		t.Helper()
		list, _ := w.Registry().Lookup("shop", "")
		var got []string
		for _, e := range list {
			got = append(got, e.URL)
		}
		var urls []string
		for _, port := range want {
			urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d", port))
		}
		equal(t, what, fmt.Sprint(got), fmt.Sprint(urls))
	}
	add(old, 1)
	memory, err := old.Memory()
	if err != nil {
		t.Fatal(err)
	}
	next := launch(t, text, server.WithPredecessor(&server.Predecessor{Memory: memory}))
	old.Connect(&testkit.Other{T: t, To: next})
	next.Connect(&testkit.Other{T: t, To: old})
	has(next, "by the memory", 1)
	add(old, 2)
	has(next, "added to the old one", 1, 2)
	add(next, 3)
	has(old, "added to the new one", 1, 2, 3)
	old.Registry().Delete("shop", "", "http://127.0.0.1:1")
	has(next, "deleted from the old one", 2, 3)
	next.Registry().Remove("shop", "")
	has(old, "removed from the new one")
	add(old, 4)
	has(next, "added again", 4)
	old.Connect(nil)
	add(old, 5)
	has(next, "not told any more", 4)
	for _, wrong := range []string{"registry", "registry {", `registry {"name": "a/b"}`, `registry {"name": "a", "endpoint": {"url": "ftp://a"}}`, `registry {"name": "a", "endpoint": "http://a", "ttl": -1}`} {
		if next.Learn([]byte(wrong)) == nil && wrong != "registry" {
			t.Errorf("%s was learned", wrong)
		}
	}
	has(next, "after nonsense", 4)
}

// slowOther is the other process of an upgrade, which learns nothing before the test reads from asked and then
// sends to learned.
type slowOther struct {
	told    chan []byte
	asked   chan struct{}
	learned chan struct{}
}

func (o *slowOther) Tell(message []byte) { o.told <- message }

func (o *slowOther) Await(ctx context.Context) error {
	if len(o.told) == 0 {
		return nil
	}
	o.asked <- struct{}{}
	select {
	case <-o.learned:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestAnswersWaitForTheOtherProcess: what an operator or a client changes is answered once the other process of
// an upgrade knows of it, and that process can make the same change.
func TestAnswersWaitForTheOtherProcess(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Cache-Control", "max-age=60") }))
	defer origin.Close()
	text := fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[[routes]]
upstream = "fixed"
cache = true
[upstreams.fixed]
targets = [%q, "http://127.0.0.1:9"]
`, origin.URL)
	old, next := run(t, "%s", text), run(t, "%s", text)
	other := &slowOther{told: make(chan []byte, 10), asked: make(chan struct{}), learned: make(chan struct{})}
	old.Connect(other)
	waits := func(what, want string, change func() string) {
		t.Helper()
		answer := make(chan string, 1)
		go func() { answer <- change() }()
		<-other.asked
		select {
		case got := <-answer:
			t.Fatalf("%s: answered %s before the other process knows of it", what, got)
		default:
		}
		for len(other.told) > 0 {
			if err := next.Learn(<-other.told); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		other.learned <- struct{}{}
		if got := <-answer; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
	api := func(method, path, body string) func() string {
		return func() string { return old.api(method, path, body) }
	}
	waits("register", "200", api("PUT", "/registry/shop/v1/a:80", ""))
	waits("deregister", "200", api("DELETE", "/registry/shop/v1/a:80", ""))
	waits("remove", "200", api("DELETE", "/registry/shop/v1", ""))
	waits("drain", "200", api("POST", "/drain", `{"upstream":"fixed","target":"http://127.0.0.1:9","on":true}`))
	waits("weigh", "200", api("POST", "/weight", `{"upstream":"fixed","target":"http://127.0.0.1:9","weight":7}`))
	waits("purge", "200", api("POST", "/purge", `{"all":true}`))
	waits("invalidate", "200", func() string {
		return fmt.Sprint(old.raw("POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").Status())
	})
	old.Connect(nil)
	equal(t, "nobody else", old.api("POST", "/drain", `{"upstream":"fixed","target":"http://127.0.0.1:9","on":false}`)[:3], "200")
	if got := next.api("GET", "/upstreams", ""); !strings.Contains(got, `"draining"`) || !strings.Contains(got, `"weight":7`) {
		t.Errorf("the other process does not have the drain and the weight: %s", got)
	}
	for _, wrong := range []string{"target ", "target {}", `target {"upstream":"fixed","target":"http://127.0.0.1:9","weight":-1}`} {
		if next.Learn([]byte(wrong)) == nil {
			t.Errorf("%s was learned", wrong)
		}
	}
}

// TestPagesLeave: operators who have connected to a process get an answer after it has handed over, too.
func TestPagesLeave(t *testing.T) {
	t.Parallel()
	w := run(t, "[[listeners]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[[routes]]\nrespond = {status = 204}\n")
	for _, page := range []struct {
		address net.Addr
		path    string
	}{{w.AdminAddr(), "/status"}, {w.MetricsAddr(), "/metrics"}} {
		silent, used := testkit.Dial(t, page.address), testkit.Dial(t, page.address)
		request := "GET " + page.path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
		used.Send(request) // with its answer the first connection has been accepted, too
		m := used.Response("GET")
		equal(t, "status", m.Status(), 200)
		equal(t, "Connection", m.Get("Connection"), "")
		defer func() {
			for _, c := range []*testkit.Client{silent, used} {
				c.Send(request)
				m := c.Response("GET")
				equal(t, "status after the handover", m.Status(), 200)
				equal(t, "Connection after the handover", m.Get("Connection"), "close")
			}
		}()
	}
	if err := w.HandOver(); err != nil {
		t.Fatal(err)
	}
}

// TestPagesLeaveInTime: a shutdown after a handover does not wait longer for operators than it is told to.
func TestPagesLeaveInTime(t *testing.T) {
	t.Parallel()
	w := run(t, "[[listeners]]\naddress = \"127.0.0.1:0\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[[routes]]\nrespond = {status = 204}\n")
	c := testkit.Dial(t, w.MetricsAddr())
	c.Send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	equal(t, "status", c.Response("GET").Status(), 200)
	if err := w.HandOver(); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	w.Shutdown(ctx)
	c.Send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	equal(t, "status while the page leaves", c.Response("GET").Status(), 200)
}
