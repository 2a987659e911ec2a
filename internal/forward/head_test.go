package forward_test

import (
	"strings"
	"testing"

	"weir/internal/head"
)

// request scans a request head whose lines are separated by "\n".
func request(t testing.TB, lines string) *head.Head {
	t.Helper()
	h := &head.Head{}
	if err := h.ScanRequest([]byte("GET /p HTTP/1.1\r\n" + strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return h
}

// response scans a response head.
func response(t testing.TB, lines string) *head.Head {
	t.Helper()
	h := &head.Head{}
	if err := h.ScanResponse([]byte("HTTP/1.1 200 OK\r\n" + strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return h
}

// filledRequest makes the same head as request does, field by field.
func filledRequest(t testing.TB, lines string) *head.Head {
	t.Helper()
	h := &head.Head{}
	h.StartRequest(head.HTTP11, []byte("GET"), []byte("/p"))
	fill(t, h, lines)
	if err := h.FinishRequest(); err != nil {
		t.Fatal(err)
	}
	return h
}

func filledResponse(t testing.TB, lines string) *head.Head {
	t.Helper()
	h := &head.Head{}
	h.StartResponse(200)
	fill(t, h, lines)
	return h
}

// lentResponse is a stored response whose lines are not indexed yet.
func lentResponse(t testing.TB, lines string) *head.Head {
	t.Helper()
	from, h := response(t, lines), &head.Head{}
	h.LendResponse([]byte("HTTP/1.1 200 OK\r\n"+strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n"), from.Present(), 200, head.LengthNone)
	return h
}

func fill(t testing.TB, h *head.Head, lines string) {
	t.Helper()
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(line, ":")
		if err := h.Fill([]byte(name), []byte(strings.TrimSpace(value))); err != nil {
			t.Fatal(err)
		}
	}
}

// Every edit has to do the same whichever way the head was made.
var (
	requests  = map[string]func(testing.TB, string) *head.Head{"scanned": request, "filled": filledRequest}
	responses = map[string]func(testing.TB, string) *head.Head{"scanned": response, "filled": filledResponse, "lent": lentResponse}
)

// text returns the field lines of a head as they would be sent.
func text(h *head.Head) string {
	return strings.TrimSuffix(strings.ReplaceAll(string(h.AppendFields(nil)), "\r\n", "\n"), "\n")
}
