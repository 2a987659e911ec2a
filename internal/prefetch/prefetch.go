// Package prefetch asks the processor to bring memory into its caches before it is used.
//
// While a goroutine waits for a socket, others use the caches. When it goes on, it waits for each
// line of its memory that it comes to, some 50 to 100 ns each time, and one exchange touches
// more than a hundred lines. Lines that are asked for together arrive together.
//
// To fetch memory is only a hint: it reads and changes nothing, needs no lock, and never fails. On
// processors for which there is no code here, it does nothing.
package prefetch

import "unsafe"

// line is the size of a line of the caches in bytes.
const line = 64

// Region is a piece of memory. The zero Region is empty.
type Region struct {
	start unsafe.Pointer
	lines int
}

// Of returns the memory of *v. The Region keeps it from being collected.
func Of[T any](v *T) Region {
	return Region{unsafe.Pointer(v), int((unsafe.Sizeof(*v) + line - 1) / line)}
}

// Fetch asks for the whole region.
func (r Region) Fetch() {
	if r.lines > 0 {
		fetch(r.start, r.lines)
	}
}

// Regions are up to three regions that are used at the same time.
type Regions [3]Region

// Fetch asks for all of them.
func (r *Regions) Fetch() {
	for i := range r {
		r[i].Fetch()
	}
}

// maxLines is how much Slice asks for.
const maxLines = 16

// Slice asks for the elements of s, or their first kibibyte.
func Slice[T any](s []T) {
	if len(s) == 0 {
		return
	}
	start := unsafe.Pointer(unsafe.SliceData(s))
	fetch(start, min((int(uintptr(start)%line)+len(s)*int(unsafe.Sizeof(s[0]))+line-1)/line, maxLines))
}

// stackLines is the part of the stack that Stack asks for: the frames from a wait for a socket up to
// the loop of a connection take some 1,700 bytes.
const stackLines = 28

// Stack asks for the frames of the functions that called.
func Stack() {
	var here byte
	fetch(unsafe.Pointer(&here), stackLines)
}
