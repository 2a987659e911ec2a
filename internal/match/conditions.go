package match

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"weir/config"
	"weir/internal/field"
	"weir/internal/head"
)

// conditions are what a route asks for besides host and path. nil are none.
type conditions struct {
	// methods is empty for any.
	methods []string
	headers []pair
	queries []pair
}

// pair is a name with the value it must have; any says that every value fits.
type pair struct {
	name, value string
	any         bool
}

// newConditions compiles the conditions of one route and calls fault for each
// that is wrong.
func newConditions(r *config.Route, fault func(key, format string, args ...any)) *conditions {
	c := &conditions{}
	for _, m := range r.Method {
		switch {
		case !field.IsToken(m):
			fault("method", "method %q: want a method such as \"GET\"", m)
		case strings.ToUpper(m) != m && knownMethod(strings.ToUpper(m)):
			fault("method", "method %q can never match: methods have upper and lower case, want %q", m, strings.ToUpper(m))
		case slices.Contains(c.methods, m):
			fault("method", "method %q stands there twice", m)
		default:
			c.methods = append(c.methods, m)
		}
	}
	// A HEAD asks for what a GET would answer (RFC 9110 section 9.3.2).
	if slices.Contains(c.methods, "GET") && !slices.Contains(c.methods, "HEAD") {
		c.methods = append(c.methods, "HEAD")
	}
	for name, value := range r.Header {
		if !field.IsToken(name) {
			fault("header."+name, "%q is no field name", name)
		} else if strings.ContainsAny(value, "\r\n\x00") || strings.Trim(value, " \t") != value {
			fault("header."+name, "value %q can never match: want no line ends and no space around it", value)
		}
		c.headers = append(c.headers, pair{name: name, value: value, any: value == "*"})
	}
	for name, value := range r.Query {
		if name == "" {
			fault("query", "want the name of a parameter, found an empty one")
		}
		c.queries = append(c.queries, pair{name: name, value: value, any: value == "*"})
	}
	// Maps have no order; the faults and the checks shall have one.
	byName := func(a, b pair) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(c.headers, byName)
	slices.SortFunc(c.queries, byName)
	for i := 1; i < len(c.headers); i++ {
		if strings.EqualFold(c.headers[i-1].name, c.headers[i].name) {
			fault("header."+c.headers[i].name, "field %q stands there twice", c.headers[i].name)
		}
	}
	if c.count() == 0 {
		return nil
	}
	return c
}

// count is the weight of c among routes with the same host and path.
func (c *conditions) count() int {
	if c == nil {
		return 0
	}
	n := len(c.headers) + len(c.queries)
	if len(c.methods) > 0 {
		n++
	}
	return n
}

// fit says whether r has what c asks for.
func (c *conditions) fit(r *Request) bool {
	if c == nil {
		return true
	}
	if len(c.methods) > 0 && !contains(c.methods, r.Method) {
		return false
	}
	for i := range c.queries {
		if !c.queries[i].inQuery(r.Query) {
			return false
		}
	}
	for i := range c.headers {
		if !c.headers[i].inHeader(r) {
			return false
		}
	}
	return true
}

func contains(list []string, b []byte) bool {
	for _, s := range list {
		if s == string(b) {
			return true
		}
	}
	return false
}

// inHeader says whether one of the field's lines has the value.
func (p *pair) inHeader(r *Request) bool {
	if r.Header == nil {
		return false
	}
	for v := range r.Header.Lines(head.NewName(p.name)) {
		if p.any || p.value == string(v) {
			return true
		}
	}
	return false
}

// inQuery says whether one of the query's parameters has the name and the value.
func (p *pair) inQuery(query []byte) bool {
	for name, value := range field.Parameters(query) {
		if equalForm(name, p.name) && (p.any || equalForm(value, p.value)) {
			return true
		}
	}
	return false
}

// equalForm says whether encoded means want, as HTML forms encode: "%41" is "A"
// and "+" a space. A broken escape means itself.
func equalForm(encoded []byte, want string) bool {
	w := 0
	for i := 0; i < len(encoded); i++ {
		b := encoded[i]
		switch {
		case b == '+':
			b = ' '
		case b == '%' && i+2 < len(encoded) && field.Unhex(encoded[i+1]) < 16 && field.Unhex(encoded[i+2]) < 16:
			b = field.Unhex(encoded[i+1])<<4 | field.Unhex(encoded[i+2])
			i += 2
		}
		if w == len(want) || want[w] != b {
			return false
		}
		w++
	}
	return w == len(want)
}

// implies says whether every request that fits b fits c too, for two that ask
// for the same fields and parameters.
func (c *conditions) implies(b *conditions) bool {
	if c == nil || b == nil {
		return c == nil
	}
	if len(c.methods) > 0 {
		if len(b.methods) == 0 {
			return false
		}
		for _, m := range b.methods {
			if !slices.Contains(c.methods, m) {
				return false
			}
		}
	}
	covers := func(wide, narrow []pair, equal func(a, b string) bool) bool {
		for i := range wide {
			found := false
			for j := range narrow {
				if equal(wide[i].name, narrow[j].name) && (wide[i].any || !narrow[j].any && wide[i].value == narrow[j].value) {
					found = true
					break
				}
			}
			if !found {
				return false
			}
		}
		return true
	}
	return covers(c.headers, b.headers, strings.EqualFold) &&
		covers(c.queries, b.queries, func(a, b string) bool { return a == b })
}

// key is a text that is equal for conditions that ask for the same things but
// for their methods. Values whose bit is set in anyMask (headers first) are
// taken as "any".
func (c *conditions) key(anyMask uint) string {
	if c == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%t", len(c.methods) > 0)
	for i, p := range c.headers {
		b.WriteString(" h" + strings.ToLower(p.name) + p.valueKey(anyMask>>i&1 == 1))
	}
	for i, p := range c.queries {
		fmt.Fprintf(&b, " q%q%s", p.name, p.valueKey(anyMask>>(i+len(c.headers))&1 == 1))
	}
	return b.String()
}

func (p *pair) valueKey(any bool) string {
	if any || p.any {
		return "*"
	}
	return fmt.Sprintf("=%q", p.value)
}

// maxWider bounds the pairs for which wider tries both the value and any.
const maxWider = 8

// wider returns the keys of all conditions that c's requests fit and that weigh
// as much as c, methods aside.
func (c *conditions) wider() iter.Seq[string] {
	return func(yield func(string) bool) {
		pairs := 0
		if c != nil {
			pairs = min(len(c.headers)+len(c.queries), maxWider)
		}
		for mask := range uint(1) << pairs {
			if !yield(c.key(mask)) {
				return
			}
		}
	}
}

func knownMethod(s string) bool {
	switch s {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY":
		return true
	}
	return false
}
