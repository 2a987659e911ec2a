// Package tier is what a tier of the cache and the store share: the interfaces
// Tier and Blobs, the encoding of stored responses, and the marks by which
// those who share a tier tell each other of purges. Package cache uses tiers;
// cache/disk and cache/redis are tiers, keep bytes and import nothing else of
// the cache.
package tier

import (
	"errors"
	"time"
)

// Tier is a place where entries live besides the near tier: Redis, or a disk.
// It keeps bytes and knows nothing of what they mean. Its methods may be called
// by any goroutine.
type Tier interface {
	// Name labels the tier in metrics and logs.
	Name() string
	// Shared says that others use it too, whose clocks may differ by a second.
	Shared() bool
	// Start makes the tier work. follow is called for each announcement, those
	// of the last day included, one after the other until Close returns. It
	// must not be slow to return itself: what can fail later is tried again in
	// the background.
	Start(follow func(message []byte)) error
	// Get returns what was stored, nil if there is nothing. It takes no longer
	// than its time-out, and fails with ErrUnavailable while the tier cannot be
	// reached or might not have seen all announcements.
	Get(key []byte) (value []byte, body Blob, err error)
	// Set stores value for about ttl, and with it body, a sealed blob of the
	// tier's own or nil. It is called in the background only.
	Set(key, value []byte, body Blob, ttl time.Duration) error
	// Blobs is the tier's place for large bodies, nil if it has none.
	Blobs() Blobs
	// Announce tells all processes that share the tier. It is called in the
	// background only.
	Announce(message []byte) error
	// Close ends the tier's work and waits for it.
	Close() error
}

// ErrUnavailable: the tier cannot be used now. It costs a miss.
var ErrUnavailable = errors.New("tier is not available")

// MaxTime is the longest that a value stays in a tier. Announcements are
// remembered longer, so no purged entry can come back.
const (
	MaxTime     = 24 * time.Hour
	maxMarkTime = 26 * time.Hour
)
