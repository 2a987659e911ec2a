package forward

import (
	"math/rand/v2"

	"weir/internal/head"
)

// maxRequestID bounds the length of an id that is taken from a peer.
const maxRequestID = 128

// requestIDDigits are the digits of base 32 without those that look alike.
const requestIDDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// RequestID appends the exchange's request id to dst: the one a trusted peer
// sent, if it has 1 to 128 visible ASCII characters, or a new one, which is 128
// random bits in 26 characters. It is made even if no request id is sent, for
// logs. It allocates only if dst is too short.
func (f *Forwarder) RequestID(dst []byte, h *head.Head, p *Peer) []byte {
	if f.requestID.String() != "" {
		if id := h.Get(f.requestID); usableID(id) && f.Trusts(p) {
			return append(dst, id...)
		}
	}
	var id [26]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range len(id) / 2 {
		id[i], id[i+len(id)/2] = requestIDDigits[hi&31], requestIDDigits[lo&31]
		hi, lo = hi>>5, lo>>5
	}
	return append(dst, id[:]...)
}

func usableID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, b := range id {
		if b <= ' ' || b >= 0x7f {
			return false
		}
	}
	return true
}
