package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// whoami is the script of an origin that authenticates connections, as NTLM does: the
// second message makes the connection that of its user, and "/me" says whose the
// connection is.
func whoami(c *testkit.Conn) {
	user, asked := "", false
	for {
		m, err := c.TryHead()
		if err != nil || m.ReadBody(c.Reader) != nil {
			return
		}
		scheme, token, _ := strings.Cut(m.Get("Authorization"), " ")
		switch {
		case token == "hello":
			asked = true
			c.Send("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: " + scheme + " challenge\r\nContent-Length: 0\r\n\r\n")
			continue
		case token != "" && asked:
			user = token
		case m.Target() == "/asks" && user == "":
			c.Send("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\nWWW-Authenticate: Digest qop=\"x\", NTLM\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n[%s]", len(user)+2, user))
	}
}

// A connection that a client has authenticated is that client's alone.
func TestConnectionOfOneClient(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	check := func(name string, origins []*testkit.Origin, settings string) {
		for _, scheme := range []string{"NTLM", "negotiate", "Nego2"} {
			t.Run(name+", "+scheme, func(t *testing.T) {
				var targets []string
				for _, o := range origins {
					targets = append(targets, fmt.Sprintf("%q", o.URL))
				}
				w := run(t, "[[routes]]\nupstream = \"o\"\ncache = true\n[upstreams.o]\ntargets = [%s]\n%s\n", strings.Join(targets, ", "), settings)
				alice, bob, carol := w.dial(), w.dial(), w.dial()
				get := func(c *testkit.Client, target, token string) string {
					fields := ""
					if token != "" {
						fields = "Authorization: " + scheme + " " + token + "\r\n"
					}
					c.Send("GET " + target + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
					m := c.Response("GET")
					return fmt.Sprint(m.Status(), " ", m.Body)
				}
				// The two handshakes take turns, and others ask in between.
				for _, step := range []struct{ token, want string }{{"hello", "401 "}, {"", "200 []"}, {"user", "200 "}} {
					for i, c := range []*testkit.Client{alice, bob} {
						token, want := step.token, step.want
						if token == "user" {
							token, want = fmt.Sprint("user-", i), fmt.Sprintf("200 [user-%d]", i)
						}
						equal(t, "answer to "+token, get(c, "/login/"+step.token, token), want)
						equal(t, "answer to another one", get(carol, fmt.Sprint("/other/", step.token, i), ""), "200 []")
					}
				}
				for i := range 6 {
					path := fmt.Sprint("/me/", i%2)
					equal(t, "alice is", get(alice, path, ""), "200 [user-0]")
					equal(t, "bob is", get(bob, path, ""), "200 [user-1]")
					equal(t, "carol is", get(carol, path, ""), "200 []")
				}
				alice.Close()
				bob.Close()
				w.logged(3*4 + 3*6)
				for range 4 {
					equal(t, "the next one is", get(w.dial(), "/later", ""), "200 []")
				}
			})
		}
	}
	plain := func() *testkit.Origin { return testkit.Listen(t, whoami) }
	check("plain", []*testkit.Origin{plain()}, "")
	check("TLS", []*testkit.Origin{testkit.ListenTLS(t, tlsServer(authority.Issue("127.0.0.1")), whoami)}, "tls.ca = \""+authority.File+"\"")
	check("pipelined", []*testkit.Origin{plain()}, "connections.pipeline = 8")
	check("hedged", []*testkit.Origin{plain(), plain()}, "retry.hedge = 0.5\nretry.hedge_min = \"1ms\"")
	check("two targets", []*testkit.Origin{plain(), plain()}, "")
}

// A challenge ties the connection too, for the client may answer it in a way that weir
// cannot tell.
func TestConnectionTiedByChallenge(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, whoami)
	w := through(t, origin)
	one, other := w.dial(), w.dial()
	equal(t, "status", one.Get("/asks").Status(), 401)
	equal(t, "status", other.Get("/").Status(), 200)
	equal(t, "connections", len(origin.Conns()), 2)
	equal(t, "status", one.Get("/").Status(), 200)
	equal(t, "connections", len(origin.Conns()), 2)
	one.Close()
	testkit.Eventually(t, "the connection ends with its client", func() bool {
		return w.metric(fmt.Sprintf(`weir_upstream_connections{upstream="origin",target=%q,state="open"}`, origin.URL)) == "1"
	})
}
