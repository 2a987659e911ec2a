package sock

import (
	"errors"
	"net"
	"strings"
	"syscall"
)

// NoDescriptors says whether an error means that the process, or the machine, has as many files
// open as it may.
func NoDescriptors(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return true
	}
	// A look-up of a name keeps nothing but the text.
	var dns *net.DNSError
	return errors.As(err, &dns) && strings.Contains(dns.Err, syscall.EMFILE.Error())
}
