package server

import "golang.org/x/sys/unix"

// credentials returns the ids of the user and of the process at the other end of a unix socket.
func credentials(fd int) (user, process int, ok bool) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, 0, false
	}
	process, err = unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	return int(c.Uid), process, err == nil
}
