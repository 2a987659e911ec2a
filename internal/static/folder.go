package static

import (
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/config"
)

var (
	// ErrNone says that there is no file for the path.
	ErrNone = errors.New("there is no such file")
	// ErrSlash says that the path names a folder and lacks its final slash.
	ErrSlash = errors.New("a folder without its final slash")
)

// Folder serves the files below a folder. It is never changed and may be used by any number
// of goroutines. It keeps nothing open: a link that is turned to another folder is noticed with the
// next request.
type Folder struct {
	c config.Files
}

// New returns the Folder of a configuration, which was found to be valid.
func New(c *config.Files) *Folder { return &Folder{*c} }

// File is an open file and what there is to say of it. Who gets one closes it.
type File struct {
	*os.File
	Size     int64
	Modified time.Time
	// Type is the media type of what the file holds when it is decoded, Coding the content coding
	// (RFC 9110 section 8.4); empty for none.
	Type, Coding string
	// Varies says that another client may get the file in another coding.
	Varies bool
}

// Open opens the file for a path, in a coding that the client takes: accepts says so of each.
// The error is ErrNone, ErrSlash, or why the file cannot be opened; errors.Is finds
// fs.ErrPermission.
func (f *Folder) Open(p []byte, accepts func(coding string) bool) (*File, error) {
	name, slash, ok := Name(p, f.c.Hidden)
	if !ok {
		return nil, ErrNone
	}
	root, err := os.OpenRoot(f.c.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := f.find(root, name, slash, accepts)
	if errors.Is(err, ErrNone) && f.c.Fallback != "" {
		return f.open(root, strings.TrimPrefix(f.c.Fallback, "/"), accepts)
	}
	return file, err
}

// find opens the file of that name, or the index of the folder of that name.
func (f *Folder) find(root *os.Root, name string, slash bool, accepts func(string) bool) (*File, error) {
	info, err := root.Stat(name)
	switch {
	case err != nil:
		return nil, none(err)
	case info.IsDir() && !slash:
		return nil, ErrSlash
	case !info.IsDir() && slash:
		return nil, ErrNone
	case !info.IsDir():
		return f.open(root, name, accepts)
	}
	for _, index := range f.c.Index {
		file, err := f.open(root, path.Join(name, index), accepts)
		if !errors.Is(err, ErrNone) {
			return file, err
		}
	}
	return nil, ErrNone
}

// codings are the precompressed siblings of a file, the best first.
var codings = [...]struct{ coding, suffix string }{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}

// open opens a regular file, or its precompressed sibling.
func (f *Folder) open(root *os.Root, name string, accepts func(string) bool) (*File, error) {
	file, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	file.Type = f.mediaType(name)
	if !f.c.Precompressed {
		return file, nil
	}
	for _, c := range codings {
		sibling, err := openRegular(root, name+c.suffix)
		if err != nil {
			continue
		}
		if sibling.Modified.Before(file.Modified) { // it was made of something older
			sibling.Close()
			continue
		}
		file.Varies = true
		if !accepts(c.coding) {
			sibling.Close()
			continue
		}
		file.Close()
		sibling.Type, sibling.Coding, sibling.Varies = file.Type, c.coding, true
		return sibling, nil
	}
	return file, nil
}

// openRegular opens a file, without waiting for the writer of a pipe.
func openRegular(root *os.Root, name string) (*File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, none(err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, ErrNone
	}
	return &File{File: f, Size: info.Size(), Modified: info.ModTime()}, nil
}

// none makes ErrNone of the errors that say that there is no such file in the folder. Links that
// leave the folder are among them.
func none(err error) error {
	for _, e := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.ENOMEM, syscall.ESTALE} {
		if errors.Is(err, e) {
			return err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	return fmt.Errorf("%w: %w", ErrNone, err)
}

// mediaType is the type by the ending of a name.
func (f *Folder) mediaType(name string) string {
	extension := strings.ToLower(path.Ext(name))
	if t := f.c.Types[extension]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(extension); t != "" {
		return t
	}
	return "application/octet-stream"
}

// settled is how old a file must be for its time and size to tell its content from every later
// one: file systems keep times no finer than a tick of the kernel.
const settled = 2 * time.Second

// AppendTag adds the file's entity tag: weak while the file could change again within the
// resolution of its time (RFC 9110 section 8.8.1).
func (f *File) AppendTag(dst []byte, now time.Time) []byte {
	if now.Sub(f.Modified) < settled {
		dst = append(dst, "W/"...)
	}
	dst = append(dst, '"')
	dst = strconv.AppendInt(dst, f.Modified.UnixNano(), 36)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, f.Size, 36)
	if f.Coding != "" {
		dst = append(append(dst, '-'), f.Coding...)
	}
	return append(dst, '"')
}
