package transport_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/testkit"
	"weir/internal/transport"
)

// A response for a crowded client is read ahead by 4 KiB at the most, and arrives the same: with heads that are larger than
// that too, and by each framing. The exchange that uses the connection next reads ahead as usual.
func TestCrowded(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789abcdef", 4<<10)
	field := "X-Large: " + strings.Repeat("x", 6<<10) + "\r\n"
	for name, answer := range map[string]string{
		"length": fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text),
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(text)/2, text[:len(text)/2]) +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text)/2, text[len(text)/2:]),
		"large head": fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", field, len(text), text),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					if _, err := c.TryHead(); err != nil || c.TrySend(answer) != nil {
						return
					}
				}
			})
			pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
			var crowded atomic.Bool
			ask := func(crowd *atomic.Bool) (most int) {
				t.Helper()
				s, err := pool.Open(time.Minute, transport.AnyVersion)
				if err != nil {
					t.Fatal(err)
				}
				var request, response head.Head
				request.StartRequest(head.HTTP11, []byte("GET"), []byte("/"))
				request.Add(head.Host, []byte("a"))
				if _, err := s.Send(&transport.Request{Head: &request, Crowded: crowd}); err != nil {
					t.Fatal(err)
				}
				if err := s.Await(); err != nil {
					t.Fatal(err)
				}
				most = s.(*transport.Conn).Reader.Size()
				if _, err := s.ReadHead(&response); err != nil {
					t.Fatal(err)
				}
				var reader body.Reader
				var got strings.Builder
				src, _ := s.Response(&response, false, &reader)
				buf := make([]byte, 16<<10)
				for !src.Done() {
					p, err := src.Next(buf)
					if err != nil && !src.Done() {
						t.Fatal(err)
					}
					got.Write(p)
				}
				if got.String() != text {
					t.Errorf("%d bytes of %d, or others, arrived", got.Len(), len(text))
				}
				s.Release(true)
				return most
			}
			const usual, small = 16 << 10, 4 << 10
			equal(t, "nothing is said", ask(nil), usual)
			equal(t, "the client is not crowded", ask(&crowded), usual)
			crowded.Store(true)
			equal(t, "the client is crowded", ask(&crowded), small)
			equal(t, "the next exchange says nothing", ask(nil), usual)
		})
	}
}
