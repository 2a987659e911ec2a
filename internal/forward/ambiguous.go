package forward

import (
	"bytes"
	"slices"
	"strings"

	"weir/config"
	"weir/internal/head"
)

// guarded are the fields that weir writes, judges or ends, so that targets rely on them.
var guarded = forwardingFields | certificateFields | hopByHop | head.Framing | head.SetOf(head.Host, head.Trailer, head.Expect, head.Via)

// Ambiguous finds request fields that many targets (CGI, WSGI, Rack, PHP) take for others,
// because their names only differ in "_" for "-": a client could forge with them what weir
// removes or writes. It is never changed and may be used by any number of goroutines.
type Ambiguous struct {
	all   bool
	names [][]byte // with "-"
	// spelled says that the configuration has "_" in one of names, which fields with "-" look
	// like, too.
	spelled bool
}

// NewAmbiguous compiles what a route's requests are to be freed of, besides names that
// weir always guards: the request id, and the fields that the route's rules set or remove; or
// every name with "_", if c says so.
func NewAmbiguous(c config.Forwarding, r config.HeaderRules) *Ambiguous {
	a := &Ambiguous{all: c.DropUnderscores}
	guard := func(name string) {
		if name != "" {
			a.names = append(a.names, withHyphens(nil, []byte(name)))
			a.spelled = a.spelled || strings.Contains(name, "_")
		}
	}
	guard(c.RequestID)
	for name := range r.Set {
		guard(name)
	}
	for _, name := range r.Remove {
		guard(name)
	}
	return a
}

// Clean removes the fields. own is one more name to guard; it may be zero. It comes before
// the rules and the forwarding fields are applied, which write their own names anew.
func (a *Ambiguous) Clean(h *head.Head, own head.Name) {
	if !a.spelled && !h.Underscored() {
		return
	}
	var buf [128]byte
	h.DelFunc(func(f head.Field) bool {
		name := withHyphens(buf[:0], f.Name)
		same := func(other []byte) bool { return compareFold(name, other) == 0 }
		if bytes.IndexByte(f.Name, '_') < 0 {
			return a.spelled && slices.ContainsFunc(a.names, same)
		}
		return a.all || head.Lookup(name)&guarded != 0 || slices.ContainsFunc(a.names, same) ||
			!own.IsZero() && same(withHyphens(nil, []byte(own.String())))
	})
}

// CleanTrailer removes from a trailer section what may not stand there (head.MayTrail), and what the configuration
// guards: there is no rule that writes that anew, and many targets take a field for the same wherever it stands.
func (a *Ambiguous) CleanTrailer(h *head.Head) {
	var buf [128]byte
	h.DelFunc(func(f head.Field) bool {
		name := withHyphens(buf[:0], f.Name)
		return !head.MayTrail(f.Name) || a.all && bytes.IndexByte(f.Name, '_') >= 0 ||
			slices.ContainsFunc(a.names, func(other []byte) bool { return compareFold(name, other) == 0 })
	})
}

// withHyphens appends name with "-" for "_".
func withHyphens(dst, name []byte) []byte {
	for _, c := range name {
		if c == '_' {
			c = '-'
		}
		dst = append(dst, c)
	}
	return dst
}
