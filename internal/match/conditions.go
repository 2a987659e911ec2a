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

// conditions are what a route asks for besides host and path. nil asks for nothing.
type conditions struct {
	// methods is empty for any.
	methods []string
	// listeners is empty for any, scheme too.
	listeners []string
	scheme    string
	headers   []config.Condition // sorted by name, as queries are
	queries   []config.Condition
	client    *config.ClientPattern // nil for any
	// names are those of headers, in the form that a Head looks up.
	names []head.Name
}

func newConditions(p *config.Pattern) *conditions {
	c := &conditions{methods: p.Methods, listeners: p.Listeners, scheme: p.Scheme, headers: p.Headers, queries: p.Queries, client: p.Client}
	for _, h := range p.Headers {
		c.names = append(c.names, head.NewName(h.Name))
	}
	// A HEAD asks for what a GET would answer (RFC 9110 section 9.3.2).
	if slices.Contains(c.methods, "GET") && !slices.Contains(c.methods, "HEAD") {
		c.methods = append(c.methods, "HEAD")
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
	n := len(c.headers) + len(c.queries) + len(c.client.Keys())
	for _, asked := range []bool{len(c.methods) > 0, len(c.listeners) > 0, c.scheme != ""} {
		if asked {
			n++
		}
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
	if len(c.listeners) > 0 && !slices.Contains(c.listeners, r.Listener) {
		return false
	}
	if c.scheme != "" && c.scheme != string(r.Scheme) {
		return false
	}
	if c.client != nil && !c.client.Fits(r.Client) {
		return false
	}
	for i := range c.queries {
		if !inQuery(&c.queries[i], r.Query) {
			return false
		}
	}
	for i := range c.headers {
		if !inHeader(&c.headers[i], r.Header, c.names[i]) {
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

// inHeader says whether h has the field of that name with the value on one of its lines.
func inHeader(c *config.Condition, h *head.Head, name head.Name) bool {
	if h == nil {
		return false
	}
	for v := range h.Lines(name) {
		if c.Any || c.Value == string(v) {
			return true
		}
	}
	return false
}

// inQuery says whether one of the query's parameters has the name and the value.
func inQuery(c *config.Condition, query []byte) bool {
	for name, value := range field.Parameters(query) {
		if equalForm(name, c.Name) && (c.Any || equalForm(value, c.Value)) {
			return true
		}
	}
	return false
}

// equalForm says whether encoded, decoded as HTML forms are, is want: "%41" is "A"
// and "+" is a space. A broken escape stays as it is.
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
	if !includes(c.methods, b.methods) || !includes(c.listeners, b.listeners) || c.scheme != "" && c.scheme != b.scheme || !c.client.Implies(b.client) {
		return false
	}
	covers := func(wide, narrow []config.Condition, equal func(a, b string) bool) bool {
		for i := range wide {
			found := false
			for j := range narrow {
				if equal(wide[i].Name, narrow[j].Name) && (wide[i].Any || !narrow[j].Any && wide[i].Value == narrow[j].Value) {
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

// includes says whether wide, of which an empty list stands for everything, has all of
// narrow.
func includes(wide, narrow []string) bool {
	if len(wide) == 0 {
		return true
	}
	return len(narrow) > 0 && !slices.ContainsFunc(narrow, func(s string) bool { return !slices.Contains(wide, s) })
}

// key is a text that is equal for conditions that differ only in their methods,
// listeners and scheme, and in the values of the client's certificate.
// Values whose bit is set in anyMask (headers first) count as "any".
func (c *conditions) key(anyMask uint) string {
	if c == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%t %t %t %v", len(c.methods) > 0, len(c.listeners) > 0, c.scheme != "", c.client.Keys())
	for i, p := range c.headers {
		b.WriteString(" h" + strings.ToLower(p.Name) + valueKey(p, anyMask>>i&1 == 1))
	}
	for i, p := range c.queries {
		fmt.Fprintf(&b, " q%q%s", p.Name, valueKey(p, anyMask>>(i+len(c.headers))&1 == 1))
	}
	return b.String()
}

func valueKey(c config.Condition, any bool) string {
	if any || c.Any {
		return "*"
	}
	return fmt.Sprintf("=%q", c.Value)
}

// maxWider bounds the fields and parameters for which wider tries both the value and any.
const maxWider = 8

// wider returns the keys of all conditions that c's requests fit and that have the
// same fields and parameters as c; methods, listeners, scheme and the values of the client's certificate are ignored.
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
