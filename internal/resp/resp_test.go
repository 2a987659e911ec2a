package resp

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

// commands is how many the server of read gets.
const commands = 50

// read returns what comes through of what a server says, in pieces of that size.
func read(t *testing.T, said string, size int) (string, error) {
	t.Helper()
	server, client := net.Pipe()
	defer client.Close()
	bound := Bound(client, 100)
	const asked = "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n"
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(bound, strings.Repeat(asked, commands))
		written <- err
	}()
	if _, err := io.ReadFull(server, make([]byte, len(asked)*commands)); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	go func() {
		defer server.Close()
		for b := []byte(said); len(b) > 0; b = b[min(size, len(b)):] {
			if _, err := server.Write(b[:min(size, len(b))]); err != nil {
				return
			}
		}
	}()
	b, err := io.ReadAll(bound)
	return string(b), err
}

// sizes are those of the pieces in which something comes.
func sizes(said string) []int {
	if len(said) > 1<<14 {
		return []int{1000, 1 << 20} // one byte after the other takes long
	}
	return []int{1, 3, 1 << 20}
}

func TestBound(t *testing.T) {
	good := func(said string) {
		t.Helper()
		said = strings.Repeat(said, 3)
		for _, size := range sizes(said) {
			if got, err := read(t, said, size); err != nil || got != said {
				t.Errorf("%.50q in pieces of %d: got %.50q, %v", said, size, got, err)
			}
		}
	}
	bad := func(said, want string) {
		t.Helper()
		for _, size := range sizes(said) {
			got, err := read(t, "+OK\r\n"+said, size)
			if err == nil || !strings.Contains(err.Error(), want) || strings.HasSuffix(got, said) {
				t.Errorf("%.50q in pieces of %d: got %.50q, %v", said, size, got, err)
			}
		}
	}
	good("+OK\r\n")
	good("-ERR no\r\n:-5\r\n_\r\n,1.5\r\n#t\r\n(12345678901234567890123456789\r\n")
	good("$3\r\na\nb\r\n$0\r\n\r\n$-1\r\n!3\r\nERR\r\n=5\r\ntxt:a\r\n")
	good("$100\r\n" + strings.Repeat("$", 100) + "\r\n")
	good("*2\r\n*0\r\n*2\r\n$1\r\n*\r\n%1\r\n+a\r\n~1\r\n:1\r\n*-1\r\n")
	good(strings.Repeat("*1\r\n", maxDepth) + ":1\r\n")
	good("*100000\r\n" + strings.Repeat(":1\r\n", 100000)) // replies are counted anew each time

	bad(strings.Repeat("$3\r\nabc\r\n", commands), "to no command")
	bad(">2\r\n+subscribe\r\n+x\r\n", "no reply")
	bad("|1\r\n+name\r\n+value\r\n:1\r\n", "found '|'")
	bad("HTTP/1.1 400 Bad Request\r\n", `found 'H'`)
	bad("$101\r\n", "found a text of 101 bytes")
	bad("$2147483647\r\n", "found a text")
	bad("$99999999999999999999\r\n", "found the length")
	bad("$999999999999999999999999\r\n", "found a length of more")
	bad("$-5\r\n", `found the length "-5"`)
	bad("*-7\r\n", `found the length "-7"`)
	bad("$?\r\n", "found the length")
	bad("$\r\n", "found the length")
	bad("*2147483647\r\n", "found a list")
	bad("*1\r\n%1048577\r\n", "found a list")
	bad(strings.Repeat("*1\r\n", maxDepth+1), "deep")
	bad("+"+strings.Repeat("x", maxLine+1), "found a line")
	bad(strings.Repeat("*1000000\r\n", 2)+strings.Repeat("+\r\n", 100000)+strings.Repeat("*1000000\r\n"+strings.Repeat("+\r\n", 1000000), 1), "elements")
}

// FuzzBound: in whatever pieces something comes, as much of it is good, and what is good can be read
// with little memory.
func FuzzBound(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n%1\r\n+a\r\n:1\r\n"), 3)
	f.Add([]byte("$-5\r\n"), 1)
	f.Fuzz(func(t *testing.T, said []byte, size int) {
		whole := replies{longest: 100}
		want := whole.add(said)
		parts := replies{longest: 100}
		size = max(1, size&0xff)
		var got error
		for b := said; len(b) > 0 && got == nil; b = b[min(size, len(b)):] {
			got = parts.add(b[:min(size, len(b))])
		}
		if (want == nil) != (got == nil) {
			t.Fatalf("%q: %v in one piece, %v in pieces of %d", said, want, got, size)
		}
		if want == nil && (whole.kind != parts.kind || whole.skip != parts.skip || !bytes.Equal(whole.line, parts.line) || len(whole.left) > maxDepth) {
			t.Fatalf("%q: %+v in one piece, %+v in pieces of %d", said, whole, parts, size)
		}
	})
}
