package rule

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"weir/internal/field"
)

// Variation says which parameters of a query make two requests for one path different, as
// the origin has it in No-Vary-Search (draft-ietf-httpbis-no-vary-search). It is never
// changed. nil is the default: every byte of the query counts.
type Variation struct {
	// id names the variation: equal ones share it, in all processes.
	id string
	// anyOrder says that the order of parameters of different names does not count.
	anyOrder bool
	// except says that names are the only parameters that count; otherwise all others do.
	except bool
	names  []string // decoded and sorted
}

// maxVariation bounds the bytes of a No-Vary-Search that counts.
const maxVariation = 4096

// Variation is what the fields of a response say of queries, nil if the route does not want
// to know.
func (p *Policy) Variation(f Fields) *Variation {
	if !p.c.NoVarySearch {
		return nil
	}
	return ParseVariation(f.Joined("No-Vary-Search"))
}

// NoVarySearch says whether the No-Vary-Search of responses counts.
func (p *Policy) NoVarySearch() bool { return p.c.NoVarySearch }

// ParseVariation reads a No-Vary-Search field. It is nil if the field is malformed, or says
// what is the default. Both spellings of the list of what counts are known: except=("a") of
// the specification, and params, except=("a") of its first drafts, which browsers know.
func ParseVariation(list []byte) *Variation {
	if list == nil || len(list) > maxVariation {
		return nil
	}
	members := map[string]field.Item{} // the last of a name counts
	sound := field.Dictionary(list, func(key []byte, v field.Item) bool {
		members[string(key)] = v
		return true
	})
	order, ordered := members["key-order"]
	params, some := members["params"]
	except, but := members["except"]
	v := &Variation{anyOrder: order.Truth}
	switch {
	case !sound, ordered && order.Kind != field.Boolean:
		return nil
	case !some && !but:
	case some && !but && params.Kind == field.InnerList:
		sound = v.take(params)
	case some && !(params.Kind == field.Boolean && params.Truth):
		return nil
	default:
		v.except = true
		sound = !but || v.take(except)
	}
	if !sound || !v.anyOrder && !v.except && len(v.names) == 0 {
		return nil
	}
	slices.Sort(v.names)
	v.names = slices.Compact(v.names)
	v.name()
	return v
}

// take takes the names of an inner list of strings over.
func (v *Variation) take(list field.Item) (ok bool) {
	for _, m := range list.Members {
		if m.Kind != field.String {
			return false
		}
		v.names = append(v.names, string(appendFormDecoded(nil, m.Text)))
	}
	return list.Kind == field.InnerList
}

// name works out the id.
func (v *Variation) name() {
	text := []byte{'p'}
	if v.except {
		text[0] = 'e'
	}
	if v.anyOrder {
		text = append(text, 'o')
	}
	for _, n := range v.names {
		text = appendFormEncoded(append(text, '&'), []byte(n), true)
	}
	sum := sha256.Sum256(text)
	v.id = base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Same says whether both are the same variation.
func (v *Variation) Same(o *Variation) bool {
	if v == nil || o == nil {
		return v == o
	}
	return v.id == o.id
}

// Size is about how many bytes v takes in memory; 0 for nil.
func (v *Variation) Size() int {
	if v == nil {
		return 0
	}
	n := 128
	for _, s := range v.names {
		n += 16 + len(s)
	}
	return n
}

// SameVariation says whether two responses say the same of queries.
func SameVariation(a, b Fields) bool {
	x, y := a.Joined("No-Vary-Search"), b.Joined("No-Vary-Search")
	return bytes.Equal(x, y) || ParseVariation(x).Same(ParseVariation(y))
}

// counts says whether the parameter with that name, decoded, counts.
func (v *Variation) counts(name []byte) bool {
	return slices.ContainsFunc(v.names, func(n string) bool { return n == string(name) }) == v.except
}

// AppendKey adds the key that all requests share whose exact keys differ only in what does
// not count: the URL in one form, and a line that names the variation.
func (v *Variation) AppendKey(dst, exact []byte) []byte {
	url := KeyURL(exact)
	dst = v.appendURL(dst, url)
	dst = append(append(dst, variationLine...), v.id...)
	return append(dst, exact[len(url):]...)
}

// variationLine is where a key's second line begins if it is that of a variation.
const variationLine = "\n~"

// KeyVaries says whether a key is one of Variation.AppendKey.
func KeyVaries(key string) bool {
	i := strings.IndexByte(key, '\n')
	return i >= 0 && strings.HasPrefix(key[i:], variationLine)
}

// PlainKey is a key without the line that names its variation.
func PlainKey(key string) string {
	if !KeyVaries(key) {
		return key
	}
	url, rest, _ := strings.Cut(key, variationLine)
	if i := strings.IndexByte(rest, '\n'); i >= 0 {
		return url + rest[i:]
	}
	return url
}

// KeyPath is the part of a key before the query.
func KeyPath[T string | []byte](key T) T {
	for i := range len(key) {
		if key[i] == '?' || key[i] == '\n' {
			return key[:i]
		}
	}
	return key
}

// KeyBegins says whether the key may be that of a URL with this beginning, which is one of a
// key too. What a variation leaves out of a query is not known.
func KeyBegins(key, prefix string) bool {
	return strings.HasPrefix(key, prefix) ||
		strings.IndexByte(prefix, '?') >= 0 && KeyVaries(key) && KeyPath(key) == KeyPath(prefix)
}

// parameter is where a parameter stands in a list that is encoded in one form.
type parameter struct{ start, equals, end int }

// appendURL adds a URL with the parameters that count, in one form.
func (v *Variation) appendURL(dst, url []byte) []byte {
	path, query, _ := bytes.Cut(url, []byte{'?'})
	dst = append(dst, path...)
	if v.anyOrder {
		return v.appendSorted(dst, query)
	}
	separator := byte('?')
	for len(query) > 0 {
		var pair []byte
		if pair, query, _ = bytes.Cut(query, []byte{'&'}); !v.keeps(pair) {
			continue
		}
		dst, _ = appendParameter(append(dst, separator), pair)
		separator = '&'
	}
	return dst
}

// appendSorted adds the parameters of a query that count by the order of their names, those of
// one name as they stand there.
func (v *Variation) appendSorted(dst, query []byte) []byte {
	var room [512]byte
	var places [32]parameter
	text, list := room[:0], places[:0]
	for len(query) > 0 {
		var pair []byte
		if pair, query, _ = bytes.Cut(query, []byte{'&'}); !v.keeps(pair) {
			continue
		}
		p := parameter{start: len(text)}
		text, p.equals = appendParameter(text, pair)
		p.end = len(text)
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b parameter) int {
		return bytes.Compare(text[a.start:a.equals], text[b.start:b.equals])
	})
	separator := byte('?')
	for _, p := range list {
		dst = append(append(dst, separator), text[p.start:p.end]...)
		separator = '&'
	}
	return dst
}

// keeps says whether a parameter as a client wrote it counts.
func (v *Variation) keeps(pair []byte) bool {
	if len(pair) == 0 {
		return false
	}
	// Some origins end a parameter at ";" as well: what follows might count.
	if bytes.IndexByte(pair, ';') >= 0 {
		return true
	}
	var room [64]byte
	name, _, _ := bytes.Cut(pair, []byte{'='})
	return v.counts(appendFormDecoded(room[:0], name))
}

// appendParameter adds a parameter in one form, and says where its name ends.
func appendParameter(dst, pair []byte) (out []byte, equals int) {
	name, value, _ := bytes.Cut(pair, []byte{'='})
	if bytes.IndexByte(pair, ';') >= 0 {
		return append(dst, pair...), len(dst) + len(name)
	}
	var room [256]byte
	dst = appendFormEncoded(dst, appendFormDecoded(room[:0], name), true)
	equals = len(dst)
	return appendFormEncoded(append(dst, '='), appendFormDecoded(room[:0], value), false), equals
}

// appendFormDecoded adds a name or value as application/x-www-form-urlencoded has it (WHATWG
// URL). Bytes that are not UTF-8 stay as they are: to an origin that knows another encoding
// they differ.
func appendFormDecoded(dst, text []byte) []byte {
	for len(text) > 0 {
		n := bytes.IndexByte(text, '+')
		if n < 0 {
			return field.AppendDecoded(dst, text)
		}
		dst = append(field.AppendDecoded(dst, text[:n]), ' ')
		text = text[n+1:]
	}
	return dst
}

// appendFormEncoded is the reverse of appendFormDecoded in one form, close to how most clients
// write.
func appendFormEncoded(dst, text []byte, name bool) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range text {
		switch {
		case c == ' ':
			dst = append(dst, '+')
		case c < ' ' || c > '~' || strings.IndexByte("\"#%&+;<>\\", c) >= 0 || name && c == '=':
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
