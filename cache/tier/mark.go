package tier

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"weir/cache/rule"
)

// Mark is a purge or invalidation, as the processes that share a tier tell it to each other.
type Mark struct {
	Node string `json:"node,omitempty"`
	At   int64  `json:"at"` // ns since the epoch
	// Purge says that an operator or a client asked for it, and may have been told that it is done.
	// Otherwise an unsafe request has invalidated what m names.
	Purge bool   `json:"purge,omitempty"`
	Soft  bool   `json:"soft,omitempty"`
	All   bool   `json:"all,omitempty"`
	Key   string `json:"key,omitempty"`
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

// Named is m without its time and node: what it ends, and how.
func (m Mark) Named() Mark {
	m.At, m.Node = 0, ""
	return m
}

// Size is about how many bytes m takes, in memory and as a message.
func (m Mark) Size() int {
	return markOverhead + len(m.Key) + len(m.Host) + len(m.Prefix) + len(m.Group) + len(m.Origin)
}

// markOverhead is what a mark takes beside its texts.
const markOverhead = 128

// EncodeMarks makes a message for Tier.Announce.
func EncodeMarks(marks []Mark) []byte {
	b, err := json.Marshal(marks)
	if err != nil {
		panic("BUG: cannot encode marks: " + err.Error())
	}
	return b
}

// DecodeMarks reads what EncodeMarks wrote, or a mark by itself.
func DecodeMarks(b []byte) (marks []Mark, err error) {
	if bytes.HasPrefix(b, []byte("{")) {
		marks = make([]Mark, 1)
		return marks, json.Unmarshal(b, &marks[0])
	}
	return marks, json.Unmarshal(b, &marks)
}

// Marks remembers what was purged, to recognise the values in a tier that are
// older. Any number of goroutines may use it.
type Marks struct {
	limit    int
	mu       sync.RWMutex
	size     int
	all      stamp
	keys     map[string]stamp
	hosts    map[string]stamp
	paths    map[string]stamp // of keys with a query, without it
	groups   map[string]stamp // origin, NUL, group; and NUL, group
	prefixes []prefixStamp
	newest   int64
	// floor is when the newest of the marks was made that were forgotten.
	floor int64
}

// stamp is when something was purged last, softly and not.
type stamp struct{ hard, soft int64 }

type prefixStamp struct {
	prefix string
	stamp
}

// MarksLimit bounds the bytes of the marks that a store remembers, in general.
const MarksLimit = 32 << 20

// NewMarks remembers nothing yet, and never marks of more than limit bytes. Beyond that
// it forgets the oldest, and takes for ended what is older than those.
func NewMarks(limit int) *Marks {
	return &Marks{limit: limit, keys: map[string]stamp{}, hosts: map[string]stamp{}, paths: map[string]stamp{}, groups: map[string]stamp{}}
}

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

func (s stamp) newest() int64 { return max(s.hard, s.soft) }

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

// Add remembers a mark. It reports false if that changes nothing.
func (k *Marks) Add(m Mark) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.newest = max(k.newest, m.At)
	news := false
	switch {
	case m.All:
		before := k.all
		k.all = before.with(m)
		news = k.all != before
	case m.Key != "":
		news = k.addLocked(k.keys, m.Key, m)
		if path := rule.KeyPath(m.Key); path != m.Key {
			k.addLocked(k.paths, path, m)
		}
	case m.Group != "":
		news = k.addLocked(k.groups, m.Origin+"\x00"+m.Group, m)
	case m.Host != "":
		news = k.addLocked(k.hosts, m.Host, m)
	case m.Prefix != "":
		i := slices.IndexFunc(k.prefixes, func(p prefixStamp) bool { return p.prefix == m.Prefix })
		if i < 0 {
			i = len(k.prefixes)
			k.prefixes = append(k.prefixes, prefixStamp{prefix: m.Prefix})
			k.size += markOverhead + len(m.Prefix)
		}
		before := k.prefixes[i].stamp
		k.prefixes[i].stamp = before.with(m)
		news = k.prefixes[i].stamp != before
	}
	if k.size > k.limit {
		k.forgetLocked()
	}
	return news
}

// addLocked adds m to a list of stamps by name.
func (k *Marks) addLocked(list map[string]stamp, name string, m Mark) (news bool) {
	before, known := list[name]
	if !known {
		k.size += markOverhead + len(name)
	}
	after := before.with(m)
	list[name] = after
	return after != before
}

// forgetLocked drops the marks that no entry can be older than, and if that does not help
// the older half of all.
func (k *Marks) forgetLocked() {
	if k.dropLocked(k.newest - int64(maxMarkTime)); k.size <= k.limit/2 {
		return
	}
	var times []int64
	for _, list := range []map[string]stamp{k.keys, k.hosts, k.paths, k.groups} {
		for _, s := range list {
			times = append(times, s.newest())
		}
	}
	for _, p := range k.prefixes {
		times = append(times, p.newest())
	}
	slices.Sort(times)
	k.floor = max(k.floor, times[len(times)/2])
	k.dropLocked(k.floor)
}

// dropLocked drops the marks that are not newer than that.
func (k *Marks) dropLocked(until int64) {
	for _, list := range []map[string]stamp{k.keys, k.hosts, k.paths, k.groups} {
		for name, s := range list {
			if s.newest() <= until {
				delete(list, name)
				k.size -= markOverhead + len(name)
			}
		}
	}
	k.prefixes = slices.DeleteFunc(k.prefixes, func(p prefixStamp) bool {
		if p.newest() > until {
			return false
		}
		k.size -= markOverhead + len(p.prefix)
		return true
	})
}

// Ended says whether what was received then, in ns since the epoch, under a key
// and in groups was purged since. skew is how far the clocks of those who make marks and
// of those who receive may differ, in ns.
func (k *Marks) Ended(key string, received int64, groups []string, skew int64) Ended {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if received <= k.floor+skew && k.floor > 0 {
		return EndedWholly
	}
	ended := max(k.all.ended(received, skew), k.keys[key].ended(received, skew))
	if url, _, extended := strings.Cut(key, "\n"); extended {
		// A mark for this key alone may fit too, of another route for the same
		// URL: that costs a miss.
		ended = max(ended, k.keys[url].ended(received, skew))
		if rule.KeyVaries(key) {
			// Which URLs it answers is not known here: any of its path may be one.
			path := rule.KeyPath(key)
			ended = max(ended, k.keys[path].ended(received, skew), k.paths[path].ended(received, skew))
		}
	}
	if len(k.hosts) > 0 {
		ended = max(ended, k.hosts[rule.KeyHost(key)].ended(received, skew))
	}
	for _, g := range groups {
		ended = max(ended, k.groups["\x00"+g].ended(received, skew), k.groups[rule.KeyOrigin(key)+"\x00"+g].ended(received, skew))
	}
	for _, p := range k.prefixes {
		if rule.KeyBegins(key, p.prefix) {
			ended = max(ended, p.ended(received, skew))
		}
	}
	return ended
}
