package secure_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"weir/internal/secure"
)

// helloOf returns the records of a ClientHello.
func helloOf(t *testing.T, cfg *tls.Config) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go tls.Client(theirs, cfg).Handshake()
	header := make([]byte, 5)
	if _, err := io.ReadFull(ours, header); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(ours, body); err != nil {
		t.Fatal(err)
	}
	return append(header, body...)
}

// records splits the payload of a record into records of n bytes.
func records(record []byte, n int) (out []byte) {
	payload := record[5:]
	for len(payload) > 0 {
		k := min(n, len(payload))
		out = append(out, 22, 3, 1, byte(k>>8), byte(k))
		out = append(out, payload[:k]...)
		payload = payload[k:]
	}
	return out
}

// named returns a ClientHello whose extensions are lists of names.
func named(lists ...string) []byte {
	sized := func(size int, text string) string {
		return string([]byte{byte(len(text) >> 16), byte(len(text) >> 8), byte(len(text))}[3-size:]) + text
	}
	extensions := ""
	for _, list := range lists {
		extensions += "\x00\x00" + sized(2, sized(2, list))
	}
	message := "\x01" + sized(3, "\x03\x03"+strings.Repeat("r", 32)+sized(1, "")+sized(2, "\x13\x01")+sized(1, "\x00")+sized(2, extensions))
	return []byte("\x16\x03\x01" + sized(2, message))
}

func TestReadHello(t *testing.T) {
	t.Parallel()
	hello := helloOf(t, &tls.Config{ServerName: "WWW.example.org"})
	if len(hello) < 1200 {
		t.Errorf("the hello has %d bytes: want one with a key share of X25519MLKEM768", len(hello))
	}
	read := func(in []byte) (string, int, error) {
		r := bytes.NewReader(in)
		got, name, err := secure.ReadHello(r)
		if !bytes.Equal(got, in[:len(in)-r.Len()]) {
			t.Errorf("what was read is not what was there: %d bytes", len(got))
		}
		return name, r.Len(), err
	}
	for _, size := range []int{1, 3, 100, 16 << 10} {
		name, left, err := read(append(records(hello, size), "more"...))
		if name != "www.example.org" || left != 4 || err != nil {
			t.Errorf("in records of %d bytes: %q, %d bytes left, %v", size, name, left, err)
		}
	}
	if name, _, err := read(helloOf(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})); name != "" || err != nil {
		t.Errorf("without a name: %q, %v", name, err)
	}
	bad := func(what string, in []byte) {
		t.Helper()
		if _, _, err := read(in); !errors.Is(err, secure.ErrNoHello) {
			t.Errorf("%s: %v", what, err)
		}
	}
	bad("HTTP", []byte("GET / HTTP/1.1\r\n\r\n"))
	bad("an alert", []byte{21, 3, 3, 0, 2, 2, 80})
	bad("an empty record", []byte{22, 3, 1, 0, 0})
	bad("a record that is too long", []byte{22, 3, 1, 0x40, 1})
	bad("another message", []byte{22, 3, 1, 0, 4, 2, 0, 0, 0})
	bad("a hello that is too long", []byte{22, 3, 1, 0, 4, 1, 1, 0, 0})
	bad("a hello of nothing", []byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	bad("two messages in a record", append([]byte{22, 3, 1, 0, 5, 1, 0, 0, 0}, 1))
	for i := range hello {
		if _, _, err := read(hello[:i]); err == nil || errors.Is(err, secure.ErrNoHello) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
	// The extension with names (RFC 6066 section 3): two names, in one list and in two, an empty one, and an address.
	const one, other = "\x00\x00\x05a.one", "\x00\x00\x05b.two"
	bad("two names", named(one+other))
	bad("two lists", named(one, other))
	bad("an empty name", named("\x00\x00\x00"))
	for list, want := range map[string]string{one: "a.one", "\x07\x00\x01x" + other: "b.two", "\x00\x00\x09127.0.0.1": "127.0.0.1", "": ""} {
		if name, _, err := read(named(list)); name != want || err != nil {
			t.Errorf("%q: %q, %v", list, name, err)
		}
	}
	// Whatever is changed in it, it is a hello or none.
	for i := 5; i < len(hello); i++ {
		changed := bytes.Clone(hello)
		changed[i] ^= 0xff
		read(changed)
	}
}
