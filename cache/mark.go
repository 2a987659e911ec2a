package cache

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// mark is a purge or invalidation as those who share a tier tell each other.
type mark struct {
	Node string `json:"node"`
	At   int64  `json:"at"` // ns since the epoch
	Soft bool   `json:"soft,omitempty"`
	All  bool   `json:"all,omitempty"`
	Key  string `json:"key,omitempty"`
	// Wide, with Key: what routes' key rules (headers, cookies) added to it too.
	Wide   bool   `json:"wide,omitempty"`
	Host   string `json:"host,omitempty"`
	Prefix string `json:"prefix,omitempty"` // of keys
	Group  string `json:"group,omitempty"`
	Origin string `json:"origin,omitempty"` // with Group: only its entries
}

// newNode is a name that nobody else has.
func newNode() string { return rand.Text() }

func (m mark) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("BUG: cannot encode a mark: " + err.Error())
	}
	return b
}

func decodeMark(b []byte) (m mark, err error) {
	err = json.Unmarshal(b, &m)
	return m, err
}

// marks remembers what was purged, to recognise entries in a tier that are
// older.
type marks struct {
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

// maxMarks bounds what is remembered; beyond it everything older than now
// counts as purged, which costs misses and nothing else.
const maxMarks = 200_000

type markKind uint8

const (
	markNone markKind = iota
	markSoft
	markHard
)

func (s stamp) with(m mark) stamp {
	if m.Soft {
		s.soft = max(s.soft, m.At)
	} else {
		s.hard = max(s.hard, m.At)
	}
	return s
}

// kind says what s makes of an entry received then.
func (s stamp) kind(received, skew int64) markKind {
	switch {
	case received <= s.hard+skew && s.hard > 0:
		return markHard
	case received <= s.soft+skew && s.soft > 0:
		return markSoft
	}
	return markNone
}

func (k *marks) init() {
	k.keys, k.hosts, k.groups = map[string]stamp{}, map[string]stamp{}, map[string]stamp{}
}

func (k *marks) add(m mark) {
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
func (k *marks) forgetLocked() {
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
		k.prefixes = nil
	}
}

// ended says whether e was purged after it came in.
func (k *marks) ended(e *Entry) markKind {
	k.mu.RLock()
	defer k.mu.RUnlock()
	kind := max(k.all.kind(e.received, k.skew), k.keys[e.key].kind(e.received, k.skew))
	if url, _, narrow := strings.Cut(e.key, "\n"); narrow {
		// A mark that is not wide may fit too, of another route for the same
		// URL: that costs a miss.
		kind = max(kind, k.keys[url].kind(e.received, k.skew))
	}
	if len(k.hosts) > 0 {
		kind = max(kind, k.hosts[keyHost(e.key)].kind(e.received, k.skew))
	}
	for _, g := range e.groups {
		kind = max(kind, k.groups["\x00"+g].kind(e.received, k.skew), k.groups[keyOrigin(e.key)+"\x00"+g].kind(e.received, k.skew))
	}
	for _, p := range k.prefixes {
		if strings.HasPrefix(e.key, p.prefix) {
			kind = max(kind, p.kind(e.received, k.skew))
		}
	}
	return kind
}

// A pointer stands in a tier at the key of entries that vary: the names of the
// request fields that select among them.
const pointerMark = 0xff

func appendPointer(dst []byte, e *Entry) []byte {
	return appendStrings(append(dst, pointerMark, encodingVersion), e.vary)
}

func isPointer(b []byte) bool { return len(b) > 2 && b[0] == pointerMark && b[1] == encodingVersion }

func readPointer(b []byte) []string {
	d := decoder{b: b[2:]}
	names := d.strings()
	if d.bad || len(names) > maxVary {
		return nil
	}
	return names
}

// variantPlace is where the variant of a key lives.
func variantPlace(key string, names []string, variant []byte) []byte {
	b := append([]byte(key), 0)
	b = appendStrings(b, names)
	b = binary.AppendUvarint(b, uint64(len(variant)))
	return append(b, variant...)
}
