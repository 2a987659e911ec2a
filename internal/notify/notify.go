// Package notify tells the service manager (systemd) how weir is doing, over
// the datagram socket of sd_notify(3): ready, reloading, stopping, a line of
// status, and signs of life for its watchdog. It does nothing where there is no
// such socket. Only main calls it.
package notify

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier sends messages to one socket. The nil Notifier sends nothing and
// reports no error. Its methods may be called from any goroutine.
type Notifier struct {
	address *net.UnixAddr
}

// New returns a Notifier for the socket that the service manager named in
// NOTIFY_SOCKET: an absolute path, or "@name" for an abstract socket. Empty
// means there is no service manager to tell: the Notifier is nil.
func New(socket string) (*Notifier, error) {
	switch {
	case socket == "":
		return nil, nil
	case socket[0] != '/' && socket[0] != '@':
		return nil, fmt.Errorf(`cannot notify socket %q: allowed are an absolute path and "@name"`, socket)
	}
	return &Notifier{address: &net.UnixAddr{Name: socket, Net: "unixgram"}}, nil
}

// Ready says that weir serves: after the start, and after each Reloading,
// whether the reload worked or left the old configuration in force. status is the
// one line that "systemctl status" shows, where line breaks become spaces; empty
// leaves the last one.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", statusLine(status)) }

// Reloading says that a reload begins. The service manager (Type=notify-reload)
// matches it with its own signal by the time in it, so call it after the signal
// came and send Ready when done.
func (n *Notifier) Reloading() error {
	if n == nil {
		return nil
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("cannot read the monotonic clock: %w", err)
	}
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/int64(time.Microsecond), 10))
}

// Stopping says that the shutdown begins. status is as for Ready.
func (n *Notifier) Stopping(status string) error { return n.send("STOPPING=1", statusLine(status)) }

// Main says that another process of the service, pid, is its main process from now on. What
// this process says later is ignored.
func (n *Notifier) Main(pid int) error { return n.send("MAINPID=" + strconv.Itoa(pid)) }

// Store gives the service manager a copy of a socket, which it keeps while the service is restarted or
// after it has crashed, and passes then like its own sockets, under that name: printable ASCII without
// ":", at most 255 bytes. A copy of a socket that it has already changes nothing.
func (n *Notifier) Store(name string, socket syscall.Conn) error {
	if n == nil {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := raw.Control(func(fd uintptr) {
		err = n.sendWith(unix.UnixRights(int(fd)), "FDSTORE=1", "FDNAME="+name)
	}); controlErr != nil {
		return controlErr
	}
	return err
}

// Forget makes the service manager close what it keeps under a name.
func (n *Notifier) Forget(name string) error { return n.send("FDSTOREREMOVE=1", "FDNAME="+name) }

// Watchdog is a sign of life; due within the time that WatchdogInterval tells.
func (n *Notifier) Watchdog() error { return n.send("WATCHDOG=1") }

// WatchdogInterval returns how often to call Watchdog: half of the time after
// which the service manager takes weir for hung. getenv (usually os.Getenv)
// gives WATCHDOG_USEC and WATCHDOG_PID, pid is the caller's process id. 0 means
// that no signs of life are expected.
func WatchdogInterval(pid int, getenv func(string) string) (time.Duration, error) {
	text := getenv("WATCHDOG_USEC")
	if text == "" {
		return 0, nil
	}
	if p := getenv("WATCHDOG_PID"); p != "" && p != strconv.Itoa(pid) {
		return 0, nil
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0, fmt.Errorf("cannot use WATCHDOG_USEC %q: allowed are microseconds, at most a day", text)
	}
	return time.Duration(usec) * time.Microsecond / 2, nil
}

// statusLine returns the assignment for a status, or nothing.
func statusLine(status string) string {
	if status == "" {
		return ""
	}
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == 0 {
			return ' '
		}
		return r
	}, status)
}

// send sends the assignments that are not empty as one message.
func (n *Notifier) send(assignments ...string) error { return n.sendWith(nil, assignments...) }

// sendWith does so together with rights. A connection per message is cheap for the few there are, and
// survives a service manager that is restarted.
func (n *Notifier) sendWith(rights []byte, assignments ...string) error {
	if n == nil {
		return nil
	}
	var message strings.Builder
	for _, a := range assignments {
		if a != "" {
			message.WriteString(a + "\n")
		}
	}
	if message.Len() == 0 {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, n.address)
	if err != nil {
		return fmt.Errorf("cannot notify socket %q: %w", n.address.Name, err)
	}
	defer conn.Close()
	// A service manager that does not read must not hold up a shutdown.
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), []byte(message.String()), rights, nil, unix.MSG_DONTWAIT)
		return sendErr != unix.EAGAIN
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("cannot notify socket %q: %w", n.address.Name, err)
	}
	return nil
}
