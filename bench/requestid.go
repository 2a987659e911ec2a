package bench

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// AppendRequestID appends 128 random bits as 32 hexadecimal digits, which is
// what a peer without a request id of its own sends as X-Request-Id.
func AppendRequestID(dst []byte) []byte {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return hex.AppendEncode(dst, id[:])
}
