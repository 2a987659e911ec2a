package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash"
	"runtime"
	"sync"
	"time"
)

const (
	// keepVerified is how long it is remembered that a password is right. Hashing it again
	// would say the same, but what is not used should not stay in memory.
	keepVerified = time.Hour
	// maxVerified bounds the passwords that are remembered.
	maxVerified = 1 << 16
	// maxWait is how long a password waits for others to be hashed.
	maxWait = 5 * time.Second
)

// ErrBusy says that so many passwords wait to be hashed that another one would wait for too long.
var ErrBusy = errors.New("too many passwords are being verified")

// Verifier verifies passwords, few at a time, and remembers which were right. It outlives
// Users: a hash that is in several of them, or in those of before a reload, is the same. Its
// methods may be called by any number of goroutines.
type Verifier struct {
	places chan struct{} // has a token for each hashing that runs
	// digests pools the functions that make a password's digest, whose key no other process has.
	digests sync.Pool

	mu   sync.Mutex
	good map[string]verified // by hash
}

// verified is a password that was found to fit a hash.
type verified struct {
	digest [sha256.Size]byte
	until  time.Time
}

// NewVerifier returns a Verifier that keeps half of the processors free.
func NewVerifier() *Verifier {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	v := &Verifier{places: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), good: make(map[string]verified)}
	v.digests.New = func() any { return hmac.New(sha256.New, key) }
	return v
}

// Known says whether it is remembered that this is the user's password. It does not wait.
func (v *Verifier) Known(u *Users, c Credentials) bool {
	who, ok := u.byName[string(c.User)]
	if !ok {
		return false
	}
	digest := v.digest(c.Password)
	v.mu.Lock()
	defer v.mu.Unlock()
	good, ok := v.good[who.hash]
	return ok && subtle.ConstantTimeCompare(good.digest[:], digest[:]) == 1 && time.Now().Before(good.until)
}

func (v *Verifier) digest(password []byte) (sum [sha256.Size]byte) {
	h := v.digests.Get().(hash.Hash)
	defer v.digests.Put(h)
	h.Reset()
	h.Write(password)
	h.Sum(sum[:0])
	return sum
}

// Verify says whether this is the user's password, by hashing it. It waits while many others
// are being hashed. The error is ErrBusy, or nil.
func (v *Verifier) Verify(u *Users, c Credentials) (bool, error) {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case v.places <- struct{}{}:
	case <-timer.C:
		return false, ErrBusy
	}
	defer func() { <-v.places }()
	if v.Known(u, c) { // another exchange of the same client has verified it meanwhile
		return true, nil
	}
	who, ok := u.byName[string(c.User)]
	if !ok {
		if u.stranger.verify != nil {
			u.stranger.verify(c.Password)
		}
		return false, nil
	}
	if !who.verify(c.Password) {
		return false, nil
	}
	v.remember(who.hash, c.Password)
	return true, nil
}

func (v *Verifier) remember(hash string, password []byte) {
	now := time.Now()
	digest := v.digest(password)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.good) >= maxVerified {
		v.forget(now)
	}
	v.good[hash] = verified{digest, now.Add(keepVerified)}
}

// forget makes room: for one password, and for all whose time is over.
func (v *Verifier) forget(now time.Time) {
	any := ""
	for hash, good := range v.good {
		if any = hash; now.After(good.until) {
			delete(v.good, hash)
		}
	}
	if len(v.good) >= maxVerified {
		delete(v.good, any)
	}
}
