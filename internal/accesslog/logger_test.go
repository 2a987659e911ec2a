package accesslog_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/config"
	"weir/internal/accesslog"
	"weir/internal/head"
)

func start(t *testing.T, output, format string, o accesslog.Options) *accesslog.Logger {
	t.Helper()
	l, err := accesslog.New(config.AccessLog{Output: output, Format: format}, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func stop(t *testing.T, l *accesslog.Logger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	// Lines are appended to what is there.
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := start(t, path, "{status} {method}", accesslog.Options{})
	l.Log(&accesslog.Record{Status: 200, Method: []byte("GET")})
	l.Log(&accesslog.Record{Status: 404, Method: []byte("PUT")})
	stop(t, l)
	if got, want := read(t, path), "old\n200 GET\n404 PUT\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// After Close: dropped, counted, and Close may be called again.
	l.Log(&accesslog.Record{Status: 500})
	stop(t, l)
	if l.Written() != 2 || l.Dropped() != 1 || l.WriteErrors() != 0 {
		t.Errorf("written %d, dropped %d, errors %d", l.Written(), l.Dropped(), l.WriteErrors())
	}
}

func TestOff(t *testing.T) {
	// A writer does not switch a log on that is off.
	l := start(t, "off", "json", accesslog.Options{Writer: &bytes.Buffer{}})
	if l != nil {
		t.Fatal("a log that is off is not nil")
	}
	l.Log(&accesslog.Record{})
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
	stop(t, l)
	if l.Written() != 0 || l.Dropped() != 0 || l.WriteErrors() != 0 {
		t.Error("a log that is off counts")
	}
}

func TestNewErrors(t *testing.T) {
	check := func(output, format, want string) {
		t.Helper()
		cfg := config.AccessLog{Output: output, Format: format}
		l, err := accesslog.New(cfg, accesslog.Options{})
		if err == nil {
			stop(t, l)
			t.Errorf("output %q, format %q was accepted", output, format)
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	check("", "json", `output: found "": want "stdout"`)
	check("stdout", "{nope}", `format: found {nope}`)
	// Also if nothing is written now: it would be wrong when it is switched on.
	check("off", "{nope}", `format: found {nope}`)
	check(filepath.Join(t.TempDir(), "missing", "access.log"), "json", "cannot open access log")
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	l := start(t, path, "{status}", accesslog.Options{})
	l.Log(&accesslog.Record{Status: 1})
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	// Several times in a row, faster than anything is written.
	for range 3 {
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	l.Log(&accesslog.Record{Status: 2})
	stop(t, l)
	if !strings.HasSuffix(read(t, path), "2\n") {
		t.Errorf("a line logged after Reopen is not in the new file: %q", read(t, path))
	}
	if got := read(t, moved) + read(t, path); got != "1\n2\n" {
		t.Errorf("both files hold %q", got)
	}
	// After Close there is nothing to reopen, and nothing leaks.
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
}

func TestReopenFailureKeepsTheOldFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, gone := filepath.Join(dir, "access.log"), dir+".gone"
	l := start(t, path, "{status}", accesslog.Options{})
	if err := os.Rename(dir, gone); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("Reopen says nothing of a missing directory")
	}
	l.Log(&accesslog.Record{Status: 1})
	stop(t, l)
	if got := read(t, filepath.Join(gone, "access.log")); got != "1\n" {
		t.Errorf("the old file holds %q", got)
	}
}

// gate is a writer that reports each call and waits until it may go on.
type gate struct {
	called, leave chan struct{}
	mu            sync.Mutex
	buf           bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.called <- struct{}{}
	<-g.leave
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(p)
}

// TestSlowOutput: an output that takes nothing costs lines, not time, and each
// line is either written or counted.
func TestSlowOutput(t *testing.T) {
	g := &gate{called: make(chan struct{}, 1<<20), leave: make(chan struct{})}
	l := start(t, "stdout", "{request_target}", accesslog.Options{Writer: g})
	r := &accesslog.Record{RequestTarget: bytes.Repeat([]byte("x"), 999)}
	l.Log(r)
	<-g.called // the first line is stuck in the writer

	const goroutines, each = 8, 500 // 4 MB
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				l.Log(r)
			}
		})
	}
	all.Wait()
	if l.Dropped() == 0 || l.Written() != 0 {
		t.Errorf("written %d, dropped %d while the output takes nothing", l.Written(), l.Dropped())
	}
	close(g.leave)
	stop(t, l)
	if got := l.Written() + l.Dropped(); got != goroutines*each+1 {
		t.Errorf("written %d + dropped %d, want %d", l.Written(), l.Dropped(), goroutines*each+1)
	}
	if got := uint64(bytes.Count(g.buf.Bytes(), []byte("\n"))); got != l.Written() {
		t.Errorf("%d lines counted, %d in the output", l.Written(), got)
	}
	for text := range strings.Lines(g.buf.String()) {
		if len(text) != 1000 {
			t.Fatalf("a line of %d bytes", len(text))
		}
	}
}

func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{called: make(chan struct{}, 8), leave: make(chan struct{})}
		l := start(t, "stdout", "{status}", accesslog.Options{Writer: g})
		l.Log(&accesslog.Record{})
		<-g.called
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "cannot flush") {
			t.Errorf("Close of a stuck output says %v", err)
		}
		close(g.leave)
		stop(t, l)
	})
}

// TestQuietLogIsUpToDate: a single line does not wait for others.
func TestQuietLogIsUpToDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{called: make(chan struct{}), leave: make(chan struct{})}
		close(g.leave)
		l := start(t, "stdout", "{status}", accesslog.Options{Writer: g})
		for range 2 {
			begin := time.Now()
			l.Log(&accesslog.Record{Status: 200})
			l.Log(&accesslog.Record{Status: 200})
			<-g.called
			if waited := time.Since(begin); waited > 100*time.Millisecond {
				t.Errorf("a line waited %s", waited)
			}
			synctest.Wait()
		}
		if l.Written() != 4 {
			t.Errorf("%d lines written", l.Written())
		}
		stop(t, l)
	})
}

// TestBusyLogGathers: many lines leave together, after half a second, when half a mebibyte waits, or when the log ends
// or is opened again.
func TestBusyLogGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{called: make(chan struct{}), leave: make(chan struct{})}
		close(g.leave)
		l := start(t, "stdout", "{request_target}", accesslog.Options{Writer: g})
		r := &accesslog.Record{RequestTarget: bytes.Repeat([]byte("x"), 1023)}
		begin := time.Now()
		burst := func(lines int) {
			begin = time.Now()
			for range lines {
				l.Log(r)
			}
		}
		// written waits for a write and checks how long it took, by the clock of the bubble, and what all lines are by then.
		written := func(after time.Duration, lines uint64) {
			t.Helper()
			<-g.called
			if waited := time.Since(begin); waited != after {
				t.Errorf("the lines waited %s, want %s", waited, after)
			}
			synctest.Wait()
			if l.Written() != lines {
				t.Errorf("%d lines are written, want %d", l.Written(), lines)
			}
		}
		burst(15)
		written(100*time.Millisecond, 15)
		burst(16)
		time.Sleep(300 * time.Millisecond)
		l.Log(r)
		written(500*time.Millisecond, 32)
		burst(512)
		written(0, 544)
		burst(16)
		time.Sleep(200 * time.Millisecond)
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
		written(200*time.Millisecond, 560)
		burst(16)
		time.Sleep(200 * time.Millisecond)
		go stop(t, l)
		written(200*time.Millisecond, 576)
	})
}

// fragile fails as its script says: each entry is how many bytes the next write
// takes, -1 for all of them.
type fragile struct {
	script []int
	buf    bytes.Buffer
}

func (f *fragile) Write(p []byte) (int, error) {
	take := -1
	if len(f.script) > 0 {
		take, f.script = f.script[0], f.script[1:]
	}
	if take < 0 {
		return f.buf.Write(p)
	}
	n, _ := f.buf.Write(p[:take])
	return n, errors.New("no space left")
}

func TestWriteErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		// Three lines of which one and a half are taken; then nothing, not even
		// the end of the half line; then everything.
		f := &fragile{script: []int{6, 0, -1}}
		l := start(t, "stdout", "{status}", accesslog.Options{Writer: f, OnError: func(err error) { told = append(told, err) }})
		batch := func(status ...int) {
			for _, s := range status {
				l.Log(&accesslog.Record{Status: s})
			}
			time.Sleep(time.Second) // of the bubble: until the batch is written
		}
		batch(101, 102, 103)
		batch(201)
		batch(301, 302)
		stop(t, l)
		if got, want := f.buf.String(), "101\n10\n301\n302\n"; got != want {
			t.Errorf("output %q, want %q", got, want)
		}
		if l.Written() != 3 || l.Dropped() != 3 || l.WriteErrors() != 2 {
			t.Errorf("written %d, dropped %d, errors %d, want 3, 3, 2", l.Written(), l.Dropped(), l.WriteErrors())
		}
		if len(told) != 1 || !strings.Contains(told[0].Error(), "no space left") {
			t.Errorf("told %v, want the first of the two errors", told)
		}
	})
}

func TestLogAllocatesNothing(t *testing.T) {
	for _, format := range []string{"json", "combined", `{client} {peer} "{method} {request_target}" {status} {duration} {request_header:X-Team} {sni}`} {
		l := start(t, os.DevNull, format, accesslog.Options{})
		r := full()
		r.Request = new(head.Head)
		r.Request.Add(head.NewName("X-Team"), []byte("blue"))
		for range 5000 { // until both buffers have grown
			l.Log(r)
		}
		if n := testing.AllocsPerRun(1000, func() { l.Log(r) }); n != 0 {
			t.Errorf("%s: %v allocations per line", format, n)
		}
		// The record may stand on the caller's stack.
		if n := testing.AllocsPerRun(1000, func() {
			onStack := accesslog.Record{Status: 200}
			l.Log(&onStack)
		}); n != 0 {
			t.Errorf("%s: %v allocations per record", format, n)
		}
		stop(t, l)
	}
}

func BenchmarkLog(b *testing.B) {
	for _, format := range []string{"json", `{client} "{method} {request_target}" {status} {duration}`} {
		b.Run(format[:4], func(b *testing.B) {
			l, err := accesslog.New(config.AccessLog{Output: os.DevNull, Format: format}, accesslog.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := full()
				for pb.Next() {
					l.Log(r)
				}
			})
			if err := l.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}
