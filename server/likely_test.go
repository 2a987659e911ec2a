package server_test

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLikelyMistakes: what is right by itself and hardly ever meant is warned of.
func TestLikelyMistakes(t *testing.T) {
	t.Parallel()
	check := func(lines string, want ...string) {
		t.Helper()
		warns(t, lines, []byte(`
[[listeners]]
name = "main"
address = "127.0.0.1:8080"
[[listeners]]
name = "all"
address = ":8081"
[upstreams.u]
targets = ["http://127.0.0.1:1"]
[[routes]]
`+lines+"\nupstream = \"u\"\n"), want)
	}
	const braces = "is sent as it stands: variables are written in braces, such as {host} and {client_addr}"
	check("")
	check(`request_headers.set.X-Real-IP = "$remote_addr"`, `f:11: routes[0].request_headers.set.X-Real-IP: "$remote_addr" `+braces)
	check(`response_headers.add.X-A = "%[src]"`, `f:11: routes[0].response_headers.add.X-A: "%[src]" `+braces)
	check(`rewrite = "/a/$1"`, `f:11: routes[0].rewrite: "$1" `+braces)
	check(`request_headers.set.X-Price = "5 $, $2y$10$abc, $hostel, 100%, {host}"`)

	// A target that is a listener of the same file.
	loop := func(listen, target string, back bool) {
		t.Helper()
		text := "[[listeners]]\naddress = \"" + listen + "\"\n[[routes]]\nupstream = \"u\"\n[upstreams.u]\ntargets = [\"" + target + "\"]\n"
		var want []string
		if back {
			want = []string{`f:4: routes[0].upstream: "` + target + `" is the listener "` + listen + `" of this file, whose requests come here again: want another target, or another listener for the route`}
		}
		warns(t, text, []byte(text), want)
	}
	loop("127.0.0.1:8080", "http://127.0.0.1:8080", true)
	loop(":8080", "http://localhost:8080", true)
	loop("0.0.0.0:8080", "http://127.0.0.1:8080", true)
	loop("localhost:8080", "http://127.0.0.1:8080", true)
	loop("10.1.2.3:80", "http://10.1.2.3", true)
	loop("[0:0::1]:8080", "http://[::1]:8080", true)
	loop("127.0.0.1:8080", "HTTP://127.0.0.1:8080/", true)
	loop("127.0.0.1:8080", "http://a.example:8080#127.0.0.1", true)
	loop("a.example:8080", "http://a.example:8080#10.1.2.3", false)
	loop("unix:/tmp/weir-likely", "unix:/tmp/weir-likely", true)
	loop("127.0.0.1:8080", "http://127.0.0.2:8080", false)
	loop("127.0.0.1:8080", "https://127.0.0.1:8080", false)
	loop(":8080", "http://10.1.2.3:8080", false)
	loop("127.0.0.1:0", "http://127.0.0.1:1", false)
	chain := "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[listeners]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\n" +
		"[[routes]]\nlistener = \"a\"\nupstream = \"u\"\n[[routes]]\nlistener = \"b\"\nrespond.status = 200\n[upstreams.u]\ntargets = [\"http://127.0.0.1:2\"]\n"
	warns(t, "one listener behind another", []byte(chain), nil)

	// Whom everybody is, and a file that is not there.
	proxies := "[[listeners]]\naddress = \":80\"\n[forwarding]\ntrusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\", \"::/0\"]\n[[routes]]\nrespond.status = 200\n"
	const everybody = ` is everybody, so any client can say what its address is: want the addresses of the proxies in front`
	warns(t, "proxies", []byte(proxies), []string{`f:4: forwarding.trusted_proxies[1]: "0.0.0.0/0"` + everybody, `f:4: forwarding.trusted_proxies[2]: "::/0"` + everybody})
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.html"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files := "[[listeners]]\naddress = \":80\"\n[[routes]]\nfiles = { root = \"" + root + "\", fallback = \"/index.html\" }\n[[routes]]\npath = \"/a/\"\nfiles = { root = \"" + root + "\", fallback = \"/app.html\" }\n"
	warns(t, "files", []byte(files), []string{`f:7: routes[1].files.fallback: "/app.html" is not in "` + root + `", so what is not there is answered with 404`})
}
