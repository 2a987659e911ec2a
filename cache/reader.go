package cache

import (
	"errors"
	"io"
	"slices"
	"time"
)

// Errors of Wait and Reader.
var (
	// ErrAborted: the fetch ended before the end of the body was proven.
	ErrAborted = errors.New("fetch was aborted")
	// ErrLagged: the reader was too slow for a body that is not stored.
	ErrLagged = errors.New("reader lags too far behind the fetch")
	// ErrGone: the waiting exchange was given up.
	ErrGone = errors.New("client has gone away")
)

// Reader reads a body while it is fetched.
type Reader struct {
	f      *Fill
	offset int64
	end    int64 // -1 means to the end of the body
	err    error
}

// reader begins to read at first; nil if those bytes are gone.
func (f *Fill) reader(first, length int64) *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first < f.base || f.state != fillStreaming && f.state != fillDone {
		return nil
	}
	r := &Reader{f: f, offset: first, end: -1}
	if length >= 0 {
		r.end = first + length
	}
	f.readers = append(f.readers, r)
	return r
}

// Reader lets the leader read what it fetches itself, from the start.
func (f *Fill) Reader() *Reader { return f.reader(0, -1) }

// Next blocks until there are bytes to send and returns all there are. They
// stay valid and must not be changed. The end is io.EOF if it was proven, and
// an error if it was not. limit bounds the wait for the next bytes; 0 means no
// bound.
func (r *Reader) Next(done <-chan struct{}, limit time.Duration) ([]byte, error) {
	f := r.f
	var timeout <-chan time.Time
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if r.err != nil {
			return nil, r.err
		}
		if r.end >= 0 && r.offset >= r.end {
			return nil, io.EOF
		}
		if f.state == fillFailed {
			return nil, ErrAborted
		}
		if have := f.base + int64(len(f.body)); have > r.offset {
			p := f.body[r.offset-f.base:]
			if r.end >= 0 && int64(len(p)) > r.end-r.offset {
				p = p[:r.end-r.offset]
			}
			r.offset += int64(len(p))
			if f.passing {
				f.notifyLocked()
			}
			return p[:len(p):len(p)], nil
		}
		if f.state != fillStreaming {
			return nil, io.EOF
		}
		wait := f.waitLocked()
		f.mu.Unlock()
		if limit > 0 && timeout == nil {
			timer := time.NewTimer(limit)
			defer timer.Stop()
			timeout = timer.C
		}
		var err error
		select {
		case <-wait:
		case <-done:
			err = ErrGone
		case <-timeout:
			err = errWait
		}
		f.mu.Lock()
		if err != nil {
			r.err = err
		}
	}
}

// Close ends reading.
func (r *Reader) Close() {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers = slices.DeleteFunc(f.readers, func(o *Reader) bool { return o == r })
	if f.passing {
		f.notifyLocked()
	}
}
