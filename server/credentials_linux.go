package server

import "golang.org/x/sys/unix"

// credentials returns the ids of the user and of the process at the other end of a unix socket.
func credentials(fd int) (user, process int, ok bool) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, 0, false
	}
	return int(c.Uid), int(c.Pid), true
}
