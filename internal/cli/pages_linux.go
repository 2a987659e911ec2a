package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropFilePages takes from the process the pages of its own program file. It is for times after which most of those that were
// used are not used again. The kernel maps the others anew when they are used, from its cache of the file.
func dropFilePages() error {
	return eachFileMapping(func(pages []byte) error { return unix.Madvise(pages, unix.MADV_DONTNEED) })
}

// eachFileMapping calls do with the parts of the program file that are mapped and cannot be written.
func eachFileMapping(do func(pages []byte) error) error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// An example: 00400000-00e3f000 r-xp 00000000 fe:00 9978381    /usr/bin/weir
		var start, end uintptr
		var access string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &start, &end, &access); err != nil {
			return fmt.Errorf("line %q of /proc/self/maps: %w", lines.Text(), err)
		}
		if !strings.HasSuffix(lines.Text(), " "+program) || strings.Contains(access, "w") {
			continue
		}
		pages := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), start)), end-start)
		if err := do(pages); err != nil {
			return err
		}
	}
	return lines.Err()
}
