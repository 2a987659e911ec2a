// Package file finds endpoints, and those of services, in a file: "file:/etc/weir/targets.toml".
//
// It looks at the file's identity several times a second, which needs nothing of the file system,
// unlike notifications of the kernel: network file systems have none, and a file that is replaced
// through a symbolic link (as in a ConfigMap of Kubernetes) needs one for each folder on the way.
package file

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"weir/discover"
)

const (
	// lookEvery is the time between two looks at the file, which is read when two agree, so that no
	// program is still writing.
	lookEvery = 200 * time.Millisecond
	// readEvery is how often the file is read although it seems to be the same, and how long it may be written
	// until that is a failure.
	readEvery = 5 * time.Second
	// longest is how many bytes the file may have.
	longest = 16 << 20
)

// Scheme is what weir can do with files.
func Scheme() discover.Scheme {
	return discover.Scheme{
		Name: "file",
		Source: func(u *url.URL, o discover.SchemeOptions) (discover.Source, error) {
			return newFile(u, o, discover.ParseEndpoints)
		},
		Catalog: func(u *url.URL, o discover.SchemeOptions) (discover.Catalog, error) {
			return newFile(u, o, discover.ParseEntries)
		},
	}
}

// file is a file with endpoints, or entries.
type file[T any] struct {
	path       string
	parse      func(text []byte) (good []T, bad []error, err error)
	complaints *discover.Complaints
}

func newFile[T any](u *url.URL, o discover.SchemeOptions, parse func([]byte) ([]T, []error, error)) (*file[T], error) {
	path := u.Path
	if u.Opaque != "" || u.Host != "" || !filepath.IsAbs(path) {
		return nil, fmt.Errorf(`found %q: want "file:" and an absolute path`, u)
	}
	if err := discover.ParseQuery(u.RawQuery).Err(); err != nil {
		return nil, err
	}
	return &file[T]{path: path, parse: parse, complaints: o.Complaints(u.String())}, nil
}

// Run reports what the file has, each time that it was changed or replaced.
func (f *file[T]) Run(ctx context.Context, report func([]T)) error {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	var known os.FileInfo // of what was reported last; nil: nothing was
	for {
		whole, now, err := f.wait(ctx, ticks.C, known)
		if err != nil {
			return err
		}
		found, err := f.read(whole)
		after, gone := whole.Stat()
		whole.Close()
		switch {
		case gone != nil:
			return gone
		case !same(now, after):
			known = nil // what was read may be a half of each; and it may be well when it is read again
			continue
		case err != nil:
			return err
		}
		report(found)
		known = now
	}
}

// wait waits until the file is to be read, and returns it as it is then. What another file has replaced meanwhile is
// as whole as it will ever be: a file that is replaced at each look is read, too.
func (f *file[T]) wait(ctx context.Context, ticks <-chan time.Time, known os.FileInfo) (whole *os.File, now os.FileInfo, err error) {
	last, before, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	if known == nil && time.Since(before.ModTime()) >= lookEvery {
		return last, before, nil // nothing was written since a look ago
	}
	for end := time.Now().Add(readEvery); ; {
		select {
		case <-ticks:
		case <-ctx.Done():
			last.Close()
			return nil, nil, ctx.Err()
		}
		now, err := last.Stat()
		over := !time.Now().Before(end)
		if err == nil && same(now, before) && (known == nil || !same(now, known) || over) {
			if _, err = os.Stat(f.path); err == nil {
				return last, now, nil
			}
		}
		last.Close()
		if err == nil {
			last, before, err = f.open()
		}
		if err != nil {
			return nil, nil, err
		}
		if over {
			last.Close()
			return nil, nil, fmt.Errorf("%s is being written for %s", f.path, readEvery)
		}
	}
}

// open opens the file.
func (f *file[T]) open() (*os.File, os.FileInfo, error) {
	open, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe, which is an error, holds up nothing
	if err != nil {
		return nil, nil, err
	}
	info, err := open.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", f.path)
	}
	if err != nil {
		open.Close()
		return nil, nil, err
	}
	return open, info, nil
}

// same says whether the file seems to be what it was.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read returns what the file has.
func (f *file[T]) read(open *os.File) ([]T, error) {
	text, err := io.ReadAll(io.LimitReader(open, longest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > longest {
		return nil, fmt.Errorf("%s has more than %d bytes", f.path, longest)
	}
	good, bad, err := f.parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	f.complaints.Tell(bad)
	return good, nil
}
