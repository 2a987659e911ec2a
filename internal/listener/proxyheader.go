package listener

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/pires/go-proxyproto"
)

// The sizes of the PROXY protocol (its specification, sections 2.1 and 2.2).
const (
	// signatureBytes is the length of version 2's signature. It is also less
	// than the shortest version 1 line, "PROXY UNKNOWN\r\n".
	signatureBytes = 12
	maxVersion1    = 107
	// maxVersion2 bounds what follows version 2's first 16 bytes. Addresses
	// take 216 at most; the rest are TLVs, which the protocol lets grow to
	// 64 KiB and real ones (a client certificate at most) leave far below this.
	maxVersion2 = 16 << 10
)

// expectsProxyHeader says whether c must begin with a PROXY header: its peer is
// one of those in proxy_protocol. Peers of a unix socket have no address; there
// a list that is not empty speaks for all of them, as the rights of the socket
// file already say who may connect.
func (s *settings) expectsProxyHeader(c *Conn) bool {
	if len(s.config.ProxyProtocol) == 0 {
		return false
	}
	if !c.peer.IsValid() {
		return true
	}
	ip := c.peer.Addr().WithZone("")
	for _, p := range s.config.ProxyProtocol {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// readProxyHeader reads exactly the PROXY header, not a byte more, and takes
// the client's address from it.
func (c *Conn) readProxyHeader() error {
	head := make([]byte, signatureBytes, maxVersion1)
	_, err := io.ReadFull(c.raw, head)
	switch {
	case err != nil:
	case bytes.HasPrefix(head, proxyproto.SIGV1):
		head, err = c.readVersion1(head)
	case bytes.Equal(head, proxyproto.SIGV2):
		head, err = c.readVersion2(head)
	default:
		err = proxyproto.ErrNoProxyProtocol
	}
	if err != nil {
		return fmt.Errorf("cannot read PROXY header of %v: %w", c.peer, err)
	}
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)))
	if err != nil {
		return fmt.Errorf("cannot read PROXY header of %v: %w", c.peer, err)
	}
	if header.Command.IsLocal() {
		return nil // a health check of the proxy itself, or a client it knows nothing of
	}
	source, _, ok := header.TCPAddrs()
	if !ok {
		if header.TransportProtocol == proxyproto.UnixStream {
			return nil // no address to take: the client is the proxy's neighbour
		}
		return fmt.Errorf("cannot read PROXY header of %v: transport %#x, allowed are TCP and unix streams", c.peer, byte(header.TransportProtocol))
	}
	c.remote = addrPort(source)
	return nil
}

// readVersion1 reads on to the end of the line that begins with head. The line
// says nothing about its length, so each step looks at what has come without
// taking it and then takes no more than the line.
func (c *Conn) readVersion1(head []byte) ([]byte, error) {
	for len(head) < maxVersion1 {
		n, err := c.peek(head[len(head):maxVersion1])
		if err != nil {
			return nil, err
		}
		next := head[len(head) : len(head)+n]
		end := bytes.IndexByte(next, '\n')
		if end >= 0 {
			next = next[:end+1]
		}
		if _, err := io.ReadFull(c.raw, next); err != nil {
			return nil, err
		}
		head = head[:len(head)+len(next)]
		if end >= 0 {
			return head, nil
		}
	}
	return nil, proxyproto.ErrVersion1HeaderTooLong
}

// peek waits for bytes and copies them to p without taking them. The end of the
// stream is io.ErrUnexpectedEOF.
func (c *Conn) peek(p []byte) (n int, err error) {
	raw, err := c.raw.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, failed = syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK)
			if failed != syscall.EINTR {
				return failed != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case n == 0:
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}

// readVersion2 reads the rest of a header whose first bytes are head.
func (c *Conn) readVersion2(head []byte) ([]byte, error) {
	head = head[:signatureBytes+4]
	if _, err := io.ReadFull(c.raw, head[signatureBytes:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(head[signatureBytes+2:]))
	if length > maxVersion2 {
		return nil, errors.New("a version 2 header longer than 16 KiB")
	}
	head = append(make([]byte, 0, len(head)+length), head...)[:len(head)+length]
	_, err := io.ReadFull(c.raw, head[signatureBytes+4:])
	return head, err
}
