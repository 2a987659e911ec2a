package origin_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"weir/bench/origin"
)

// start serves on loopback until the test's end.
func start(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := origin.New()
	s.Serve(ln)
	t.Cleanup(s.Close)
	return "http://" + ln.Addr().String()
}

func TestAnswers(t *testing.T) {
	url := start(t)
	check := func(path string, wantStatus, wantBody int) {
		t.Helper()
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != wantStatus || len(body) != wantBody {
			t.Errorf("GET %s: status %d with %d bytes, want %d with %d", path, resp.StatusCode, len(body), wantStatus, wantBody)
		}
	}
	check("/bytes/0", 200, 0)
	check("/bytes/1024", 200, 1024)
	// A query, as for many cache entries of one size, changes nothing.
	check("/bytes/10?entry=7", 200, 10)
	check("/page/10", 200, 10)
	check("/entry/10?n=1", 200, 10)
	check("/bytes/999999999", 404, 0)
	check("/other", 404, 0)
}

// Scenarios say how many fields a response has.
func TestFields(t *testing.T) {
	url := start(t)
	check := func(path string, want int) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		fields := -1 // the status line is not a field
		for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != ""; {
			fields++
		}
		if fields != want {
			t.Errorf("GET %s: %d fields, want %d", path, fields, want)
		}
	}
	check("/page/10", 15)
	check("/entry/10", 8)
}

func TestReadsBodiesToTheirEnd(t *testing.T) {
	url := start(t)
	check := func(name string, body io.Reader) {
		t.Helper()
		// Twice on one connection: the second fails if the first was not read whole.
		for range 2 {
			resp, err := http.Post(url+"/upload", "text/plain", body)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || string(got) != "ok" {
				t.Fatalf("%s: answered %q, %v, want \"ok\"", name, got, err)
			}
			resp.Body.Close()
			if s, ok := body.(io.Seeker); ok {
				if _, err := s.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	check("short", strings.NewReader("abc"))
	check("longer than the buffers", bytes.NewReader(make([]byte, 1<<20)))
	// A reader of unknown length makes net/http send chunks.
	check("chunked", io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000))))
}
