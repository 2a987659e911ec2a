package head_test

import (
	"testing"

	"weir/internal/head"
)

// Lines pass only if a scan takes them as they are.
func TestCheckFields(t *testing.T) {
	check := func(lines string, present head.Set, want bool) {
		t.Helper()
		if got, ok := head.CheckFields([]byte(lines)); got != present || ok != want {
			t.Errorf("%q: %#x, %v; want %#x, %v", lines, got, ok, present, want)
		}
	}
	check("", 0, true)
	check("ETag: a\r\nx-a:1\r\nvary:\r\n", head.SetOf(head.ETag, head.Vary), true)
	check("ETag: a", 0, false)
	check("ETag: a\n", 0, false)
	check("\n", 0, false)
	check("\r\n", 0, false)
	check("ETag: a\r\n\r\n", 0, false)
	check("ETag\r\n", 0, false)
	check("ETag : a\r\n", 0, false)
	check(": a\r\n", 0, false)
	check("ETag: a\r\n b\r\n", 0, false)
	check("ETag: a\x00\r\n", 0, false)
	check("ETag: a\rVary: b\r\n", 0, false)
}

// Status lines pass only if AppendStatusLine writes them.
func TestCheckStatusLine(t *testing.T) {
	check := func(line string, status int, want bool) {
		t.Helper()
		if got := head.CheckStatusLine([]byte(line), status); got != want {
			t.Errorf("%q for %d: %v", line, status, got)
		}
	}
	check("HTTP/1.1 200 OK\r\n", 200, true)
	check("HTTP/1.1 200 Fine\tso\r\n", 200, true)
	check("HTTP/1.1 299 \r\n", 299, true)
	check("HTTP/1.1 200 \r\n", 200, false) // OK would be written
	check("HTTP/1.1 200 OK\r\n", 201, false)
	check("HTTP/1.0 200 OK\r\n", 200, false)
	check("HTTP/1.1 200 OK\n\n", 200, false)
	check("HTTP/1.1 200 OK\r\n\r\n", 200, false)
	check("HTTP/1.1 200 O\x01K\r\n", 200, false)
	check("HTTP/1.1 1000 OK\r\n", 1000, false)
	check("HTTP/1.1 -10 OK\r\n", -10, false)
	check("HTTP/1.1 200\r\n", 200, false)
	check("\r\n", 0, false)
	check("", 0, false)
}
