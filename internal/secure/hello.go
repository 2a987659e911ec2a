package secure

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Bounds of a ClientHello. crypto/tls has the same for a message.
const (
	maxHello  = 64 << 10
	maxRecord = 16 << 10 // of plain text (RFC 8446 section 5.1)
)

// What begins a record and a message (RFC 8446 sections 4 and 5.1).
const (
	recordHandshake = 22
	clientHello     = 1
)

// ErrNoHello says that a connection does not begin with a ClientHello that can be read.
var ErrNoHello = errors.New("no ClientHello")

// ReadHello reads the ClientHello that a connection begins with, over as many records as it takes, and
// not a byte more. It returns all that it has read, and the name that the client asks for (SNI), in
// lower case and empty if there is none. The error is ErrNoHello, wrapped, if it is something else, or
// that of r.
func ReadHello(r io.Reader) (read []byte, name string, err error) {
	var message []byte
	for {
		var header [5]byte
		n, err := io.ReadFull(r, header[:])
		if read = append(read, header[:n]...); err != nil {
			return read, "", err
		}
		length := int(header[3])<<8 | int(header[4])
		if header[0] != recordHandshake || header[1] != 3 || length == 0 || length > maxRecord {
			return read, "", fmt.Errorf("%w: found a record that begins with % x", ErrNoHello, header)
		}
		start := len(read)
		read = append(read, make([]byte, length)...)
		if n, err := io.ReadFull(r, read[start:]); err != nil {
			return read[:start+n], "", err
		}
		message = append(message, read[start:]...)
		if len(message) < 4 {
			continue
		}
		size := 4 + (int(message[1])<<16 | int(message[2])<<8 | int(message[3]))
		switch {
		case message[0] != clientHello:
			return read, "", fmt.Errorf("%w: found a message of type %d", ErrNoHello, message[0])
		case size > maxHello || len(message) > size:
			return read, "", fmt.Errorf("%w: found one of %d bytes in %d", ErrNoHello, size, len(message))
		case len(message) == size:
			name, err = serverName(message[4:])
			return read, name, err
		}
	}
}

// serverName finds the name in a ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3).
func serverName(hello []byte) (string, error) {
	s := cryptobyte.String(hello)
	var session, suites, compression, extensions cryptobyte.String
	if !s.Skip(2+32) || !s.ReadUint8LengthPrefixed(&session) || !s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&compression) {
		return "", fmt.Errorf("%w: it is cut short", ErrNoHello)
	}
	if s.Empty() {
		return "", nil // TLS 1.2 without extensions
	}
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return "", fmt.Errorf("%w: its extensions cannot be read", ErrNoHello)
	}
	found := ""
	for !extensions.Empty() {
		var kind uint16
		var data, list cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&data) {
			return "", fmt.Errorf("%w: its extensions cannot be read", ErrNoHello)
		}
		if kind != 0 {
			continue
		}
		if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() {
			return "", fmt.Errorf("%w: its list of names cannot be read", ErrNoHello)
		}
		for !list.Empty() {
			var kind uint8
			var name cryptobyte.String
			if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
				return "", fmt.Errorf("%w: its list of names cannot be read", ErrNoHello)
			}
			if kind != 0 {
				continue
			}
			// Who comes after weir might go by the other one.
			if found != "" || name.Empty() {
				return "", fmt.Errorf("%w: it asks for an empty name, or for several", ErrNoHello)
			}
			found = string(name)
		}
	}
	return strings.ToLower(strings.TrimSuffix(found, ".")), nil
}
