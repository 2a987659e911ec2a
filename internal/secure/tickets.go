package secure

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"weir/config"
)

// leastSecret is how many bytes a secret must have for keys of session tickets to be made of it.
const leastSecret = 32

// TicketKey is a key of session tickets that this process, or one before it, has made.
type TicketKey struct {
	Made time.Time `json:"made"`
	Key  []byte    `json:"key"` // 32 bytes
}

// Tickets has the keys of session tickets. A new one is made for each period, and the one before is
// accepted for one more. Its methods may be called from any goroutine.
type Tickets struct {
	mu      sync.Mutex
	period  time.Duration
	secrets [][]byte    // what several nodes share; empty means that own are used
	own     []TicketKey // the newest first
}

// NewTickets returns tickets that go on with keys that an earlier process had; nil means
// with new ones.
func NewTickets(before []TicketKey) *Tickets {
	return &Tickets{own: slices.DeleteFunc(slices.Clone(before), func(k TicketKey) bool { return len(k.Key) != sha256.Size })}
}

// Use makes keys for periods of this length from now on: of the secrets, the first of which makes
// tickets while all are accepted, or of chance if there are none.
func (t *Tickets) Use(period time.Duration, secrets [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.period, t.secrets = period, secrets
}

// Keys returns the keys for the time now, in the order for tls.Config.SetSessionTicketKeys, and when
// they change next.
func (t *Tickets) Keys(now time.Time) (keys [][sha256.Size]byte, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now = now.Round(0) // what is kept is time of the wall, which other processes have too
	if len(t.secrets) > 0 {
		return t.derived(now)
	}
	t.rotate(now)
	for _, k := range t.own {
		keys = append(keys, [sha256.Size]byte(k.Key))
	}
	return keys, t.own[0].Made.Add(t.period)
}

// derived are the keys of secrets. That of the next period is accepted too, because the clock of
// another node may be ahead.
func (t *Tickets) derived(now time.Time) (keys [][sha256.Size]byte, next time.Time) {
	n := now.UnixNano() / int64(t.period)
	for _, secret := range t.secrets {
		for _, period := range []int64{n, n - 1, n + 1} {
			info := binary.BigEndian.AppendUint64([]byte("weir session tickets"), uint64(period))
			info = binary.BigEndian.AppendUint64(info, uint64(t.period))
			key, err := hkdf.Key(sha256.New, secret, nil, string(info), sha256.Size)
			if err != nil {
				panic("BUG: cannot derive a key: " + err.Error())
			}
			keys = append(keys, [sha256.Size]byte(key))
		}
	}
	return keys, time.Unix(0, (n+1)*int64(t.period))
}

// rotate makes a key if the newest is old, and forgets those that are too old.
func (t *Tickets) rotate(now time.Time) {
	for i := range t.own {
		if t.own[i].Made.After(now) { // the clock was set back
			t.own[i].Made = now
		}
	}
	if len(t.own) == 0 || now.Sub(t.own[0].Made) >= t.period {
		key := make([]byte, sha256.Size)
		rand.Read(key)
		t.own = slices.Insert(t.own, 0, TicketKey{Made: now, Key: key})
	}
	t.own = slices.DeleteFunc(t.own, func(k TicketKey) bool { return now.Sub(k.Made) >= 2*t.period })
}

// Own returns the keys that were made by chance, for the process that replaces this one.
func (t *Tickets) Own() []TicketKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.own)
}

// LoadSecrets reads a file of secrets, one in each line; nil if path is empty. Empty lines and those that
// begin with "#" are left out.
func LoadSecrets(path string) (secrets [][]byte, err error) {
	if path == "" {
		return nil, nil
	}
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the secrets of session tickets: %w", err)
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
		case len(line) < leastSecret:
			return nil, fmt.Errorf("%s:%d: found a secret of %d bytes: want %d at least, such as of openssl rand -base64 48", path, i+1, len(line), leastSecret)
		default:
			secrets = append(secrets, line)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%s: found no secret: want a line of %d bytes at least, such as of openssl rand -base64 48", path, leastSecret)
	}
	return secrets, nil
}
