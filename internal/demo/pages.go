package demo

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The most that a query may ask for.
const (
	maxEvents = 100_000
	maxBytes  = 1 << 40
	maxWait   = 24 * time.Hour
)

// page is a path of an instance.
type page struct {
	path, try, does string
	serve           func(http.ResponseWriter, *http.Request)
}

// pages are all there are: the index shows the same list. A second line of a
// page only shows more to try.
func pages() []page {
	return []page{
		{"/", "/", "who answers, and what it got", index},
		{"/echo", "/echo", "the request as it arrived, its body while it arrives", echo},
		{"/events", "/events?n=5&every=1s", "server-sent events, one by one", events},
		{"/slow", "/slow?d=2s", "an answer that takes its time", slow},
		{"/fail", "/fail?status=503", "an answer with that status", fail},
		{"/fail", "/fail?cut=1", "a connection cut in the middle of the answer's body", nil},
		{"/bytes", "/bytes?n=1048576", "that many bytes", sendBytes},
		{"/upgrade", "/upgrade", "an upgrade to the protocol asked for, then an echo", upgrade},
	}
}

func handler() http.Handler {
	// Not an http.ServeMux: it would redirect paths such as "//" and "/a/../b",
	// and hide how they arrived.
	byPath := map[string]http.HandlerFunc{}
	for _, p := range pages() {
		if p.serve != nil {
			byPath[p.path] = p.serve
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := answering(r)
		i.requests.Add(1)
		w.Header().Set("X-Demo-Target", i.name)
		serve := byPath[r.URL.Path]
		if serve == nil {
			http.Error(w, fmt.Sprintf("%s has no page %s; / lists what there is", i.name, r.URL.EscapedPath()), http.StatusNotFound)
			return
		}
		serve(w, r)
	})
}

// answering returns the instance that the client dialled.
func answering(r *http.Request) *instance { return r.Context().Value(instanceKey{}).(*instance) }

// index tells who answers; in HTML to those who ask for it.
func index(w http.ResponseWriter, r *http.Request) {
	i := answering(r)
	var text strings.Builder
	fmt.Fprintf(&text, "This is %s, a built-in demo target of weir. It has answered %d requests.\n", i.name, i.requests.Load())
	text.WriteString("\nYour request, as it arrived here:\n\n")
	writeHead(&text, r, "    ")
	text.WriteString("\nWhat to try:\n\n")
	for _, p := range pages() {
		fmt.Fprintf(&text, "    %-22s %s\n", p.try, p.does)
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text.String())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	body := html.EscapeString(text.String())
	for _, p := range pages() {
		if p.try == "/" || p.path == "/upgrade" {
			continue // here already; nothing that a browser could follow
		}
		try := html.EscapeString(p.try)
		body = strings.Replace(body, "    "+try+" ", `    <a href="`+try+`">`+try+`</a> `, 1)
	}
	fmt.Fprintf(w, "<!doctype html>\n<title>%s</title>\n<pre>%s</pre>\n", html.EscapeString(i.name), body)
}

// writeHead writes the request's head, each line behind indent, fields in
// alphabetical order.
func writeHead(w io.Writer, r *http.Request, indent string) {
	fmt.Fprintf(w, "%s%s %s %s\n", indent, r.Method, r.RequestURI, r.Proto)
	fmt.Fprintf(w, "%sHost: %s\n", indent, r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			fmt.Fprintf(w, "%s%s: %s\n", indent, name, value)
		}
	}
	if r.ContentLength > 0 && r.Header.Get("Content-Length") == "" {
		fmt.Fprintf(w, "%sContent-Length: %d\n", indent, r.ContentLength)
	}
	for _, coding := range r.TransferEncoding {
		fmt.Fprintf(w, "%sTransfer-Encoding: %s\n", indent, coding)
	}
}

// echo answers with the head, an empty line and the body, each piece of it as
// soon as it arrives, and with the request's trailers at the end.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/1.1 always can
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeHead(w, r, "")
	_, _ = io.WriteString(w, "\n")
	if control.Flush() != nil {
		return
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			if control.Flush() != nil {
				return
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler) // half a request gets half an answer
		}
	}
	for name, values := range r.Trailer {
		for _, value := range values {
			w.Header().Add(http.TrailerPrefix+name, value)
		}
	}
}

func events(w http.ResponseWriter, r *http.Request) {
	n, every := int64(5), time.Second
	if !queryNumber(w, r, "n", &n, maxEvents) || !queryTime(w, r, "every", &every) {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for i := int64(1); i <= n; i++ {
		if i > 1 {
			wait(r, every)
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: event %d of %d from %s\n\n", i, i, n, answering(r).name); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

func slow(w http.ResponseWriter, r *http.Request) {
	d := 2 * time.Second
	if !queryTime(w, r, "d", &d) {
		return
	}
	wait(r, d)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s took %s\n", answering(r).name, d)
}

// fail answers with a status, or cuts the connection when half of the announced
// body is out.
func fail(w http.ResponseWriter, r *http.Request) {
	cut, status := int64(0), int64(http.StatusServiceUnavailable)
	if !queryNumber(w, r, "cut", &cut, 1) || !queryNumber(w, r, "status", &status, 599) {
		return
	}
	if cut == 1 {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, strings.Repeat("x", 500))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if status < 200 {
		refuse(w, "status", "a number from 200 to 599")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(int(status))
	if status != http.StatusNoContent && status != http.StatusNotModified {
		fmt.Fprintf(w, "%s fails on request with %d %s\n", answering(r).name, status, http.StatusText(int(status)))
	}
}

// sendBytes answers with n bytes of text in lines of 64.
func sendBytes(w http.ResponseWriter, r *http.Request) {
	n := int64(1 << 20)
	if !queryNumber(w, r, "n", &n, maxBytes) {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	if r.Method == http.MethodHead {
		return
	}
	block := []byte(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n", 512))
	for n > 0 {
		written, err := w.Write(block[:min(n, int64(len(block)))])
		if err != nil {
			return
		}
		n -= int64(written)
	}
}

// upgrade switches to whatever protocol was asked for and sends back all bytes,
// until the client has closed its sending side.
func upgrade(w http.ResponseWriter, r *http.Request) {
	protocol := r.Header.Get("Upgrade")
	if protocol == "" {
		w.Header().Set("Upgrade", "echo")
		http.Error(w, "ask for an upgrade: Connection: Upgrade, Upgrade: echo", http.StatusUpgradeRequired)
		return
	}
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot take over a connection: %s", err))
	}
	defer c.Close()
	fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Demo-Target: %s\r\n\r\n", protocol, answering(r).name)
	if buf.Flush() != nil {
		return
	}
	echoBytes(c, buf.Reader)
}

// echoBytes sends back what it reads, beginning with what the server had read
// already.
func echoBytes(c net.Conn, r *bufio.Reader) {
	p := make([]byte, 32<<10)
	for {
		n, err := r.Read(p)
		if n > 0 {
			if _, err := c.Write(p[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns after d. If the client or the origin has gone before, it cuts the
// connection: an answer must not look complete then.
func wait(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// queryNumber reads a number from 0 to most into v, and leaves v alone if the query
// has none of that name. It answers the request itself and returns false if it is not good.
func queryNumber(w http.ResponseWriter, r *http.Request, name string, v *int64, most int64) bool {
	text := r.URL.Query().Get(name)
	if text == "" {
		return true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		refuse(w, name, fmt.Sprintf("a number from 0 to %d", most))
		return false
	}
	*v = n
	return true
}

// queryTime is queryNumber for a time span.
func queryTime(w http.ResponseWriter, r *http.Request, name string, v *time.Duration) bool {
	text := r.URL.Query().Get(name)
	if text == "" {
		return true
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		refuse(w, name, `a time span such as "500ms" or "2s"`)
		return false
	}
	*v = d
	return true
}

func refuse(w http.ResponseWriter, name, want string) {
	http.Error(w, fmt.Sprintf("%s: want %s", name, want), http.StatusBadRequest)
}
