package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"weir/config"
	"weir/internal/output"
)

// ownLog is weir's own log. Reloads set its level and its output; its format stays as it is.
type ownLog struct {
	*slog.Logger
	level  slog.LevelVar
	writer logWriter
	config config.Log // of the output in use
}

// newLog opens the output of weir's own log. The caller closes it.
func newLog(cfg config.Log) (*ownLog, error) {
	l := new(ownLog)
	next, err := l.open(cfg)
	if err != nil {
		return nil, err
	}
	l.use(cfg, next)
	o := &slog.HandlerOptions{Level: &l.level}
	var format slog.Handler = slog.NewTextHandler(&l.writer, o)
	if cfg.Format == "json" {
		format = slog.NewJSONHandler(&l.writer, o)
	}
	l.Logger = slog.New(logHandler{format, &l.writer})
	return l, nil
}

// logOutput is where lines of weir's own log go.
type logOutput struct {
	// lines is a file or a syslog server; nil is standard output or standard error, to
	// which weir writes directly, so that what comes before a crash is not lost.
	lines *output.Lines
	// direct gets the lines if lines is nil.
	direct io.Writer
	// severities says that each line begins with its severity: "<4>". A syslog server gets it
	// as a field of the message, and systemd's journal as the priority of the entry
	// (sd-daemon(3)).
	severities bool
}

// open opens the output of cfg, which use then takes; nil without an error means that the
// output in use is that of cfg already.
func (l *ownLog) open(cfg config.Log) (*logOutput, error) {
	if cfg.Output == l.config.Output && cfg.Facility == l.config.Facility {
		return nil, nil
	}
	switch cfg.Output {
	case output.Stdout:
		return &logOutput{direct: os.Stdout, severities: isJournal(os.Stdout)}, nil
	case output.Stderr:
		return &logOutput{direct: os.Stderr, severities: isJournal(os.Stderr)}, nil
	}
	lines, err := output.Open(cfg.Output, output.Options{
		Name: "log", Tag: "log", Facility: cfg.Facility, Prompt: true,
		OnError: func(err error) { fmt.Fprintln(os.Stderr, "weir: "+err.Error()) },
	})
	if err != nil {
		return nil, err
	}
	return &logOutput{lines: lines, severities: strings.HasPrefix(cfg.Output, "syslog")}, nil
}

// use puts the level of cfg and its output, which open has returned, into force.
func (l *ownLog) use(cfg config.Log, next *logOutput) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		panic(fmt.Sprintf("BUG: log level %q was not validated: %s", cfg.Level, err))
	}
	l.level.Set(level)
	l.config = cfg
	if next != nil {
		before := l.writer.set(next)
		l.closed(before)
	}
}

// reopen opens the file again, for a log that was moved away.
func (l *ownLog) reopen() {
	if lines := l.writer.output.lines; lines != nil {
		if err := lines.Reopen(); err != nil {
			l.Error("cannot open weir's own log again; the old file stays in use", "error", err)
		}
	}
}

// close writes what waits and closes the output; later lines go to standard error.
func (l *ownLog) close() { l.closed(l.writer.set(&logOutput{direct: os.Stderr})) }

// closed closes an output that is no longer in use.
func (l *ownLog) closed(o *logOutput) {
	if o == nil || o.lines == nil {
		return
	}
	if err := o.lines.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "weir: "+err.Error())
	}
}

// isJournal says whether f leads to systemd's journal: the variable JOURNAL_STREAM has the
// device and the inode of the journal's socket (systemd.exec(5)).
func isJournal(f *os.File) bool {
	var s syscall.Stat_t
	stream := os.Getenv("JOURNAL_STREAM")
	return stream != "" && syscall.Fstat(int(f.Fd()), &s) == nil && stream == fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}

// logHandler tells a logWriter the severity of each record and then has it written.
type logHandler struct {
	slog.Handler
	w *logWriter
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	h.w.record.Lock()
	defer h.w.record.Unlock()
	h.w.severity = severityOf(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs), h.w}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name), h.w}
}

// severityOf returns the severity of RFC 5424 section 6.2.1 of a level.
func severityOf(l slog.Level) byte {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

// logWriter writes the line of one record after the other to an output that can be
// replaced.
type logWriter struct {
	record   sync.Mutex // held while a record is formatted and written
	severity byte       // of that record

	mu     sync.Mutex // guards the rest
	output *logOutput
	buf    []byte
}

// set replaces the output and returns the one before; nil if there was none.
func (w *logWriter) set(next *logOutput) (before *logOutput) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, w.output = w.output, next
	return before
}

// Write writes one line.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := line
	if w.output.severities {
		w.buf = append(strconv.AppendInt(append(w.buf[:0], '<'), int64(w.severity), 10), '>')
		w.buf = append(w.buf, line...)
		out = w.buf
	}
	if w.output.lines != nil {
		w.output.lines.Add(out)
		return len(line), nil
	}
	_, err := w.output.direct.Write(out)
	return len(line), err
}
