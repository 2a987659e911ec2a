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
	// lookEvery is the time between two looks at the file. A change is read at the second look that
	// sees it, so that no program is still writing.
	lookEvery = 200 * time.Millisecond
	// readEvery is how often the file is read although it seems to be the same.
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
	return &file[T]{path: path, parse: parse, complaints: discover.NewComplaints(o.Log, u.String())}, nil
}

// Run reports what the file has, each time that it was changed or replaced.
func (f *file[T]) Run(ctx context.Context, report func([]T)) error {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		before, err := os.Stat(f.path)
		if err != nil {
			return err
		}
		found, err := f.read()
		if err != nil {
			return err
		}
		report(found)
		if err := f.wait(ctx, ticks.C, before); err != nil {
			return err
		}
	}
}

// wait waits until the file is to be read again.
func (f *file[T]) wait(ctx context.Context, ticks <-chan time.Time, before os.FileInfo) error {
	last := before
	for end := time.Now().Add(readEvery); time.Now().Before(end); {
		select {
		case <-ticks:
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := os.Stat(f.path)
		if err != nil {
			return err
		}
		if same(now, last) && !same(now, before) {
			return nil
		}
		last = now
	}
	return nil
}

// same says whether the file seems to be what it was.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read returns what the file has.
func (f *file[T]) read() ([]T, error) {
	open, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe, which is an error, holds up nothing
	if err != nil {
		return nil, err
	}
	defer open.Close()
	info, err := open.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", f.path)
	}
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
