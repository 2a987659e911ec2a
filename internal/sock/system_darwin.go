package sock

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// The functions of this file are for machines on which weir is developed (macOS): right, and not fast.

// send writes what one call takes of p, or of more after p.
func (t *transfer) send(fd uintptr) (uintptr, syscall.Errno) {
	p := t.p
	if len(p) == 0 {
		p = t.more
	}
	return sendBefore(fd, p[:min(len(p), maxCall)])
}

func sendBefore(fd uintptr, p []byte) (uintptr, syscall.Errno) {
	n, err := unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_DONTWAIT)
	return result(n, err)
}

// sendFile writes what one call takes of the file, and moves offset. The file's end is 0 bytes.
func (t *transfer) sendFile(fd uintptr) (uintptr, syscall.Errno) {
	p := make([]byte, min(t.size, maxCall))
	n, err := unix.Pread(t.file, p, t.offset)
	if err != nil || n == 0 {
		return result(n, err)
	}
	sent, errno := sendBefore(fd, p[:n])
	t.offset += int64(sent)
	return sent, errno
}

func receive(fd uintptr, p []byte, flags uintptr) (uintptr, syscall.Errno) {
	n, _, err := unix.Recvfrom(int(fd), p, unix.MSG_DONTWAIT|int(flags))
	return result(n, err)
}

// result is that of a system call that returned n or err.
func result(n int, err error) (uintptr, syscall.Errno) {
	if err == nil {
		return uintptr(n), 0
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		errno = syscall.EIO
	}
	return 0, errno
}

func (s *Stream) lookHeld(fd uintptr) {
	if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NWRITE); err == nil {
		s.held = int32(n)
	}
}

// pending peeks, and cannot see an end that has bytes before it.
func pending(fd uintptr) Pending {
	var b [1]byte
	switch n, errno := receive(fd, b[:], unix.MSG_PEEK); {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return PendingNothing
	case errno != 0:
		return PendingBroken
	case n == 0:
		return PendingEnd
	}
	return PendingBytes
}

// AckNow does nothing: the system has no such option.
func (s *Stream) AckNow() {}
