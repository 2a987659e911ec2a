package bench

import (
	"fmt"
	"net"
)

// FreeAddresses returns n loopback addresses, each another one, on which no process listens.
func FreeAddresses(n int) (list []string, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("cannot find a free port: %w", err)
		}
		defer ln.Close()
		list = append(list, ln.Addr().String())
	}
	return list, nil
}
