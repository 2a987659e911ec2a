package rule

import (
	"bytes"
	"slices"

	"weir/internal/field"
	"weir/internal/head"
)

// MaxVary bounds the request fields that select among the variants of a key.
const MaxVary = 16

// varyNames reads Vary (RFC 9111 section 4.1): the names in lower case, sorted
// and without repeats or those that the route ignores. star says that no request ever matches: for "*", and for a
// member that is not the name of a field.
func (p *Policy) varyNames(f Fields) (names []string, star bool) {
	list := f.Joined("Vary")
	for {
		item, rest, more := field.Next(list)
		if !more {
			slices.Sort(names)
			return slices.Compact(names), star
		}
		list = rest
		switch {
		case len(item) == 0:
		case !field.IsToken(item), string(item) == "*":
			star = true // which fields select it is not known
		default:
			if name := string(bytes.ToLower(item)); !slices.Contains(p.ignoreVary, name) {
				names = append(names, name)
			}
		}
	}
}

// judgeVary says why no later request could be known to want the same answer.
func (p *Policy) judgeVary(f Fields) Reason {
	names, star := p.varyNames(f)
	switch {
	case star:
		return ReasonVaryStar
	case len(names) > MaxVary:
		return ReasonVaryTooMany
	case slices.ContainsFunc(names, func(n string) bool { return slices.Contains(p.perClientFields, n) }):
		return ReasonVaryOwn
	}
	return ReasonNone
}

// SelectedWithin says whether s is selected by no other request fields than old.
func (s *Stored) SelectedWithin(old *Stored) bool {
	return !slices.ContainsFunc(s.Vary, func(n string) bool { return !slices.Contains(old.Vary, n) })
}

// AppendVary adds what the request says in the named fields. An absent field
// is a value of its own; values cannot hold the separators.
func (p *Policy) AppendVary(dst []byte, names []string, h *head.Head) []byte {
	return p.appendVary(dst, names, func(string) *head.Head { return h })
}

// appendVary is AppendVary for what sees returns for each name.
func (p *Policy) appendVary(dst []byte, names []string, sees func(name string) *head.Head) []byte {
	for _, name := range names {
		start := len(dst)
		dst = append(dst, '\n')
		if name == "accept-encoding" && p.FoldsEncodings() {
			dst = AppendEncodings(dst, sees(name))
			continue
		}
		present := false
		dst, present = appendRequestField(dst, sees(name), name)
		if !present {
			dst = append(dst, 0)
			continue
		}
		switch name {
		case "accept-language":
			dst = p.languages(dst, start+1)
		case "accept-encoding":
			field.LowerAll(dst[start+1:])
		}
	}
	return dst
}

// languages puts an Accept-Language at dst[start:] into one form: language
// tags have no case and the list no whitespace, and order counts only if the
// route says so.
func (p *Policy) languages(dst []byte, start int) []byte {
	value := dst[start:]
	field.LowerAll(value)
	n := 0
	for _, c := range value {
		if c != ' ' && c != '\t' {
			value[n] = c
			n++
		}
	}
	value = value[:n]
	if p != nil && p.c.SortLanguages {
		items := bytes.Split(bytes.Clone(value), []byte{','})
		slices.SortFunc(items, bytes.Compare)
		copy(value, bytes.Join(items, []byte{','}))
	}
	return dst[:start+n]
}
