package lb

import (
	"strings"

	"weir/config"
)

// HashSource is what a key is made from.
type HashSource struct {
	// Kind is "client_address", "path", "header", "cookie" or "query".
	Kind string
	// Name is the header's, cookie's or query parameter's name.
	Name string
}

// HashSource returns what Pick.SetKey is to be given; the zero HashSource if the
// algorithm needs no key.
func (u *Upstream) HashSource() HashSource { return u.hash }

// HashSources returns the forms of hash.by.
func HashSources() []string {
	return []string{"client_address", "path", "header:NAME", "cookie:NAME", "query:NAME"}
}

func parseHashSource(by string) (HashSource, *config.Problem) {
	kind, name, named := strings.Cut(by, ":")
	for _, form := range HashSources() {
		if k, _, needsName := strings.Cut(form, ":"); k == kind && needsName == named && needsName == (name != "") {
			return HashSource{kind, name}, nil
		}
	}
	p := config.NotOneOf(config.Key("hash", "by"), by, HashSources())
	return HashSource{}, &p
}

// Hash hashes b the same way in every process (FNV-1a, then Mix). Pick.SetKey
// uses it.
func Hash[T string | []byte](b T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * 1099511628211
	}
	return Mix(h)
}

// Mix spreads the bits of x over all of the result (the finalizer of MurmurHash3).
func Mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
