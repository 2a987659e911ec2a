package tier

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"weir/cache/rule"
)

// Mark is a purge or invalidation as those who share a tier tell each other.
type Mark struct {
	Node string `json:"node"`
	At   int64  `json:"at"` // ns since the epoch
	Soft bool   `json:"soft,omitempty"`
	All  bool   `json:"all,omitempty"`
	Key  string `json:"key,omitempty"`
	// AllVariants, with Key: also the keys to which a route's key rules (headers,
	// cookies) added something.
	AllVariants bool   `json:"wide,omitempty"`
	Host        string `json:"host,omitempty"`
	Prefix      string `json:"prefix,omitempty"` // of keys
	Group       string `json:"group,omitempty"`
	Origin      string `json:"origin,omitempty"` // with Group: only its entries
}

// NewNode is a name that no other process has.
func NewNode() string { return rand.Text() }

// Encode is the mark as a message for Tier.Announce.
func (m Mark) Encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("BUG: cannot encode a mark: " + err.Error())
	}
	return b
}

// DecodeMark reads what Encode wrote.
func DecodeMark(b []byte) (m Mark, err error) {
	err = json.Unmarshal(b, &m)
	return m, err
}

// Marks remembers what was purged, to recognise the values in a tier that are
// older. Any number of goroutines may use it.
type Marks struct {
	mu       sync.RWMutex
	all      stamp
	keys     map[string]stamp
	hosts    map[string]stamp
	groups   map[string]stamp // origin, NUL, group; and NUL, group
	prefixes []prefixStamp
	newest   int64
	skew     int64 // how far clocks may differ, in ns
}

// stamp is when something was purged last, softly and not.
type stamp struct{ hard, soft int64 }

type prefixStamp struct {
	prefix string
	stamp
}

// NewMarks remembers nothing yet. skew is how far the clocks of those who make
// marks may differ, in ns.
func NewMarks(skew int64) *Marks {
	k := &Marks{skew: skew}
	k.init()
	return k
}

// maxMarks bounds what is remembered; beyond it everything older than now
// counts as purged, which costs misses and nothing else.
const maxMarks = 200_000

// Ended says what marks make of something stored.
type Ended uint8

// What marks make of something stored.
const (
	NotEnded Ended = iota
	EndedSoftly
	EndedWholly
)

func (s stamp) with(m Mark) stamp {
	if m.Soft {
		s.soft = max(s.soft, m.At)
	} else {
		s.hard = max(s.hard, m.At)
	}
	return s
}

// ended says what s makes of something received then.
func (s stamp) ended(received, skew int64) Ended {
	switch {
	case received <= s.hard+skew && s.hard > 0:
		return EndedWholly
	case received <= s.soft+skew && s.soft > 0:
		return EndedSoftly
	}
	return NotEnded
}

func (k *Marks) init() {
	k.prefixes = nil
	k.keys, k.hosts, k.groups = map[string]stamp{}, map[string]stamp{}, map[string]stamp{}
}

// Skew is how far the clocks of those who make marks may differ, in ns.
func (k *Marks) Skew() int64 { return k.skew }

// Add remembers a mark.
func (k *Marks) Add(m Mark) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.newest = max(k.newest, m.At)
	if len(k.keys)+len(k.hosts)+len(k.groups)+len(k.prefixes) >= maxMarks {
		k.forgetLocked()
	}
	switch {
	case m.All:
		k.all = k.all.with(m)
	case m.Key != "":
		k.keys[m.Key] = k.keys[m.Key].with(m)
	case m.Group != "":
		g := m.Origin + "\x00" + m.Group
		k.groups[g] = k.groups[g].with(m)
	case m.Prefix != "":
		i := slices.IndexFunc(k.prefixes, func(p prefixStamp) bool { return p.prefix == m.Prefix })
		if i < 0 {
			k.prefixes = append(k.prefixes, prefixStamp{prefix: m.Prefix})
			i = len(k.prefixes) - 1
		}
		k.prefixes[i].stamp = k.prefixes[i].stamp.with(m)
	case m.Host != "":
		k.hosts[m.Host] = k.hosts[m.Host].with(m)
	}
}

// forgetLocked drops marks that no entry can be older than, and all of them if
// that does not help.
func (k *Marks) forgetLocked() {
	old := func(s stamp) bool { return max(s.hard, s.soft) < k.newest-int64(maxMarkTime) }
	for _, list := range []map[string]stamp{k.keys, k.hosts, k.groups} {
		for name, s := range list {
			if old(s) {
				delete(list, name)
			}
		}
	}
	k.prefixes = slices.DeleteFunc(k.prefixes, func(p prefixStamp) bool { return old(p.stamp) })
	if len(k.keys)+len(k.hosts)+len(k.groups)+len(k.prefixes) >= maxMarks*9/10 {
		k.all.hard = k.newest
		k.init()
	}
}

// Ended says whether what was received then, in ns since the epoch, under a key
// and in groups was purged since.
func (k *Marks) Ended(key string, received int64, groups []string) Ended {
	k.mu.RLock()
	defer k.mu.RUnlock()
	ended := max(k.all.ended(received, k.skew), k.keys[key].ended(received, k.skew))
	if url, _, extended := strings.Cut(key, "\n"); extended {
		// A mark for this key alone may fit too, of another route for the same
		// URL: that costs a miss.
		ended = max(ended, k.keys[url].ended(received, k.skew))
	}
	if len(k.hosts) > 0 {
		ended = max(ended, k.hosts[rule.KeyHost(key)].ended(received, k.skew))
	}
	for _, g := range groups {
		ended = max(ended, k.groups["\x00"+g].ended(received, k.skew), k.groups[rule.KeyOrigin(key)+"\x00"+g].ended(received, k.skew))
	}
	for _, p := range k.prefixes {
		if strings.HasPrefix(key, p.prefix) {
			ended = max(ended, p.ended(received, k.skew))
		}
	}
	return ended
}
