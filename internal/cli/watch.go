package cli

import (
	"os"
	"syscall"
	"time"
)

// watch notices that a file has changed, by looking at it: that works on every
// file system, and for files that are replaced through symbolic links.
type watch struct {
	path    string
	seen    stamp // of the last change that look reported, or at the start
	pending stamp // at the look before this one
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
	s := stampOf(path)
	return &watch{path: path, seen: s, pending: s}
}

// look says whether the file has changed since look last said so. A change is
// reported when two looks in a row saw the same, so that a file is not read
// while another program still writes it; a file that has gone is no change yet.
func (w *watch) look() bool {
	now := stampOf(w.path)
	settled := now == w.pending
	w.pending = now
	if !settled || now == w.seen || now == (stamp{}) {
		return false
	}
	w.seen = now
	return true
}

// skip makes look compare with the file as it is now.
func (w *watch) skip() {
	w.seen = stampOf(w.path)
	w.pending = w.seen
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
