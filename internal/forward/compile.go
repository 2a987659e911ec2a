package forward

import (
	"maps"
	"slices"

	"weir/config"
	"weir/internal/head"
)

// CompileRequest compiles rules for requests. config has checked the names and
// values; CompileRequest checks the variables. captures are the names that the
// route's path captures. Without any rule it returns nil. An error is always of
// type config.Errors, with keys below those of r.
func CompileRequest(r config.HeaderRules, captures []string) (*Rules, error) {
	return compile(r, captures, true)
}

// CompileResponse compiles rules for responses, as CompileRequest does.
func CompileResponse(r config.HeaderRules, captures []string) (*Rules, error) {
	return compile(r, captures, false)
}

func compile(r config.HeaderRules, captures []string, request bool) (*Rules, error) {
	if problems := inRules(captures).checkRules(&r); problems != nil {
		return nil, problems
	}
	var out Rules
	for _, name := range r.Remove {
		out.remove = append(out.remove, head.NewName(name))
	}
	out.set = compileTable(r.Set, request)
	out.add = compileTable(r.Add, request)
	if out.remove == nil && out.set == nil && out.add == nil {
		return nil, nil
	}
	return &out, nil
}

// checkRules reports names in the values of rules that have no value there, in the same
// order each time.
func (p place) checkRules(r *config.HeaderRules) (problems config.Errors) {
	for _, step := range []struct {
		key   string
		table map[string]config.Template
	}{{"set", r.Set}, {"add", r.Add}} {
		for _, name := range slices.Sorted(maps.Keys(step.table)) {
			problems = append(problems, p.check(config.Key(step.key, name), step.table[name])...)
		}
	}
	return problems
}

// compileTable compiles one table, sorted, so that it is applied in the same order each
// time.
func compileTable(table map[string]config.Template, request bool) []rule {
	var list []rule
	for _, name := range slices.Sorted(maps.Keys(table)) {
		list = append(list, newRule(name, table[name], request))
	}
	return list
}

func newRule(name string, value config.Template, request bool) rule {
	r := rule{name: head.NewName(name), value: value}
	r.cookie = request && r.name.Is(head.Cookie)
	if r.cookie || value.Names() != nil {
		return r
	}
	if text := r.expand(nil, nil); len(text) > 0 {
		r.line = new(head.Lines)
		r.line.Add(r.name, text)
	}
	return r
}
