package server_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// What a plan says of connections and entries: those that an open client, a pooled connection
// and a stored entry have.
func TestPlan(t *testing.T) {
	t.Parallel()
	origin := bigOrigin(t, 10)
	const text = `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[[listeners]]
name = "second"
address = "127.0.0.2:0"
[[routes]]
name = "all"
upstream = "o"
cache = true
[upstreams.o]
targets = ["TARGET"]
`
	was := strings.Replace(text, "TARGET", origin.URL, 1)
	w := run(t, "%s", was)
	c := w.dial()
	c.Get("/")
	check := func(now string, want ...string) {
		t.Helper()
		p, err := w.Plan(parse(t, now))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, change := range p.Changes {
			words := change.Do + " " + change.What + " " + change.Name
			if len(change.Keys) > 0 {
				words += " " + strings.Join(change.Keys, ",")
			}
			got = append(got, words+": "+change.Effect)
		}
		equal(t, "the plan", strings.Join(got, "\n"), strings.Join(want, "\n"))
		if _, err := json.Marshal(p); err != nil {
			t.Error(err)
		}
	}
	check(was)
	check(strings.Replace(was, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n", "", 1),
		"drop listener main: closes 127.0.0.1:0; running exchanges of its 1 connection may end")
	check(strings.Replace(was, "address = \"127.0.0.1:0\"", "address = \"127.0.0.1:0\"\ntimeouts = { idle = \"7s\" }", 1),
		"change listener main timeouts.idle: keeps its socket and its 1 connection")
	check(was+"[upstreams.o.timeouts]\nconnect = \"7s\"\n",
		"rebuild upstream o timeouts.connect: new connections to all targets, whose counts and health begin anew; connections of before close when their exchanges have ended")
	check(was+"[upstreams.o.retry]\nattempts = 1\n", "change upstream o retry.attempts: its targets keep connections, counts and health")
	check(was+"[cache]\nsize = \"16MiB\"\n", "rebuild cache  size: the cache's memory begins empty, without the 1 entries that it has")
	check(was + "[cache]\npurge_from = [\"127.0.0.1\"]\n")
	equal(t, "the connection", c.Get("/").Status(), 200)
}
