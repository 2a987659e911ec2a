package cli

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Client libraries write to the log of package log what they cannot return, such as what they make of
// a server's frames; a server could fill the disk with it.
const (
	libraryLines = 10 // in each libraryTime
	libraryTime  = time.Minute
)

// libraryLog passes on what libraries write to the log of package log, no more than libraryLines each
// libraryTime.
type libraryLog struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	since   time.Time // when this libraryTime has begun
	written int
	left    int // how many were left out
}

// takeLibraryLog has the log of package log, which the whole process shares, go to l.
func takeLibraryLog(l *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(&libraryLog{log: l, now: time.Now})
}

// Write takes one message, which may have several lines.
func (l *libraryLog) Write(message []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); l.since.IsZero() || now.Sub(l.since) >= libraryTime {
		l.since, l.written = now, 0
	}
	if l.written == libraryLines {
		l.left++
		return len(message), nil
	}
	l.written++
	text := strings.TrimRight(string(message), "\n")
	if l.left == 0 {
		l.log.Warn("a library says", "text", text)
		return len(message), nil
	}
	l.log.Warn("a library says", "text", text, "left_out", l.left)
	l.left = 0
	return len(message), nil
}
