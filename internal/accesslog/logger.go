// Package accesslog writes one line for each exchange, as JSON or by a
// template, to the output that the configuration names.
//
// The goroutine of an exchange formats a line into a pooled buffer and adds it to the
// lines that wait for the output (package output); no exchange waits.
package accesslog

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"weir/config"
	"weir/internal/output"
)

// scratchLimit is the largest buffer for one line, in bytes, that is kept for reuse.
const scratchLimit = 16 << 10

// name is what errors call the log.
const name = "access log"

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
	lines   *output.Lines
	scratch sync.Pool // of *[]byte
}

// Check returns the problems of cfg that only this package can find. The keys
// are below the access log's own. New fails if there are any.
func Check(cfg *config.AccessLog) []config.Problem {
	problems := output.CheckName(cfg.Output, output.Stdout, output.Stderr, output.Off)
	if _, err := ParseFormat(cfg.Format); err != nil {
		p, _ := errors.AsType[config.Problem](err)
		p.Key = "format"
		problems = append(problems, p)
	}
	return problems
}

// CheckFile returns the problem of a file of the access log that could not be opened, in
// a folder that is missing for example. It opens nothing.
func CheckFile(cfg *config.AccessLog) []config.Problem { return output.CheckFile(cfg.Output, name) }

// New opens the configured output and starts the goroutine that writes to it.
// It returns nil and no error for the output "off". The caller closes the
// Logger.
func New(cfg config.AccessLog, o Options) (*Logger, error) {
	if err := config.Errors(Check(&cfg)).Err(); err != nil {
		return nil, fmt.Errorf("cannot use the access log: %w", err)
	}
	if cfg.Output == output.Off {
		return nil, nil
	}
	format, err := ParseFormat(cfg.Format)
	if err != nil {
		return nil, err
	}
	lines, err := output.Open(cfg.Output, output.Options{
		Name: name, Tag: "access", Facility: cfg.Facility, Writer: o.Writer, OnError: o.OnError,
	})
	if err != nil {
		return nil, err
	}
	l := &Logger{format: format.withHeaders(cfg.RequestHeaders, cfg.ResponseHeaders), lines: lines}
	l.scratch.New = func() any {
		b := make([]byte, 0, 1024)
		return &b
	}
	return l, nil
}

// Log adds the line of r to the waiting lines, or drops and counts it if too
// many wait. It keeps nothing of r and never waits for the output. It allocates
// only while its buffers grow.
func (l *Logger) Log(r *Record) {
	if l == nil {
		return
	}
	scratch := l.scratch.Get().(*[]byte)
	line := l.format.Append((*scratch)[:0], r)
	l.lines.Add(line)
	if cap(line) <= scratchLimit {
		*scratch = line
		l.scratch.Put(scratch)
	}
}

// Reopen writes the waiting lines immediately and opens the file again, for a log
// that was moved away: lines logged after Reopen has returned go to the new file. If
// the file cannot be opened, the old one stays in use and the error is returned.
func (l *Logger) Reopen() error {
	if l == nil {
		return nil
	}
	return l.lines.Reopen()
}

// Written returns the number of lines that reached the output.
func (l *Logger) Written() uint64 {
	if l == nil {
		return 0
	}
	return l.lines.Written()
}

// Dropped returns the number of lines that were lost because too many waited, a
// write failed, or Close was called before.
func (l *Logger) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.lines.Dropped()
}

// WriteErrors returns the number of writes that failed.
func (l *Logger) WriteErrors() uint64 {
	if l == nil {
		return 0
	}
	return l.lines.WriteErrors()
}

// Close writes the waiting lines, closes the file and returns when that is done.
// It gives up with an error after two seconds if the output takes nothing. Lines
// logged after Close are dropped and counted.
func (l *Logger) Close() error {
	if l == nil {
		return nil
	}
	return l.lines.Close()
}
