package sock

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestNoDescriptors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("too many open files"), false},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}, true},
		{os.NewSyscallError("accept4", syscall.ENFILE), true},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "dial udp 127.0.0.53:53: socket: too many open files"}}, true},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, false},
		{syscall.ECONNREFUSED, false},
	} {
		if got := NoDescriptors(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
