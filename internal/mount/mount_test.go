package mount_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/internal/mount"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// both are the same handler for both libraries: it waits until the server is closed, or takes the
// connection over and waits for its end.
func both() map[string]func() *mount.Server {
	return map[string]func() *mount.Server{
		"http": func() *mount.Server {
			return mount.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/tunnel" {
					<-r.Context().Done()
					return
				}
				c, rw, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				io.WriteString(c, switching)
				io.Copy(c, rw) // and leaves c open
			}), mount.Options{})
		},
		"fasthttp": func() *mount.Server {
			return mount.FastHTTP(func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Path()) != "/tunnel" {
					<-ctx.Done()
					return
				}
				ctx.SetStatusCode(101)
				ctx.Hijack(func(c net.Conn) { io.Copy(c, c) })
			}, mount.Options{})
		},
	}
}

func dial(t *testing.T, s *mount.Server, request string) net.Conn {
	t.Helper()
	c, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

// Close ends whatever runs, and Dial says so afterwards.
func TestClose(t *testing.T) {
	for name, begin := range both() {
		t.Run(name, func(t *testing.T) {
			s := begin()
			fresh := dial(t, s, "")
			waiting := dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			tunnel := dial(t, s, "GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(tunnel), nil); err != nil {
				t.Fatal(err)
			}
			s.Close()
			for _, c := range []net.Conn{fresh, tunnel} {
				if rest, err := io.ReadAll(c); len(rest) > 0 {
					t.Errorf("after Close: %q, %v", rest, err)
				}
			}
			io.ReadAll(waiting)
			if _, err := s.Dial(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Dial after Close: %v", err)
			}
			// Close has waited for all; the last one may still be on its way out.
			for range 100_000 {
				if running() == "" {
					return
				}
				runtime.Gosched()
			}
			t.Errorf("still there after Close:\n%s", running())
		})
	}
}

// running returns the stacks of all goroutines of servers.
func running() string {
	buf := make([]byte, 1<<20)
	var found []string
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, by := range []string{"weir/internal/mount.", "net/http.", "github.com/valyala/fasthttp.(*workerPool)", "github.com/valyala/fasthttp.(*Server)"} {
			if strings.Contains(g, "created by "+by) {
				found = append(found, g)
			}
		}
	}
	return strings.Join(found, "\n\n")
}

// No connection slips through while the server is closed.
func TestCloseWhileDialling(t *testing.T) {
	for name, begin := range both() {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				s := begin()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						c, err := s.Dial()
						if err != nil {
							return
						}
						defer c.Close()
					}
				}()
				runtime.Gosched()
				s.Close()
				<-done
			}
		})
	}
}

// A handler that has taken its connection over can end its own direction alone.
func TestHalfClose(t *testing.T) {
	returned := make(chan struct{})
	s := mount.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer close(returned)
		defer c.Close()
		io.WriteString(c, "the end")
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(rw); string(rest) != "still here" || err != nil {
			t.Errorf("the handler reads %q, %v", rest, err)
		}
	}), mount.Options{})
	c := dial(t, s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if text, err := io.ReadAll(c); string(text) != "the end" || err != nil {
		t.Errorf("it ends with %q, %v", text, err)
	}
	if _, err := io.WriteString(c, "still here"); err != nil {
		t.Error(err)
	}
	c.Close()
	<-returned
	s.Close()
}

// A handler of fasthttp may leave its context to another goroutine when it has answered by TimeoutError, as fasthttp.TimeoutHandler does.
func TestTimeoutError(t *testing.T) {
	left := make(chan struct{})
	s := mount.FastHTTP(func(ctx *fasthttp.RequestCtx) {
		begun := make(chan struct{})
		go func() {
			defer close(left)
			for i := range 1000 {
				ctx.Response.Reset()
				if i == 0 {
					close(begun)
				}
			}
		}()
		<-begun
		ctx.TimeoutError("too slow")
	}, mount.Options{})
	defer s.Close()
	c := dial(t, s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != fasthttp.StatusRequestTimeout {
		t.Fatalf("%v, %v", r, err)
	}
	<-left
}
