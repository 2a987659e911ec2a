// Package tier is what a tier of the cache and the store share: the interfaces
// Tier and Blobs, the encoding of stored responses, and the marks by which
// those who share a tier tell each other of purges. Package cache uses tiers;
// cache/disk and cache/redis are tiers, keep bytes and import nothing else of
// the cache.
package tier

import (
	"context"
	"errors"
	"time"

	"weir/cache/rule"
)

// Tier is a place where entries live besides the near tier: Redis, or a disk.
// It keeps bytes and knows nothing of what they mean. Its methods may be called
// by any goroutine. A panic costs an exchange that waits for the tier, and in the background the process.
type Tier interface {
	// Name labels the tier in metrics and logs.
	Name() string
	// Shared says that others use it too, whose clocks may differ by a second.
	Shared() bool
	// Start makes the tier work until Close returns. It tells f of all announcements of
	// the last day and of those to come, in order and one after the other. from is a
	// position up to which a process before this one was told; empty if none was. Start
	// must not be slow to return itself: what can fail later is tried again in the background.
	Start(f Follower, from string) error
	// Get returns what was stored, nil if there is nothing. It takes no longer
	// than its time-out, and fails with ErrUnavailable, at once, while the tier cannot be
	// reached or might not have seen all announcements. ErrDamaged: what was stored is lost.
	Get(key []byte) (value []byte, body Blob, err error)
	// Set stores value for about ttl, and with it body, a sealed blob of the
	// tier's own or nil. It is called in the background only. ErrDropped: there is no
	// room for it.
	Set(key, value []byte, body Blob, ttl time.Duration) error
	// Blobs is the tier's place for large bodies, nil if it has none.
	Blobs() Blobs
	// Announce tells all processes that share the tier, after their next start too. A
	// purge lasts once Announce has returned nil. It is called in the background only.
	Announce(ctx context.Context, a Announcement) error
	// Close ends the tier's work and waits for it.
	Close() error
}

// Announcement is news for all who share a tier.
type Announcement struct {
	// Message is what followers get.
	Message []byte
	// Purge says that it must not be lost. Of others a tier may forget the oldest.
	Purge bool
	// Keys are those of values that the announcement ends. A tier may drop these at once.
	Keys [][]byte
}

// Follower is told by a tier.
type Follower interface {
	// Follow takes the message of an announcement.
	Follow(message []byte)
	// Lost says that announcements from before at, in ns since the epoch, may never come.
	Lost(at int64)
	// CaughtUp says that all announcements up to that position came, and with the first call
	// all of the past. Empty means that the tier has no positions.
	CaughtUp(position string)
	// Report says whether the tier works: err is why it does not, nil if it does.
	Report(err error)
	// Damaged counts and logs something stored that was lost.
	Damaged(err error)
}

// Keeper is a tier that also keeps notes, which survive a restart. A name is made of
// letters and dots.
type Keeper interface {
	// Keep replaces a note; one without bytes is removed.
	Keep(name string, note []byte) error
	// Extend adds to a note. Once it returns nil what it added lasts.
	Extend(name string, more []byte) error
	// Kept is the note, nil if there is none.
	Kept(name string) ([]byte, error)
}

// ErrUnavailable: the tier cannot be used now. It costs a miss.
var ErrUnavailable = errors.New("tier is not available")

// Unanswered is the error of a server that did not answer: the next try may end otherwise.
type Unanswered struct{ Err error }

func (u Unanswered) Error() string { return u.Err.Error() }

// Unwrap returns Err.
func (u Unanswered) Unwrap() error { return u.Err }

// Skew is how far the clocks of those who share a tier may differ.
const Skew = time.Duration(rule.Skew)

// MaxTime is the longest that a value stays in a tier. Announcements are
// remembered longer, so no purged entry can come back.
const (
	MaxTime     = 24 * time.Hour
	maxMarkTime = 26 * time.Hour
)
