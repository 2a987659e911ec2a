package secure

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"weir/config"
)

// What a configuration of Encrypted Client Hello is made of (RFC 9849 section 4).
const (
	echVersion   = 0xfe0d
	hpkeX25519   = 0x0020
	hpkeSHA256   = 0x0001
	hpkeAES128   = 0x0001
	hpkeChaCha20 = 0x0003
)

// NewECH makes a key of Encrypted Client Hello. file is the key and the configuration, in PEM (RFC
// 9934), and list the configuration as the parameter ech of an HTTPS record has it. publicName is what
// observers see in place of the name that a client asks for.
func NewECH(publicName string) (file, list []byte, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	id := make([]byte, 1)
	rand.Read(id)
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(echVersion)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddBytes(id)
			b.AddUint16(hpkeX25519)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, aead := range []uint16{hpkeAES128, hpkeChaCha20} {
					b.AddUint16(hpkeSHA256)
					b.AddUint16(aead)
				}
			})
			b.AddUint8(0) // names are padded by clients as they like
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(publicName)) })
			b.AddUint16(0) // no extensions
		})
	})
	if list, err = b.Bytes(); err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	file = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return append(file, pem.EncodeToMemory(&pem.Block{Type: "ECHCONFIG", Bytes: list})...), list, nil
}

// ECHKey is a key of Encrypted Client Hello and the name that observers see.
type ECHKey struct {
	tls.EncryptedClientHelloKey
	PublicName string
}

// LoadECH reads keys of Encrypted Client Hello. The one of the first file is offered to clients
// that have an old one.
func LoadECH(paths []string) (keys []ECHKey, err error) {
	for i, path := range paths {
		data, err := config.ReadPEM(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read a key of Encrypted Client Hello: %w", err)
		}
		found, err := parseECH(data)
		if err != nil {
			return nil, fmt.Errorf("cannot use %q as a key of Encrypted Client Hello, such as weir ech makes: %w", path, err)
		}
		for _, key := range found {
			key.SendAsRetry = i == 0
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func parseECH(data []byte) (keys []ECHKey, err error) {
	var private *ecdh.PrivateKey
	var list cryptobyte.String
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY":
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			var ok bool
			if private, ok = parsed.(*ecdh.PrivateKey); !ok || private.Curve() != ecdh.X25519() {
				return nil, errors.New("the private key is not one of X25519")
			}
		case "ECHCONFIG":
			whole := cryptobyte.String(block.Bytes)
			if !whole.ReadUint16LengthPrefixed(&list) || !whole.Empty() {
				return nil, errors.New("the block ECHCONFIG cannot be read")
			}
		}
	}
	if private == nil || list.Empty() {
		return nil, errors.New(`want a block "PRIVATE KEY" and a block "ECHCONFIG"`)
	}
	for !list.Empty() {
		entry := list
		var version, kem uint16
		var content, public, ciphers, name cryptobyte.String
		if !list.ReadUint16(&version) || !list.ReadUint16LengthPrefixed(&content) {
			return nil, errors.New("the block ECHCONFIG cannot be read")
		}
		entry = entry[:len(entry)-len(list)]
		var id, longest uint8
		if version != echVersion || !content.ReadUint8(&id) || !content.ReadUint16(&kem) || !content.ReadUint16LengthPrefixed(&public) ||
			!content.ReadUint16LengthPrefixed(&ciphers) || !content.ReadUint8(&longest) || !content.ReadUint8LengthPrefixed(&name) {
			return nil, errors.New("the block ECHCONFIG has a configuration of another version, or one that cannot be read")
		}
		if kem != hpkeX25519 || !bytes.Equal(public, private.PublicKey().Bytes()) {
			return nil, errors.New("the private key does not belong to the configuration")
		}
		keys = append(keys, ECHKey{tls.EncryptedClientHelloKey{Config: entry, PrivateKey: private.Bytes()}, string(name)})
	}
	return keys, nil
}
