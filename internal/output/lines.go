// Package output writes lines of a log to where a configuration says: standard output,
// standard error, a file that can be opened again, or a syslog server.
//
// Who logs appends a line to the waiting lines, under a lock that is held for that copy
// only. Another goroutine owns the output and writes the waiting lines. If the output is
// slower than the lines, lines are dropped and counted, and no caller waits.
package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// waitingLimit bounds the bytes that wait for the output. There are two
	// such buffers: one fills while the other is written.
	waitingLimit = 1 << 20
	// Lines are written after quietDelay, so that a quiet log is up to date. If there are
	// busyBytes by then, they wait for more until busyDelay, because a busy log must save writes:
	// the monitor thread of the Go runtime sleeps while weir only uses sockets, and each write
	// wakes it to look some 30 times, once in 20 microseconds, whether the call blocks. That
	// takes as long as making some 200 lines.
	quietDelay = 100 * time.Millisecond
	busyDelay  = 500 * time.Millisecond
	busyBytes  = 16 << 10
	// When batchBytes wait they are written immediately. Messages to a syslog server are sent one
	// by one, and a server may have room for few datagrams at once.
	batchBytes  = 512 << 10
	syslogBytes = 64 << 10
	// closeTimeout bounds the wait of Close for an output that takes nothing.
	closeTimeout = 2 * time.Second
)

// Options are what Open may be told besides the output.
type Options struct {
	// Name is what the log is called in errors, such as "access log", and Tag the name of
	// its messages at a syslog server (RFC 5424, MSGID), such as "access".
	Name, Tag string
	// Facility is the facility of messages to a syslog server, one of
	// config.SyslogFacilities.
	Facility string
	// Prompt makes each line leave at once; else lines that come within a tenth of a
	// second leave together, and many lines within half a second.
	Prompt bool
	// Writer replaces the output; nil means none does. It is called by one goroutine at a
	// time and never closed.
	Writer io.Writer
	// OnError is called by the goroutine that writes, for the first failed write after
	// one that worked; nil means that errors are only counted. It must not call Close.
	OnError func(error)
}

// Lines is an open output. Several goroutines may call all methods at the same time.
type Lines struct {
	name    string
	path    string // of the file; empty if the output is not a file that we opened
	prompt  bool
	enough  int // so many bytes are written immediately
	onError func(error)

	mu      sync.Mutex
	waiting []byte   // whole lines
	lines   uint64   // in waiting
	next    *os.File // replaces out before waiting is written; nil without a Reopen
	closed  bool

	wake    chan struct{} // lines wait
	full    chan struct{} // enough bytes wait
	closing chan struct{}
	done    chan struct{}

	written, dropped, writeErrors atomic.Uint64

	// The rest belongs to the goroutine that writes.
	out     io.Writer
	file    *os.File // out, if we opened it and must close it; otherwise nil
	torn    bool     // the last write ended inside a line
	failing bool     // the last write failed
}

// Open opens an output that CheckName finds nothing wrong with and starts the goroutine
// that writes to it. The caller closes the Lines.
func Open(output string, o Options) (*Lines, error) {
	l := &Lines{
		name:    o.Name,
		prompt:  o.Prompt,
		enough:  batchBytes,
		onError: o.OnError,
		wake:    make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	server, isSyslog, _ := parseSyslog(output)
	switch {
	case o.Writer != nil:
		l.out = o.Writer
	case output == Stdout:
		l.out = os.Stdout
	case output == Stderr:
		l.out = os.Stderr
	case isSyslog:
		l.enough = syslogBytes
		l.out = newSyslog(server, o.Facility, o.Tag, l.closing)
	default:
		l.path = output
		var err error
		if l.file, err = l.open(); err != nil {
			return nil, err
		}
		l.out = l.file
	}
	go l.run()
	return l, nil
}

// open opens the file for appending: two processes, or two generations, may
// write to one file. The mode keeps clients' addresses from other users. A FIFO that no
// process reads is an error; opening it would wait for a reader otherwise.
func (l *Lines) open() (*os.File, error) {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o640)
	switch {
	case errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("cannot open %s %q: no process reads this FIFO or socket: %w", l.name, l.path, err)
	case err != nil:
		return nil, fmt.Errorf("cannot open %s %q: %w", l.name, l.path, err)
	}
	return f, nil
}

// Add appends a line, which ends with a line feed, to the waiting lines, or drops and counts
// it if too many wait. It keeps nothing of line and never waits for the output.
//
// A line that begins with "<N>", N from 0 to 7, has that severity at a syslog server and is
// sent without these three bytes; any other has the severity 6, informational.
func (l *Lines) Add(line []byte) {
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
	if l.prompt || before < l.enough && after >= l.enough {
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
func (l *Lines) Reopen() error {
	if l.path == "" {
		signal(l.full)
		return nil
	}
	file, err := l.open()
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
	signal(l.full) // without it the old file would stay open for a while
	if unused != nil {
		return unused.Close()
	}
	return nil
}

// Written returns the number of lines that reached the output.
func (l *Lines) Written() uint64 {
	return l.written.Load()
}

// Dropped returns the number of lines that were lost because too many waited, a
// write failed, or Close was called before.
func (l *Lines) Dropped() uint64 {
	return l.dropped.Load()
}

// WriteErrors returns the number of writes that failed.
func (l *Lines) WriteErrors() uint64 {
	return l.writeErrors.Load()
}

// Close writes the waiting lines, closes the file and returns when that is done.
// It gives up with an error after two seconds if the output takes nothing. Lines
// logged after Close are dropped and counted.
func (l *Lines) Close() error {
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
		return fmt.Errorf("cannot flush the %s: the output took nothing for %s", l.name, closeTimeout)
	}
}

// run writes the waiting lines until Close.
func (l *Lines) run() {
	defer close(l.done)
	var spare []byte
	timer := time.NewTimer(quietDelay)
	timer.Stop()
	for closing := false; !closing; {
		select {
		case <-l.wake:
			closing = l.gather(timer)
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

// gather waits until the lines that began to wait should be written. It says whether Close was called.
func (l *Lines) gather(timer *time.Timer) (closing bool) {
	defer timer.Stop()
	for _, delay := range [...]time.Duration{quietDelay, busyDelay - quietDelay} {
		timer.Reset(delay)
		select {
		case <-timer.C:
			if !l.busy() {
				return false
			}
		case <-l.full:
			return false
		case <-l.closing:
			return true
		}
	}
	return false
}

// busy says whether enough lines wait for it to be worth waiting for more.
func (l *Lines) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) >= busyBytes
}

// flush writes the waiting lines and returns their buffer for the next call; spare
// is the buffer of the next lines.
func (l *Lines) flush(spare []byte) []byte {
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
func (l *Lines) write(batch []byte, lines uint64) {
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
func (l *Lines) fail(err error) {
	l.writeErrors.Add(1)
	if !l.failing && l.onError != nil {
		l.onError(fmt.Errorf("cannot write the %s: %w", l.name, err))
	}
	l.failing = true
}
