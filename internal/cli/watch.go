package cli

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// watch notices that a configuration file, or one that it includes, has changed, by
// looking at them: that works on every file system, and for files that are replaced
// through symbolic links.
type watch struct {
	path     string
	included []string         // files and patterns
	seen     map[string]stamp // of the last change that look reported, or at the start
	pending  map[string]stamp // at the look before this one
}

// stamp is what tells two states of a file apart without reading the file. The
// zero stamp stands for no file.
type stamp struct {
	device, inode uint64
	size          int64
	modified      time.Time
}

// newWatch begins with the file as it is now. An empty path never changes.
func newWatch(path string) *watch {
	w := &watch{path: path}
	w.skip()
	return w
}

// include makes these the files and patterns that are included. What they are now is no
// change.
func (w *watch) include(included []string) {
	if !slices.Equal(included, w.included) {
		w.included = included
		w.skip()
	}
}

// look says whether a file has changed since look last said so. A change is
// reported when two looks in a row saw the same, so that a file is not read
// while another program still writes it; a file that has gone is no change yet.
func (w *watch) look() bool {
	now := w.stamps()
	settled := maps.Equal(now, w.pending)
	w.pending = now
	if !settled || maps.Equal(now, w.seen) {
		return false
	}
	for _, s := range now {
		if s == (stamp{}) {
			return false
		}
	}
	w.seen = now
	return true
}

// skip makes look compare with the files as they are now.
func (w *watch) skip() {
	w.seen = w.stamps()
	w.pending = w.seen
}

// stamps returns the stamps of the file and of those that are included, also the zero
// stamps of names that no file has.
func (w *watch) stamps() map[string]stamp {
	now := make(map[string]stamp, 1)
	if w.path == "" {
		return now
	}
	now[w.path] = stampOf(w.path)
	for _, pattern := range w.included {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 && !strings.ContainsAny(pattern, `*?[`) {
			paths = []string{pattern}
		}
		for _, path := range paths {
			now[path] = stampOf(path)
		}
	}
	return now
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = uint64(sys.Dev), sys.Ino
	}
	return s
}
