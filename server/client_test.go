package server_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
)

// eachClient runs a test with clients of every kind: settings are those of the listener's
// table, rest is what follows the listener. dial connects a client.
func eachClient(t *testing.T, settings, rest string, test func(t *testing.T, w *weir, dial func() *testkit.Client)) {
	pair := testkit.NewAuthority(t).Issue("weir.test")
	check := func(name, address, more string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := run(t, "%s", fmt.Sprintf("[[listeners]]\nname = \"main\"\naddress = %q\n", address)+settings+more+rest)
			test(t, w, func() *testkit.Client {
				if more == "" {
					return w.dial()
				}
				return testkit.DialTLS(t, w.addr, insecure())
			})
		})
	}
	check("plain", "127.0.0.1:0", "")
	check("TLS", "127.0.0.1:0", fmt.Sprintf("[[listeners.certificates]]\ncert = %q\nkey = %q\n", pair.Cert, pair.Key))
	check("unix", "unix:"+t.TempDir()+"/weir.sock", "")
}

func toOne(url string) string {
	return fmt.Sprintf("[[routes]]\nupstream = \"o\"\ncache = true\n[upstreams.o]\ntargets = [%q]\n", url)
}

// bigOrigin answers every request with a body of size bytes, which may be stored.
func bigOrigin(t *testing.T, size int) *testkit.Origin {
	return testkit.Listen(t, testkit.Answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))))
}

// A client that takes nothing of a large response is let go, however slow it may be while
// it takes something, and the log says how much it took.
func TestClientThatReadsNothing(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	origin := bigOrigin(t, size)
	eachClient(t, "timeouts = { grace = \"2s\", min_rate = \"1\" }\n", toOne(origin.URL), func(t *testing.T, w *weir, dial func() *testkit.Client) {
		equal(t, "the first answer", len(dial().Get("/").Body), size)
		w.logged(1)
		for i := range 2 { // the second time the body may come from a file
			dial().Send(get)
			line := w.logged(i + 2)[i+1]
			equal(t, "the log's line", line.String(), "200 client_slow")
			if line.Duration > 100 {
				t.Errorf("it took %v seconds, 8 million at min_rate", line.Duration)
			}
			if line.BytesOut == 0 || line.BytesOut >= size {
				t.Errorf("bytes_out is %d", line.BytesOut)
			}
		}
	})
}

// Without a rate, a client that takes something in each grace gets everything.
func TestClientThatReadsSlowly(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	origin := bigOrigin(t, size)
	eachClient(t, "timeouts = { grace = \"3s\", min_rate = \"0\" }\n", toOne(origin.URL), func(t *testing.T, w *weir, dial func() *testkit.Client) {
		c := dial()
		c.Send(get)
		c.Head("GET")
		began := time.Now()
		for n := 0; n < size; n += 128 << 10 {
			c.Take(128 << 10)
			receive(t, after(60)) // this is how slow it is
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("it took %v, which shows nothing", took)
		}
		line := w.logged(1)[0]
		equal(t, "the log's line", line.String(), "200 ok")
		equal(t, "bytes_out", line.BytesOut, size)
	})
}

// A response that breaks off does not end like a whole one, whatever its framing.
func TestBrokenResponse(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		switch c.Request().Target() {
		case "/length":
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		case "/chunked":
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		case "/stored":
			c.Send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello")
		}
	})
	eachClient(t, "", toOne(origin.URL), func(t *testing.T, w *weir, dial func() *testkit.Client) {
		if _, unix := w.addr.(*net.UnixAddr); unix {
			return // has no way to say it
		}
		for _, version := range []string{"1.0", "1.1"} {
			for _, path := range []string{"/length", "/chunked", "/stored"} {
				c := dial()
				c.Send("GET " + path + " HTTP/" + version + "\r\nHost: a\r\n\r\n")
				if rest, end := c.Rest(); end == testkit.Closed {
					t.Errorf("%s for HTTP/%s ends %q, %s", path, version, rest, end)
				}
			}
		}
	})
}

// A client that closes its connection takes its exchange with the origin along.
func TestClientThatCloses(t *testing.T) {
	t.Parallel()
	for _, request := range []string{get, get + get, post(5) + "hello"} {
		started, ended := make(chan struct{}, 10), make(chan struct{}, 10)
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			c.Request()
			started <- struct{}{}
			c.Rest()
			ended <- struct{}{}
		})
		own := strings.Replace(toOne(origin.URL), "cache = true", `cache = { finish = "0" }`, 1)
		eachClient(t, "", own, func(t *testing.T, w *weir, dial func() *testkit.Client) {
			c := dial()
			c.Send(request)
			receive(t, started)
			c.Close()
			receive(t, ended)
			equal(t, "cause", w.logged(1)[0].Cause, "client_gone")
		})
	}
}

// The limit of a head holds for one that begins in the read that brought the request
// before it.
func TestSecondHeadTimeout(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	eachClient(t, "timeouts = { header = \"300ms\" }\n", toOne(origin.URL), func(t *testing.T, w *weir, dial func() *testkit.Client) {
		for _, request := range []string{get, post(5) + "hello", post(-1) + "5\r\nhello\r\n0\r\n\r\n"} {
			c := dial()
			began := time.Now()
			c.Send(request + "GET /second HTTP/1.1\r\nHo")
			equal(t, "first status", c.Response("GET").Status(), 200)
			equal(t, "second status", c.Response("GET").Status(), 408)
			if took := time.Since(began); took > testkit.Limit/2 {
				t.Errorf("it took %v", took)
			}
		}
	})
}

// A route may let its clients be as slow and as silent as they like.
func TestPatientRoute(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if m, err := c.TryHead(); err != nil || m.ReadBody(c.Reader) != nil {
				return
			}
			c.TrySend(ok)
		}
	})
	settings := "timeouts = { grace = \"3s\", min_rate = \"100KB\" }\n"
	eachClient(t, settings, toOne(origin.URL)+"[[routes]]\npath = \"/patient\"\nupstream = \"o\"\ntimeouts = { grace = \"1m\", any_rate = true }\n"+
		"[[routes]]\npath = \"/rate\"\nupstream = \"o\"\ntimeouts = { any_rate = true }\n", func(t *testing.T, w *weir, dial func() *testkit.Client) {
		var uploads []func()
		upload := func(what, path string, pause, pieces, status int) {
			c := dial()
			c.Send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path, pieces))
			go func() {
				for range pieces {
					time.Sleep(time.Duration(pause) * time.Millisecond) // this is how slow it is
					if _, err := c.Conn.Write([]byte("x")); err != nil {
						return
					}
				}
			}()
			uploads = append(uploads, func() { equal(t, "status of "+what, c.Response("POST").Status(), status) })
		}
		upload("a pause", "/patient", 5000, 1, 200)
		upload("a pause without the keys", "/up", 5000, 1, 408)
		upload("a slow upload", "/rate", 25, 200, 200)
		upload("a slow upload without the keys", "/up", 25, 200, 408)
		upload("a pause at any rate", "/rate", 5000, 1, 408)
		for _, ends := range uploads {
			ends()
		}
	})
}

// The answer to an upload that is not wanted arrives, whether weir or the target gives it, and
// however much the client sends before it reads.
func TestAnswerBeforeTheBody(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		c.Rest()
	})
	rest := "[[routes]]\npath = \"/large\"\nmax_body = \"1MiB\"\nupstream = \"o\"\n[[routes]]\npath = \"/fixed\"\nrespond = { status = 429 }\n" +
		"[[routes]]\npath = \"/origin\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [\"" + origin.URL + "\"]\n"
	eachClient(t, "", rest, func(t *testing.T, w *weir, dial func() *testkit.Client) {
		const size = 12 << 20
		for path, status := range map[string]int{"/large": 413, "/nowhere": 404, "/fixed": 429, "/origin": 401} {
			c := dial()
			c.Send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path, size))
			for range size / (1 << 20) {
				c.Send(strings.Repeat("x", 1<<20))
			}
			equal(t, "status for "+path, c.Response("POST").Status(), status)
			c.Close()
		}
	})
}
