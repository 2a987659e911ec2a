package access

import (
	"bytes"
	"encoding/base64"
)

// Credentials are what a client says who it is (RFC 7617).
type Credentials struct{ User, Password []byte }

// ParseCredentials reads the value of an Authorization field. ok is false for other schemes
// than Basic and for what is malformed.
func ParseCredentials(field []byte) (c Credentials, ok bool) {
	scheme, token, ok := bytes.Cut(field, []byte(" "))
	if !ok || !bytes.EqualFold(scheme, []byte("Basic")) {
		return Credentials{}, false
	}
	token = bytes.TrimRight(bytes.TrimLeft(token, " "), "=")
	text := make([]byte, base64.RawStdEncoding.DecodedLen(len(token)))
	n, err := base64.RawStdEncoding.Decode(text, token)
	if err != nil {
		return Credentials{}, false
	}
	c.User, c.Password, ok = bytes.Cut(text[:n], []byte(":"))
	return c, ok
}
