package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendFlags: a peer that has closed is an error, no signal.
const sendFlags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL

// send writes what one call takes of p and more.
func (t *transfer) send(fd uintptr) (uintptr, syscall.Errno) {
	if len(t.more) == 0 || len(t.p) >= maxCall {
		return send(fd, t.p[:min(len(t.p), maxCall)], sendFlags)
	}
	t.vec[0].Base, t.vec[1].Base = unsafe.SliceData(t.p), unsafe.SliceData(t.more)
	t.vec[0].SetLen(len(t.p))
	t.vec[1].SetLen(min(len(t.more), maxCall-len(t.p)))
	t.msg.Iov, t.msg.Iovlen = &t.vec[0], 2
	n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&t.msg)), sendFlags)
	t.vec[0].Base, t.vec[1].Base = nil, nil
	return n, errno
}

// sendBefore writes p, to which the kernel adds what is written next.
func sendBefore(fd uintptr, p []byte) (uintptr, syscall.Errno) {
	return send(fd, p, sendFlags|syscall.MSG_MORE)
}

// sendFile writes what one call takes of the file, and moves offset. A call that the scheduler knew of
// would take so long that the runtime's monitor gave the processor away, which costs more than the call.
func (t *transfer) sendFile(fd uintptr) (uintptr, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDFILE, fd, uintptr(t.file), uintptr(unsafe.Pointer(&t.offset)), uintptr(min(t.size, maxCall)), 0, 0)
	return n, errno
}

func send(fd uintptr, p []byte, flags uintptr) (uintptr, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	return n, errno
}

func receive(fd uintptr, p []byte, flags uintptr) (uintptr, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_DONTWAIT|flags, 0, 0)
	return n, errno
}

func (s *Stream) lookHeld(fd uintptr) {
	syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&s.held)))
}

// pending looks at a socket by a poll, because a peek cannot see an end that has bytes before it.
// A raw call, because a poll without time to wait never blocks.
func pending(fd uintptr) Pending {
	poll := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	var now unix.Timespec // zero: the poll does not wait
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	switch found := poll.Revents; {
	case errno != 0:
		return PendingNothing // the kernel could not look
	case found&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return PendingBroken
	case found&unix.POLLRDHUP != 0:
		return PendingEnd
	case found&unix.POLLIN != 0:
		return PendingBytes
	}
	return PendingNothing
}

// AckNow makes TCP acknowledge what has come at once.
func (s *Stream) AckNow() { s.raw.Control(quickAck) }

func quickAck(fd uintptr) {
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
}
