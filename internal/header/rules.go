package header

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/internal/wire"
)

// RequestRules are the compiled rules for one route's requests. nil are no
// rules. They are never changed and may be used by any number of goroutines.
type RequestRules struct{ rules }

// ResponseRules are the compiled rules for one route's responses. nil are no
// rules. They are never changed and may be used by any number of goroutines.
type ResponseRules struct{ rules }

// rules are the steps of both, in their order.
type rules struct {
	remove []string
	set    []rule
	add    []rule
}

// rule is a field with its value.
type rule struct {
	name  fieldName
	value config.Template
}

// CompileRequest compiles rules for requests. captures are the names that the
// route's path captures. Without any rule it returns nil. An error is always of
// type config.Errors, with keys below those of r.
func CompileRequest(r config.HeaderRules, captures []string) (*RequestRules, error) {
	c := compiler{captures: captures, single: singleInRequest[:], refused: func(name, step string) string {
		if name == fasthttp.HeaderHost && step != "set" {
			return `every request has exactly one Host: want it under "set", or the route's host_header`
		}
		return ""
	}}
	compiled, err := c.compile(r)
	if compiled == nil {
		return nil, err
	}
	return &RequestRules{*compiled}, nil
}

// CompileResponse compiles rules for responses, as CompileRequest does.
func CompileResponse(r config.HeaderRules, captures []string) (*ResponseRules, error) {
	c := compiler{captures: captures, single: singleInResponse[:], refused: func(name, _ string) string {
		if name == fasthttp.HeaderDate {
			return "Date says when the origin answered (RFC 9110 section 6.6.1) and cannot be changed"
		}
		return ""
	}}
	compiled, err := c.compile(r)
	if compiled == nil {
		return nil, err
	}
	return &ResponseRules{*compiled}, nil
}

// Apply removes, sets and adds fields, in this order. lookup returns the value
// of a variable; control bytes in it become spaces. A field whose value turns
// out empty is not sent: "set" removes it, "add" does nothing.
func (r *RequestRules) Apply(h *fasthttp.RequestHeader, lookup func(name string) []byte) {
	if r == nil {
		return
	}
	for _, name := range r.remove {
		r.removeFrom(h, name)
	}
	var buf [512]byte
	for i := range r.set {
		name := r.set[i].name
		value := r.set[i].expand(buf[:0], lookup)
		switch {
		case len(value) == 0 && name.text != fasthttp.HeaderHost:
			r.removeFrom(h, name.text)
		case name.text == fasthttp.HeaderCookie:
			removeRequest(h, name.text)
			addCookie(h, value)
		default:
			setRequest(h, name, value)
		}
	}
	for i := range r.add {
		name := r.add[i].name
		value := r.add[i].expand(buf[:0], lookup)
		switch {
		case len(value) == 0:
		case name.text != fasthttp.HeaderCookie:
			h.AddBytesKV(name.key, value)
		default:
			// A request has one Cookie line (RFC 6265 section 5.4).
			if old := h.Peek(name.text); len(old) > 0 {
				joined := append(append(append([]byte(nil), old...), "; "...), value...)
				removeRequest(h, name.text)
				addCookie(h, joined)
			} else {
				addCookie(h, value)
			}
		}
	}
}

func (r *RequestRules) removeFrom(h *fasthttp.RequestHeader, name string) {
	if name == fasthttp.HeaderContentType {
		h.SetNoDefaultContentType(true)
	}
	removeRequest(h, name)
}

// addCookie adds a Cookie line as it is; with special fields on, fasthttp would
// take it apart.
func addCookie(h *fasthttp.RequestHeader, value []byte) {
	special := !h.DisableSpecialHeader()
	h.AddBytesV(fasthttp.HeaderCookie, value)
	if special {
		h.EnableSpecialHeader()
	}
}

// Apply removes, sets and adds fields, in this order. lookup returns the value
// of a variable; control bytes in it become spaces. A field whose value turns
// out empty is not sent: "set" removes it, "add" does nothing.
func (r *ResponseRules) Apply(h *fasthttp.ResponseHeader, lookup func(name string) []byte) {
	if r == nil {
		return
	}
	for _, name := range r.remove {
		r.removeFrom(h, name)
	}
	var buf [512]byte
	for i := range r.set {
		name := r.set[i].name
		if value := r.set[i].expand(buf[:0], lookup); len(value) > 0 {
			setResponse(h, name, value)
		} else {
			r.removeFrom(h, name.text)
		}
	}
	for i := range r.add {
		if value := r.add[i].expand(buf[:0], lookup); len(value) > 0 {
			h.AddBytesKV(r.add[i].name.key, value)
		}
	}
}

func (r *ResponseRules) removeFrom(h *fasthttp.ResponseHeader, name string) {
	if name == fasthttp.HeaderContentType {
		h.SetNoDefaultContentType(true)
	}
	removeResponse(h, name)
}

// expand appends the value to dst, without control bytes.
func (r *rule) expand(dst []byte, lookup func(name string) []byte) []byte {
	dst = r.value.Append(dst, lookup)
	for i, b := range dst {
		if b < ' ' && b != '\t' || b == 0x7f {
			dst[i] = ' '
		}
	}
	return trim(dst)
}

// Fields that fasthttp holds once, so that another line cannot be added.
var (
	singleInRequest  = [...]string{fasthttp.HeaderContentType, fasthttp.HeaderUserAgent}
	singleInResponse = [...]string{fasthttp.HeaderContentType, fasthttp.HeaderContentEncoding, fasthttp.HeaderServer}
)

// framing are the fields that weir writes itself.
const framing = wire.FieldConnection | wire.FieldKeepAlive | wire.FieldProxyConnection | wire.FieldTE |
	wire.FieldTrailer | wire.FieldTransferEncoding | wire.FieldUpgrade | wire.FieldExpect | wire.FieldContentLength

// compiler checks the rules of one direction.
type compiler struct {
	captures []string
	single   []string
	refused  func(name, step string) string
	problems config.Errors
}

func (c *compiler) compile(r config.HeaderRules) (*rules, error) {
	var out rules
	for _, name := range r.Remove {
		if name, ok := c.name("remove", "remove", name); ok {
			out.remove = append(out.remove, name)
		}
	}
	out.set = c.values("set", r.Set)
	out.add = c.values("add", r.Add)
	if c.problems != nil {
		return nil, c.problems
	}
	if out.remove == nil && out.set == nil && out.add == nil {
		return nil, nil
	}
	return &out, nil
}

// values compiles one table, sorted, so that it is applied in the same order
// each time.
func (c *compiler) values(step string, table map[string]config.Template) []rule {
	var list []rule
	for name, value := range table {
		key := config.Key(step, name)
		field, ok := c.name(step, key, name)
		if !ok {
			continue
		}
		if step == "add" && slices.Contains(c.single, field) {
			c.problem(key, "%s can stand there only once: want it under \"set\"", field)
		}
		if slices.ContainsFunc(list, func(r rule) bool { return r.name.text == field }) {
			c.problem(key, "%s stands there twice", field)
		}
		for i := range len(value.String()) {
			if b := value.String()[i]; b < ' ' && b != '\t' || b == 0x7f {
				c.problem(key, "control byte %q in the value", b)
				break
			}
		}
		for _, variable := range value.Names() {
			switch captured := slices.Contains(c.captures, variable); {
			case captured && Known(variable):
				c.problem(key, "{%s} is both a variable and a capture of the path: want another name for the capture", variable)
			case !captured && !Known(variable):
				c.problem(key, "unknown variable {%s}: want %s", variable, c.allowed())
			}
		}
		list = append(list, rule{name: newFieldName(field), value: value})
	}
	slices.SortFunc(list, func(a, b rule) int { return strings.Compare(a.name.text, b.name.text) })
	slices.SortFunc(c.problems, func(a, b config.Problem) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// allowed lists what a template may use here.
func (c *compiler) allowed() string {
	all := strings.Join(Variables(), ", ")
	if len(c.captures) > 0 {
		return all + ", or a capture of the route's path: " + strings.Join(c.captures, ", ")
	}
	return all
}

// name checks a field's name and returns it in fasthttp's spelling.
func (c *compiler) name(step, key, name string) (string, bool) {
	if !token(name) {
		c.problem(key, "%q is no field name", name)
		return "", false
	}
	field := string(fasthttp.AppendNormalizedHeaderKey(nil, name))
	if wire.Lookup([]byte(name))&framing != 0 {
		c.problem(key, "%s belongs to one connection or frames the message, so weir writes it itself", field)
		return "", false
	}
	if why := c.refused(field, step); why != "" {
		c.problem(key, "%s", why)
		return "", false
	}
	return field, true
}

func (c *compiler) problem(key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

// special says whether fasthttp keeps the field apart from the others.
func special(name string) bool {
	field := string(fasthttp.AppendNormalizedHeaderKey(nil, name))
	return slices.Contains(singleInRequest[:], field) || slices.Contains(singleInResponse[:], field)
}

// token says whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') &&
			strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
