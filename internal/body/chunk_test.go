package body_test

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"weir/internal/body"
	"weir/internal/head"
)

// The size of a chunk has no leading zeros.
func TestAppendChunkHead(t *testing.T) {
	for _, n := range []int{1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535, 65536, 1<<20 + 3, 1<<31 - 1, 1<<40 + 1} {
		if got, want := string(body.AppendChunkHead([]byte("x"), n)), fmt.Sprintf("x%x\r\n", n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// Fields that may not stand in a trailer section are left out; all others go out as they came.
func TestAppendLastChunk(t *testing.T) {
	check := func(trailer, want string) {
		t.Helper()
		br := bufio.NewReader(strings.NewReader("0\r\n" + trailer + "\r\n"))
		var b body.Reader
		b.Reset(br, body.FramingChunked, 0)
		if _, err := readBody(&b); !b.Done() {
			t.Fatalf("%q: %v", trailer, err)
		}
		if got := string(body.AppendLastChunk([]byte("x"), b.Trailer())); got != "x0\r\n"+want+"\r\n" {
			t.Errorf("%q is sent as %q, want %q", trailer, got, want)
		}
	}
	check("", "")
	check("X-A: 1\r\n", "X-A: 1\r\n")
	check("x-b:  2 \r\nETag: \"e\"\r\nx-a:1\r\nX-B: 3\r\n", "x-b:  2 \r\nETag: \"e\"\r\nx-a:1\r\nX-B: 3\r\n")
	check("user_id: 1\r\nx_forwarded: 2\r\n", "user_id: 1\r\nx_forwarded: 2\r\n")
	check("grpc-status: 0\r\ngrpc-message:\r\n", "grpc-status: 0\r\ngrpc-message:\r\n")
	for _, name := range []string{
		"Content-Length", "transfer-encoding", "HOST", "Connection", "Trailer", "TE", "Upgrade", "Set-Cookie", "Authorization",
		"Content-Type", "Content-Encoding", "Content-Range", "Cache-Control", "Max-Forwards", "WWW-Authenticate", "Date", "Vary",
		"X-Forwarded-For", "X-Forwarded-User", "X-Real-IP", "Forwarded", "Via", "Location",
		"X_Forwarded_For", "x-forwarded_proto", "X_Real_IP", "Content_Length", "Transfer_Encoding", "Client_Cert",
	} {
		check(name+": 1\r\n", "")
		check("A: 1\r\n"+name+": 2\r\nB: 3\r\n"+name+": 4\r\n", "A: 1\r\nB: 3\r\n")
	}
	if got := string(body.AppendLastChunk(nil, nil)); got != "0\r\n\r\n" {
		t.Errorf("no trailer section is %q", got)
	}
	var h head.Head // one that was not scanned
	h.Add(head.ETag, []byte("e"))
	h.Set(head.ContentLength, []byte("5"))
	if got := string(body.AppendLastChunk(nil, &h)); got != "0\r\nETag: e\r\n\r\n" {
		t.Errorf("a filled trailer section is %q", got)
	}
}
