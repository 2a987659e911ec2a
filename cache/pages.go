package cache

import (
	"bytes"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	weakly "weak"

	"golang.org/x/sys/unix"
)

// filePages has second copies of large bodies that are much asked for, in the
// pages of an anonymous file: from there the kernel sends them without copying
// them once more (sendfile). They are part of what the near tier may hold.
//
// A copy lives as long as it can be reached, like memory of the heap, so no
// exchange has to say that it is done with one. The cleanup that gives its memory
// back refers to filePages, which therefore must not refer to the store: the
// store's entries would never be collected.
type filePages struct {
	fd    int
	limit int64
	used  *atomic.Int64 // the store's

	mu   sync.Mutex
	held int64 // bytes
	// ending counts the bytes of copies that no answer gets any more, since the
	// collector last freed one.
	ending int64
	end    int64                   // of what was used of the file
	free   [copyClasses][]int64    // offsets, by class
	order  []weakly.Pointer[Entry] // whose copies there are, the oldest first
}

const (
	// copyMin is the body from which sending without a copy pays for the second
	// system call that it needs.
	copyMin = 64 << 10
	// copyAfter is how many times an entry answers before it gets a copy, and
	// copyAgain after how many more it tries again. Making one costs as much as
	// about that many answers save.
	copyAfter, copyAgain = 8, 64
	// copyShare is the share of the tier that copies may take.
	copyShare = 8
	// copyClasses is how many sizes locations in the file have, each twice as large
	// as the one before. What a body leaves free of its location takes no memory.
	copyClasses = 40
)

// newFilePages makes room for copies in a tier of that many bytes, of which used
// counts what is taken; nil if the system has no files that suit.
func newFilePages(limit int64, used *atomic.Int64) *filePages {
	if limit/copyShare < copyMin || hugePages() {
		return nil
	}
	fd, err := memoryFile()
	if err != nil {
		return nil
	}
	c := &filePages{fd: fd, limit: limit / copyShare, used: used}
	runtime.AddCleanup(c, func(fd int) { unix.Close(fd) }, fd)
	return c
}

// hugePages says whether the system may put anonymous files into huge pages. Of
// one that a socket still has to send, release would zero a part.
func hugePages() bool {
	b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
	if err != nil {
		return false // it has none
	}
	for _, small := range []string{"[never]", "[advise]", "[deny]"} {
		if bytes.Contains(b, []byte(small)) {
			return false
		}
	}
	return true
}

// bodyCopy is a copy of a body.
type bodyCopy struct {
	pages *filePages
	location
}

// location is where a copy is.
type location struct {
	offset, size int64
	class        int
}

// File is a place in a file where a body is. There it does not change as long
// as the File can be reached. The zero value stands for no file.
type File struct {
	copied *bodyCopy
	offset int64
}

// At returns the descriptor and the offset of the body's first byte; ok is
// false if there is no file.
func (f File) At() (fd int, offset int64, ok bool) {
	if f.copied == nil {
		return 0, 0, false
	}
	return f.copied.pages.fd, f.offset, true
}

// File says where the body of a is in a file, if it is. It may make a copy
// first.
func (s *Store) File(a *Answer) File {
	e := a.Entry
	if s.pages == nil || !a.stored || len(e.body) < copyMin {
		return File{}
	}
	c := e.copied.Load()
	if c == nil {
		if e.asked.Add(1)%copyAgain != copyAfter {
			return File{}
		}
		if c = s.pages.add(s, e); c == nil {
			return File{}
		}
	}
	return File{c, c.location.offset + int64(cap(e.body)-cap(a.Body))}
}

// add makes a copy of the body of e, an entry of s; nil if there is no room.
func (c *filePages) add(s *Store, e *Entry) *bodyCopy {
	page := int64(os.Getpagesize()) // which divides copyMin
	p := location{size: (int64(len(e.body)) + page - 1) &^ (page - 1)}
	p.class = bits.Len64(uint64(p.size-1) / copyMin)
	if p.size > c.limit || !c.reserve(s, &p) {
		return nil
	}
	for at := 0; at < len(e.body); {
		n, err := unix.Pwrite(c.fd, e.body[at:], p.offset+int64(at))
		if err != nil && err != unix.EINTR {
			c.release(p)
			return nil
		}
		at += max(n, 0)
	}
	made := &bodyCopy{pages: c, location: p}
	runtime.AddCleanup(made, c.release, p)
	if !e.copied.CompareAndSwap(nil, made) {
		return e.copied.Load() // another goroutine was faster; the collector takes ours
	}
	c.mu.Lock()
	if int64(len(c.order)) > 2*c.held/copyMin {
		c.order = slices.DeleteFunc(c.order, func(e weakly.Pointer[Entry]) bool { return e.Value() == nil })
	}
	c.order = append(c.order, weakly.Make(e))
	c.mu.Unlock()
	return made
}

// reserve finds room for p. If there is none, the oldest copies are not used any
// more, so that there is some after the next collection.
func (c *filePages) reserve(s *Store, p *location) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held+p.size > c.limit {
		for c.ending < p.size && len(c.order) > 0 {
			if e := c.order[0].Value(); e != nil {
				if old := e.copied.Swap(nil); old != nil {
					c.ending += old.location.size
				}
			}
			c.order = c.order[1:]
		}
		return false
	}
	if !s.reserve(p.size, nil) {
		return false
	}
	c.held += p.size
	if free := c.free[p.class]; len(free) > 0 {
		p.offset = free[len(free)-1]
		c.free[p.class] = free[:len(free)-1]
		return true
	}
	p.offset = c.end
	c.end += copyMin << p.class
	return true
}

// release gives the memory of a copy back that cannot be reached any more. What a
// socket still has to send of its pages stays with the socket: the next copy at
// this location gets new pages.
func (c *filePages) release(p location) {
	if err := freeRange(c.fd, p.offset, p.size); err != nil {
		return // the location keeps its memory, and is counted for good
	}
	c.used.Add(-p.size)
	c.mu.Lock()
	c.held -= p.size
	c.ending = 0
	c.free[p.class] = append(c.free[p.class], p.offset)
	c.mu.Unlock()
}

// bytes returns how many there are.
func (c *filePages) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}
