package secure

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Interval is the time between two looks at files.
const Interval = 2 * time.Second

// Files are files that are looked at for changes. The zero value has none. One goroutine
// uses them at a time.
type Files struct {
	paths []string
	infos []os.FileInfo // as of the last look; nil if the file was not there
}

// NewFiles looks at files for the first time, which comes before they are read, so that a change
// in between is seen the next time. Empty paths are left out.
func NewFiles(paths ...string) *Files {
	f := &Files{}
	for _, path := range paths {
		if path != "" {
			f.paths = append(f.paths, path)
			f.infos = append(f.infos, stat(path))
		}
	}
	return f
}

// Empty says whether there are no files.
func (f *Files) Empty() bool { return len(f.paths) == 0 }

// Changed looks again and says whether any file has changed since the last look.
func (f *Files) Changed() (changed bool) {
	for i, path := range f.paths {
		if info := stat(path); !sameFile(info, f.infos[i]) {
			f.infos[i], changed = info, true
		}
	}
	return changed
}

func stat(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// sameFile says whether a file is the one it was, unchanged; nil stands for no file. Size and inode
// are compared too because files that are written twice within a tick of the kernel's
// clock, or moved into place with an old time, may have the same time.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Failure is why files could not be read the last time; empty if they could. They are read again at each look then,
// because the reason may pass without a change that a look sees: rights, or a want of descriptors.
type Failure string

// Note takes what came of reading, and says whether it is another than before.
func (f *Failure) Note(err error) (other bool) {
	var now Failure
	if err != nil {
		now = Failure(err.Error())
	}
	other = now != *f
	*f = now
	return other
}

// Watched is a value that is made of files, and made anew when they change. Its methods may be
// called from any goroutine.
type Watched[T any] struct {
	value atomic.Pointer[T] // so that Value never waits for files
	load  func() (T, error)

	refreshing sync.Mutex // makes Refresh use files and failure one at a time
	files      *Files
	failure    Failure

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	ended bool
}

// Watch makes the value of files for the first time.
func Watch[T any](load func() (T, error), paths ...string) (*Watched[T], error) {
	w := &Watched[T]{files: NewFiles(paths...), load: load}
	value, err := load()
	w.value.Store(&value)
	return w, err
}

// Value returns the value, at once.
func (w *Watched[T]) Value() T { return *w.value.Load() }

// Depends says whether the value depends on files.
func (w *Watched[T]) Depends() bool { return !w.files.Empty() }

// Refresh looks at the files at once, and makes the value anew if any has changed, or if that failed the last time. On an error
// the value stays. changed says whether anything came of it that was not said before.
func (w *Watched[T]) Refresh() (changed bool, err error) {
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	moved := w.files.Changed()
	if !moved && w.failure == "" {
		return false, nil
	}
	value, err := w.load()
	if err == nil {
		w.value.Store(&value)
	}
	return w.failure.Note(err) || moved, err
}

// Start looks at the files from now on, until End, and tells seen of each change. Without files, and
// when called again, it does nothing.
func (w *Watched[T]) Start(seen func(err error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files.Empty() || w.timer != nil || w.ended {
		return
	}
	w.timer = time.AfterFunc(Interval, func() {
		if changed, err := w.Refresh(); changed {
			seen(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ended {
			w.timer.Reset(Interval)
		}
	})
}

// End ends the looks.
func (w *Watched[T]) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
