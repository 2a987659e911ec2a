// Package accesslog writes one line for each exchange, as JSON or by a
// template, to standard output, a file, a syslog server or a writer.
//
// The goroutine of an exchange formats a line into a pooled buffer and appends it
// to the waiting lines, under a lock that is held for that copy only. Another
// goroutine owns the output and writes the waiting lines. If the output is slower
// than the requests, lines are dropped and counted, and no exchange waits.
//
// FromExchange makes the Record of an exchange that has ended; Log writes it.
package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/config"
)

const (
	// waitingLimit bounds the bytes that wait for the output. There are two
	// such buffers: one fills while the other is written.
	waitingLimit = 1 << 20
	// When flushBytes wait they are written immediately, fewer bytes after
	// flushDelay: a busy log needs few writes, and a quiet one is up to date.
	flushBytes = 64 << 10
	flushDelay = 100 * time.Millisecond
	// scratchLimit is the largest buffer for one line that is kept for reuse.
	scratchLimit = 16 << 10
	// closeTimeout bounds the wait of Close for an output that takes nothing.
	closeTimeout = 2 * time.Second
)

// Options are what New can be given besides the configuration. The zero Options
// are fine.
type Options struct {
	// Writer replaces the configured output, unless that is "off". It is
	// called by one goroutine at a time and never closed.
	Writer io.Writer
	// OnError is called by the goroutine that writes, for the first failed
	// write after one that worked; nil means that errors are only counted. It
	// must not call Close.
	OnError func(error)
}

// Logger is an access log. A nil Logger is off: its methods do nothing. Several
// goroutines may call all methods at the same time.
type Logger struct {
	format  Format
	path    string // of the file; empty if the output is not a file that we opened
	onError func(error)
	scratch sync.Pool // of *[]byte

	mu      sync.Mutex
	waiting []byte   // whole lines
	lines   uint64   // in waiting
	next    *os.File // replaces out before waiting is written; nil without a Reopen
	closed  bool

	wake    chan struct{} // lines wait
	full    chan struct{} // flushBytes wait
	closing chan struct{}
	done    chan struct{}

	written, dropped, writeErrors atomic.Uint64

	// The rest belongs to the goroutine that writes.
	out     io.Writer
	file    *os.File // out, if we opened it and must close it; otherwise nil
	torn    bool     // the last write ended inside a line
	failing bool     // the last write failed
}

// Check returns the problems of cfg that only this package can find. The keys
// are below the access log's own. New fails if there are any.
func Check(cfg *config.AccessLog) (problems []config.Problem) {
	if _, is, want := parseSyslog(cfg.Output); is && want != "" {
		problems = append(problems, config.Problem{Key: "output", Found: strconv.Quote(cfg.Output), Want: want})
	} else if !is && !slices.Contains(outputs[:], cfg.Output) && !isPath(cfg.Output) {
		problems = append(problems, config.Problem{
			Key: "output", Found: strconv.Quote(cfg.Output),
			Want: `"stdout", "stderr", "off", "syslog:" and an address, or the path of a file, with a "/" or a "." in it`,
			Hint: outputHint(cfg.Output),
		})
	}
	if _, err := ParseFormat(cfg.Format); err != nil {
		p, _ := errors.AsType[config.Problem](err)
		p.Key = "format"
		problems = append(problems, p)
	}
	return problems
}

// outputs are those that are no file.
var outputs = [...]string{"stdout", "stderr", "off"}

// isPath says whether an output is meant to be a file. A single word is more likely the
// name of an output that does not exist, and a colon the name of a protocol.
func isPath(output string) bool {
	first, _, deep := strings.Cut(output, "/")
	return (deep || strings.Contains(output, ".")) && !strings.Contains(first, ":")
}

// outputHint returns the output that was probably meant.
func outputHint(found string) string {
	if slices.Contains([]string{"none", "false", "no", "null", "/dev/null"}, found) {
		return "off"
	}
	return config.Nearest(found, outputs[:])
}

// CheckFile returns the problem of a file of the access log that could not be opened, in
// a folder that is missing for example. It opens nothing.
func CheckFile(cfg *config.AccessLog) (problems []config.Problem) {
	if slices.Contains(outputs[:], cfg.Output) || !isPath(cfg.Output) {
		return nil
	}
	problem := func(format string, args ...any) {
		problems = append(problems, config.Problem{Key: "output", Message: fmt.Sprintf(format, args...)})
	}
	folder := filepath.Dir(cfg.Output)
	info, err := os.Stat(cfg.Output)
	switch {
	case err == nil && info.IsDir():
		problem("cannot write access log %q: the path is that of a folder", cfg.Output)
	case err == nil:
		if err := unix.Access(cfg.Output, unix.W_OK); err != nil {
			problem("cannot write access log %q: %s", cfg.Output, err)
		}
	default:
		if err := unix.Access(folder+"/.", unix.W_OK|unix.X_OK); err != nil {
			problem("cannot make access log %q in folder %q: %s", cfg.Output, folder, err)
		}
	}
	return problems
}

// New opens the configured output and starts the goroutine that writes to it.
// It returns nil and no error for the output "off". The caller closes the
// Logger.
func New(cfg config.AccessLog, o Options) (*Logger, error) {
	if err := config.Errors(Check(&cfg)).Err(); err != nil {
		return nil, fmt.Errorf("cannot use the access log: %w", err)
	}
	if cfg.Output == "off" {
		return nil, nil
	}
	format, err := ParseFormat(cfg.Format)
	if err != nil {
		return nil, err
	}
	l := &Logger{
		format:  format.withHeaders(cfg.RequestHeaders, cfg.ResponseHeaders),
		onError: o.OnError,
		wake:    make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	l.scratch.New = func() any {
		b := make([]byte, 0, 1024)
		return &b
	}
	server, isSyslog, _ := parseSyslog(cfg.Output)
	switch {
	case o.Writer != nil:
		l.out = o.Writer
	case cfg.Output == "stdout":
		l.out = os.Stdout
	case cfg.Output == "stderr":
		l.out = os.Stderr
	case isSyslog:
		l.out = newSyslog(server, cfg.Facility, l.closing)
	default:
		l.path = cfg.Output
		if l.file, err = open(l.path); err != nil {
			return nil, err
		}
		l.out = l.file
	}
	go l.run()
	return l, nil
}

// open opens a log file for appending: two processes, or two generations, may
// write to one file. The mode keeps clients' addresses from other users. A FIFO that no
// process reads is an error; opening it would wait for a reader otherwise.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o640)
	switch {
	case errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("cannot open access log %q: no process reads this FIFO or socket: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("cannot open access log %q: %w", path, err)
	}
	return f, nil
}

// Log appends the line of r to the waiting lines, or drops and counts it if too
// many wait. It keeps nothing of r and never waits for the output. It allocates
// only while its buffers grow.
func (l *Logger) Log(r *Record) {
	if l == nil {
		return
	}
	scratch := l.scratch.Get().(*[]byte)
	line := l.format.Append((*scratch)[:0], r)
	l.add(line)
	if cap(line) <= scratchLimit {
		*scratch = line
		l.scratch.Put(scratch)
	}
}

// add appends a line to the waiting lines.
func (l *Logger) add(line []byte) {
	l.mu.Lock()
	before := len(l.waiting)
	after := before + len(line)
	if l.closed || after > waitingLimit {
		l.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	l.waiting = append(l.waiting, line...)
	l.lines++
	l.mu.Unlock()

	if before == 0 {
		signal(l.wake)
	}
	if before < flushBytes && after >= flushBytes {
		signal(l.full)
	}
}

// signal puts a token into c unless c holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Reopen writes the waiting lines immediately and opens the file again, for a log
// that was moved away: lines logged after Reopen has returned go to the new file. If
// the file cannot be opened, the old one stays in use and the error is returned.
func (l *Logger) Reopen() error {
	if l == nil {
		return nil
	}
	if l.path == "" {
		signal(l.full)
		return nil
	}
	file, err := open(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	unused := file // the file that will not be written to
	if !l.closed {
		unused, l.next = l.next, file
	}
	l.mu.Unlock()
	signal(l.wake)
	signal(l.full) // without it the old file would stay open for flushDelay
	if unused != nil {
		return unused.Close()
	}
	return nil
}

// Written returns the number of lines that reached the output.
func (l *Logger) Written() uint64 {
	if l == nil {
		return 0
	}
	return l.written.Load()
}

// Dropped returns the number of lines that were lost because too many waited, a
// write failed, or Close was called before.
func (l *Logger) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// WriteErrors returns the number of writes that failed.
func (l *Logger) WriteErrors() uint64 {
	if l == nil {
		return 0
	}
	return l.writeErrors.Load()
}

// Close writes the waiting lines, closes the file and returns when that is done.
// It gives up with an error after two seconds if the output takes nothing. Lines
// logged after Close are dropped and counted.
func (l *Logger) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()

	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-l.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("cannot flush the access log: the output took nothing for %s", closeTimeout)
	}
}

// run writes the waiting lines until Close.
func (l *Logger) run() {
	defer close(l.done)
	var spare []byte
	timer := time.NewTimer(flushDelay)
	timer.Stop()
	for closing := false; !closing; {
		select {
		case <-l.wake:
			timer.Reset(flushDelay)
			select {
			case <-timer.C:
			case <-l.full:
			case <-l.closing:
				closing = true
			}
			timer.Stop()
		case <-l.full:
		case <-l.closing:
			closing = true
		}
		spare = l.flush(spare)
	}
	if s, ok := l.out.(*syslog); ok {
		s.close()
	}
	if l.file != nil {
		// The kernel reports late write errors here (a full quota on NFS).
		if err := l.file.Close(); err != nil {
			l.fail(err)
		}
	}
}

// flush writes the waiting lines and returns their buffer for the next call; spare
// is the buffer of the next lines.
func (l *Logger) flush(spare []byte) []byte {
	l.mu.Lock()
	batch, lines, next := l.waiting, l.lines, l.next
	l.waiting, l.lines, l.next = spare[:0], 0, nil
	l.mu.Unlock()

	if next != nil {
		if err := l.file.Close(); err != nil {
			l.fail(err)
		}
		l.file, l.out, l.torn = next, next, false
	}
	if len(batch) > 0 {
		l.write(batch, lines)
	}
	return batch
}

// write writes a batch of whole lines and counts the written and the lost ones.
func (l *Logger) write(batch []byte, lines uint64) {
	if l.torn {
		// End the line that a failed write left incomplete; otherwise the next
		// line would be joined to it.
		if _, err := l.out.Write([]byte{'\n'}); err != nil {
			l.dropped.Add(lines)
			l.fail(err)
			return
		}
		l.torn = false
	}
	n, err := l.out.Write(batch)
	if err == nil {
		l.written.Add(lines)
		l.failing = false
		return
	}
	whole := uint64(bytes.Count(batch[:n], []byte{'\n'}))
	l.written.Add(whole)
	l.dropped.Add(lines - whole)
	l.torn = n > 0 && batch[n-1] != '\n'
	l.fail(err)
}

// fail counts a failed write and reports the first of several in a row.
func (l *Logger) fail(err error) {
	l.writeErrors.Add(1)
	if !l.failing && l.onError != nil {
		l.onError(fmt.Errorf("cannot write the access log: %w", err))
	}
	l.failing = true
}
