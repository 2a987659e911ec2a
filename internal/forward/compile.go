package forward

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/config"
	"weir/internal/head"
)

// CompileRequest compiles rules for requests. captures are the names that the
// route's path captures. Without any rule it returns nil. An error is always of
// type config.Errors, with keys below those of r.
func CompileRequest(r config.HeaderRules, captures []string) (*Rules, error) {
	c := compiler{captures: captures, request: true}
	return c.compile(r)
}

// CompileResponse compiles rules for responses, as CompileRequest does.
func CompileResponse(r config.HeaderRules, captures []string) (*Rules, error) {
	c := compiler{captures: captures}
	return c.compile(r)
}

// compiler checks the rules of one direction.
type compiler struct {
	captures []string
	request  bool
	problems config.Errors
}

func (c *compiler) compile(r config.HeaderRules) (*Rules, error) {
	var out Rules
	for _, name := range r.Remove {
		if c.mayChange("remove", "remove", name) {
			out.remove = append(out.remove, head.NewName(name))
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

// values compiles one table, sorted, so that it is applied, and its problems are
// reported, in the same order each time.
func (c *compiler) values(step string, table map[string]config.Template) []rule {
	var list []rule
	for _, name := range slices.Sorted(maps.Keys(table)) {
		key := config.Key(step, name)
		if !c.mayChange(step, key, name) {
			continue
		}
		r := c.rule(name, table[name])
		if slices.ContainsFunc(list, func(o rule) bool { return o.name.Is(r.name) }) {
			c.problem(key, "%s stands there twice", name)
		}
		c.checkValue(key, table[name])
		list = append(list, r)
	}
	return list
}

func (c *compiler) rule(name string, value config.Template) rule {
	r := rule{name: head.NewName(name), value: value}
	r.cookie = c.request && r.name.Is(head.Cookie)
	if r.cookie || value.Names() != nil {
		return r
	}
	if text := r.expand(nil, nil); len(text) > 0 {
		r.line = new(head.Lines)
		r.line.Add(r.name, text)
	}
	return r
}

func (c *compiler) checkValue(key string, value config.Template) {
	text := value.String()
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		c.problem(key, "control byte %q in the value", text[i])
	}
	for _, variable := range value.Names() {
		switch captured := slices.Contains(c.captures, variable); {
		case captured && Known(variable):
			c.problem(key, "{%s} is both a variable and a capture of the path: want another name for the capture", variable)
		case !captured && !Known(variable):
			c.problem(key, "unknown variable {%s}: want %s", variable, c.allowed())
		}
	}
}

// allowed lists what a template may use here.
func (c *compiler) allowed() string {
	all := strings.Join(Variables(), ", ")
	if len(c.captures) > 0 {
		return all + ", or a capture of the route's path: " + strings.Join(c.captures, ", ")
	}
	return all
}

// ownFields are the fields that weir writes itself.
var ownFields = head.Framing | head.SetOf(head.Connection, head.KeepAlive, head.ProxyConnection, head.TE, head.Trailer,
	head.Upgrade, head.HTTP2Settings, head.Expect)

// mayChange says whether the step may change the field, and reports why not.
func (c *compiler) mayChange(step, key, name string) bool {
	if !token(name) {
		c.problem(key, "%q is no field name", name)
		return false
	}
	switch n := head.NewName(name); {
	case n.In(ownFields):
		c.problem(key, "%s belongs to one connection or frames the message, so weir writes it itself", name)
	case n.Is(head.Host):
		c.problem(key, "every request has exactly one Host: want the route's host_header")
	case !c.request && n.Is(head.Date):
		c.problem(key, "Date says when the origin answered (RFC 9110 section 6.6.1) and cannot be changed")
	case step == "add" && n.Is(head.ContentType):
		c.problem(key, `of two Content-Type some read the first and some the last (RFC 9110 section 8.3): want it under "set"`)
	default:
		return true
	}
	return false
}

func (c *compiler) problem(key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

// token says whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
