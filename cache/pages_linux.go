package cache

import "golang.org/x/sys/unix"

// memoryFile makes an anonymous file in memory.
func memoryFile() (fd int, err error) {
	return unix.MemfdCreate("weir-cache", unix.MFD_CLOEXEC)
}

// freeRange gives the memory of a part of the file back.
func freeRange(fd int, offset, size int64) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, size)
}
