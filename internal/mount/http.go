package mount

import (
	"bufio"
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
)

// maxHead is larger than any head that weir lets through.
const maxHead = 64 << 20

// HTTP serves h until Close. A request's context ends when weir gives the request up, which it
// does when its client leaves, and when the server is closed. A panic before the
// response began is answered with a 500, a later one cuts the connection.
func HTTP(h http.Handler, o Options) *Server {
	s := newServer(o)
	ctx, stop := context.WithCancel(context.Background())
	library := &http.Server{
		Handler:                      http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.call(h, w, r) }),
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               maxHead,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			// One that was taken over belongs to the handler, whose call is counted.
			if state == http.StateClosed || state == http.StateHijacked {
				s.running.Done()
			}
		},
		ErrorLog: libraryLog(o.Log),
	}
	s.serve = func(c *conn) {
		l := &single{conn: c}
		_ = library.Serve(l) // io.EOF, or http.ErrServerClosed if the server was closed meanwhile
		if l.conn != nil {
			c.Close()
			s.running.Done()
		}
	}
	s.stop = func() {
		stop()
		_ = library.Close() // there is no listener whose error that could be
	}
	return s
}

// libraryLog is a log of package log that writes to l, which may be nil.
func libraryLog(l *slog.Logger) *log.Logger {
	if l == nil {
		return log.New(io.Discard, "", 0)
	}
	return slog.NewLogLogger(l.Handler(), slog.LevelWarn)
}

// single is a listener that accepts one connection.
type single struct{ conn net.Conn }

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	c := l.conn
	l.conn = nil
	if c == nil {
		return nil, io.EOF
	}
	return c, nil
}

// Close implements net.Listener.
func (l *single) Close() error { return nil }

// Addr implements net.Listener.
func (l *single) Addr() net.Addr { return &net.UnixAddr{Name: "mount", Net: "unix"} }

// call calls h.
func (s *Server) call(h http.Handler, w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Done()
	out := &response{ResponseWriter: w}
	defer func() {
		v := recover()
		if v != nil && v != http.ErrAbortHandler {
			s.onPanic(v)
		}
		out.finish(v)
	}()
	h.ServeHTTP(out, r)
}

// response is the http.ResponseWriter that the handler gets.
type response struct {
	http.ResponseWriter
	// began says that the final head was made, or that the connection was taken over.
	began bool
	// taken is the connection that the handler has taken over.
	taken net.Conn
}

// begin keeps the library from adding to the head.
func (w *response) begin() {
	if w.began {
		return
	}
	w.began = true
	h := w.Header()
	for _, name := range [...]string{"Date", "Content-Type"} {
		if _, set := h[name]; !set {
			h[name] = nil
		}
	}
}

// finish is called when the handler has returned, or panicked with v.
func (w *response) finish(v any) {
	switch {
	case v == nil:
		w.begin()
	case w.taken != nil:
		w.taken.Close()
	case w.began || v == http.ErrAbortHandler:
		panic(http.ErrAbortHandler) // cuts the connection
	default:
		clear(w.Header())
		w.Header().Set("Connection", "close") // the rest of the request may still come
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom implements io.ReaderFrom.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begin()
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.taken = c
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
