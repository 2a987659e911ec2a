package forward

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/config"
	"weir/internal/head"
)

// CompileRequest compiles rules for requests. config has checked the names and
// values; CompileRequest checks the variables. captures are the names that the
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

// compiler compiles the rules of one direction.
type compiler struct {
	captures []string
	request  bool
	problems config.Errors
}

func (c *compiler) compile(r config.HeaderRules) (*Rules, error) {
	var out Rules
	for _, name := range r.Remove {
		out.remove = append(out.remove, head.NewName(name))
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
		c.checkVariables(config.Key(step, name), table[name])
		list = append(list, c.rule(name, table[name]))
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

func (c *compiler) checkVariables(key string, value config.Template) {
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

func (c *compiler) problem(key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}
