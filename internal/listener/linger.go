package listener

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

// The bounds of Linger.
const (
	// LingerBytes is how much Linger reads at most.
	LingerBytes = 4 << 20
	// LingerTime is how long Linger takes at most.
	LingerTime = 2 * time.Second
)

// Linger closes conn, a *net.TCPConn, *net.UnixConn or *tls.Conn, after an
// answer that was written while the client may still be sending. A plain Close
// with unread input makes the kernel send a reset, which can destroy the answer
// before the client has read it. So Linger closes the sending side only, drops
// what comes until the client closes too, and then closes for good. It returns
// within LingerTime and reads no more than LingerBytes.
func Linger(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(LingerTime))
	raw := conn
	if secure, ok := conn.(*tls.Conn); ok {
		secure.CloseWrite() // close_notify; what follows on the wire is dropped undeciphered
		raw = secure.NetConn()
	}
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(raw, LingerBytes))
	}
	return raw.Close()
}

// Linger closes c as the function Linger does.
func (c *Conn) Linger() error { return Linger(c.conn) }
