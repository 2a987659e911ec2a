package head_test

import (
	"testing"

	"weir/internal/head"
)

// A walk passes the same lines as All, whether there is an index or not, and Pass only the line that comes next.
func TestWalk(t *testing.T) {
	const raw = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nX-A:  1 \r\nX-A: 12\r\n"
	fill := func(h *head.Head) {
		present, _ := head.CheckFields([]byte(raw[len("HTTP/1.1 200 OK\r\n"):]))
		h.LendResponse([]byte(raw), present, 200, 0)
		h.Add(head.Age, []byte("7"))
	}
	check := func(change func(h *head.Head), want string) {
		t.Helper()
		var h head.Head
		fill(&h)
		change(&h)
		got := ""
		for w := h.Walk(); ; {
			if w.Pass("X-A: 1\r\n") || w.Pass("Age: 7\r\nX-B: 1\r\n") {
				t.Error("a walk has passed another line")
			}
			if w.Pass("X-A: 12\r\n") {
				got += "passed;"
				continue
			}
			f, line, ok := w.Next()
			if !ok {
				break
			}
			got += string(f.Name) + "=" + string(f.Value) + ";"
			if f.Set() != head.Lookup(f.Name) || string(line[len(line)-2:]) != "\r\n" || string(line[:len(f.Name)]) != string(f.Name) {
				t.Errorf("%s: set %x, line %q", f.Name, f.Set(), line)
			}
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	check(func(h *head.Head) {}, "ETag=\"x\";X-A=1;passed;Age=7;")
	check(func(h *head.Head) { h.Get(head.ETag) }, "ETag=\"x\";X-A=1;passed;Age=7;")
	check(func(h *head.Head) { h.Del(head.ETag); h.Set(head.Age, []byte("8")) }, "X-A=1;passed;Age=8;")
	check(func(h *head.Head) { h.StartResponse(200) }, "")
}
