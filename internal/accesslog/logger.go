// Package accesslog writes one line for each exchange, as JSON or by a
// template, to standard output, a file or a writer.
//
// The request path formats a line into a pooled buffer and copies it behind the
// lines that wait, under a lock that is held for that copy only. One goroutine
// owns the output and writes what waits. An output that is slower than the
// requests costs lines, which are counted, and never time.
//
// The package knows nothing of the proxy core: the server fills a Record when
// an exchange has settled.
package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weir/config"
)

const (
	// waitingLimit bounds the bytes that wait for the output. There are two
	// such buffers: one fills while the other is written.
	waitingLimit = 1 << 20
	// flushBytes waiting are written at once, fewer after flushDelay: a busy
	// log costs a few large writes, a quiet one is up to date for a reader.
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
	// write after one that worked; nil means nobody is told. It must not call Close.
	OnError func(error)
}

// Logger is an access log. A nil Logger is off: its methods do nothing. All
// methods may be called by several goroutines at once.
type Logger struct {
	format  Format
	path    string // of the file; empty if the output is no file of ours
	onError func(error)
	scratch sync.Pool // of *[]byte

	mu      sync.Mutex
	waiting []byte   // whole lines
	lines   uint64   // in waiting
	next    *os.File // takes the place of out before waiting is written; or nil
	closed  bool

	wake    chan struct{} // something waits
	full    chan struct{} // flushBytes wait
	closing chan struct{}
	done    chan struct{}

	written, dropped, writeErrors atomic.Uint64

	// The rest belongs to the goroutine that writes.
	out     io.Writer
	file    *os.File // out, if it is ours to close; else nil
	torn    bool     // the last write ended inside a line
	failing bool     // the last write failed
}

// Check returns what is wrong with cfg that only this package knows. The keys
// are below the access log's own. New fails if there is anything.
func Check(cfg *config.AccessLog) (problems []config.Problem) {
	if cfg.Output == "" {
		problems = append(problems, config.Problem{Key: "output", Found: `""`, Want: `"stdout", "off" or the path of a file`})
	}
	if _, err := ParseFormat(cfg.Format); err != nil {
		p, _ := errors.AsType[config.Problem](err)
		p.Key = "format"
		problems = append(problems, p)
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
		format:  format,
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
	switch {
	case o.Writer != nil:
		l.out = o.Writer
	case cfg.Output == "stdout":
		l.out = os.Stdout
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
// write to one file. The mode keeps clients' addresses from other users.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open access log %q: %w", path, err)
	}
	return f, nil
}

// Log appends the line of r to those that wait, or drops and counts it if too
// many do. It keeps nothing of r, never waits for the output, and allocates
// nothing in the long run.
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

// add copies a line behind those that wait.
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

// signal leaves a token in c unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Reopen has the lines that wait written at once, and opens the file again, for a
// log that was moved away: lines logged after Reopen has returned go to the new
// file. If the file cannot be opened, the old one stays in use and the error is
// returned.
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
	unused := file // what nobody will write to
	if !l.closed {
		unused, l.next = l.next, file
	}
	l.mu.Unlock()
	signal(l.wake)
	signal(l.full) // lines that wait are not worth holding up the old file's release
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

// Dropped returns the number of lines that are lost: because too many waited,
// because a write failed, or because they came after Close.
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

// Close writes what waits, closes the file and returns when that is done. It
// gives up with an error after two seconds if the output takes nothing. Lines
// logged from now on are dropped and counted.
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

// run writes what waits until Close.
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
	if l.file != nil {
		// The kernel reports late write errors here (a full quota on NFS).
		if err := l.file.Close(); err != nil {
			l.fail(err)
		}
	}
}

// flush writes what waits and returns its buffer for the next round; spare
// takes its place.
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

// write writes a batch of whole lines and counts what became of them.
func (l *Logger) write(batch []byte, lines uint64) {
	if l.torn {
		// End the line that a failed write left half done, or the next one
		// would be glued to it.
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

// fail counts a failed write and tells of the first in a row.
func (l *Logger) fail(err error) {
	l.writeErrors.Add(1)
	if !l.failing && l.onError != nil {
		l.onError(fmt.Errorf("cannot write the access log: %w", err))
	}
	l.failing = true
}
