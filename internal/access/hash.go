package access

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What one verification may cost, so that no line of a file can take the machine.
const (
	maxCost   = 16      // of bcrypt: some five seconds
	maxMemory = 1 << 18 // of argon2id, in KiB
	maxTime   = 64
)

// wantHash says which hashes are allowed.
const wantHash = `a bcrypt hash ("$2y$...", htpasswd -nB NAME) or an argon2id hash ("$argon2id$...")`

// verify compares a password with a hash of it.
type verify func(password []byte) bool

// parseHash reads a hash as bcrypt's and argon2's tools write it. The error says what is
// allowed, and shows nothing of the hash.
func parseHash(text string) (verify, error) {
	switch {
	case strings.HasPrefix(text, "$2"):
		return parseBcrypt(text)
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon2(text)
	}
	return nil, errors.New(wantHash)
}

func parseBcrypt(text string) (verify, error) {
	hash := []byte(text)
	cost, err := bcrypt.Cost(hash)
	switch {
	case err != nil || len(text) != 60:
		return nil, errors.New(wantHash)
	case cost > maxCost:
		return nil, fmt.Errorf("a bcrypt hash with a cost of at most %d, not %d", maxCost, cost)
	}
	return func(password []byte) bool { return bcrypt.CompareHashAndPassword(hash, password) == nil }, nil
}

// parseArgon2 reads "$argon2id$v=19$m=65536,t=3,p=4$SALT$KEY" (the PHC string format).
func parseArgon2(text string) (verify, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errors.New(wantHash)
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", memory, time, threads) {
		return nil, errors.New(wantHash)
	}
	if memory < 8 || memory > maxMemory || time < 1 || time > maxTime || threads < 1 {
		return nil, fmt.Errorf("an argon2id hash with m=8 to %d, t=1 to %d and p=1 to 255", maxMemory, maxTime)
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return nil, errors.New(wantHash)
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(key) < 16 || len(key) > 128 {
		return nil, errors.New(wantHash)
	}
	return func(password []byte) bool {
		got := argon2.IDKey(password, salt, time, memory, threads, uint32(len(key)))
		return subtle.ConstantTimeCompare(got, key) == 1
	}, nil
}
