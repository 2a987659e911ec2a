package listener

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// The bounds of Linger.
const (
	// LingerTime is how long Linger takes at most.
	LingerTime = 30 * time.Second
	// LingerSilence is how long Linger waits for the next byte at most.
	LingerSilence = 5 * time.Second
)

// dropped pools what unwanted bytes are read into. What stands there is of no use, so
// several connections may have the same.
var dropped = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// Linger closes conn, a *net.TCPConn, *net.UnixConn or *tls.Conn, after an
// answer that was written while the client may still be sending. A plain Close
// with unread input makes the kernel send a reset, which can destroy the answer
// before the client has read it: many clients send all before they read. So Linger
// closes the sending side only (RFC 9112 section 9.6), drops what comes until the client
// closes too, and then closes for good. It returns within LingerTime, and once the client
// was silent for LingerSilence.
func Linger(conn net.Conn) error {
	end := time.Now().Add(LingerTime)
	conn.SetDeadline(time.Now().Add(LingerSilence))
	raw := conn
	if secure, ok := conn.(*tls.Conn); ok {
		secure.CloseWrite() // close_notify; what follows on the wire is dropped undeciphered
		raw = secure.NetConn()
	}
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		drop(raw, end, LingerSilence)
	}
	return raw.Close()
}

// drop reads conn to its end, at most until end, and until it was silent for so long.
func drop(conn net.Conn, end time.Time, silence time.Duration) {
	buf := dropped.Get().(*[32 << 10]byte)
	defer dropped.Put(buf)
	for now := time.Now(); now.Before(end); now = time.Now() {
		until := now.Add(silence)
		if until.After(end) {
			until = end
		}
		conn.SetReadDeadline(until)
		if _, err := conn.Read(buf[:]); err != nil {
			return
		}
	}
}

// Linger closes c as the function Linger does. Wait does not wait for it.
func (c *Conn) Linger() error {
	c.listener.leave(c)
	return Linger(c.conn)
}

// leave notes that c has had its last answer.
func (l *Listener) leave(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.lingers = true
	l.lingering++
	if l.waiting > 0 {
		l.changed.Broadcast()
	}
}
