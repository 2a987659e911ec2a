package listener

import (
	"errors"
	"net"
	"strings"

	"weir/internal/secure"
)

// Passed is a connection whose TLS is not ended here.
type Passed struct {
	// Upstream is where it goes.
	Upstream string
	// ServerName is what the client asks for (SNI), in lower case; empty if that is nothing.
	ServerName string
	// Hello is what was read of it.
	Hello []byte
}

// Passed says where a connection goes on to if its TLS is not ended here; nil for all others.
func (c *Conn) Passed() *Passed { return c.passed }

// PassTo finds the upstream in a table of pass_through for a name in lower case, empty for none: that of exactly the
// name, else of its longest wildcard, else of "*".
func PassTo(table map[string]string, name string) (string, bool) {
	if to, ok := table[name]; ok && name != "*" {
		return to, true
	}
	for rest := name; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		if to, ok := table["*."+after]; ok {
			return to, true
		}
		rest = after
	}
	to, ok := table["*"]
	return to, ok
}

// pass reads the ClientHello and finds out whether the connection is to be passed on. If it is not, the TLS
// of this process gets it by what is returned.
func (c *Conn) pass(s *settings, under net.Conn) (net.Conn, error) {
	read, name, err := secure.ReadHello(c.raw)
	switch {
	case errors.Is(err, secure.ErrNoHello):
	case err != nil:
		return nil, err
	default:
		if to, ok := PassTo(s.config.PassThrough, name); ok {
			c.passed = &Passed{Upstream: to, ServerName: name, Hello: read}
			return nil, nil
		}
	}
	if u, ok := under.(interface{ Unread(p []byte) }); ok {
		u.Unread(read)
		return under, nil
	}
	return &replay{Conn: under, left: read}, nil
}

// replay is a connection of which something was read.
type replay struct {
	net.Conn
	left []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
