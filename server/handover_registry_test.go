package server_test

import (
	"fmt"
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
