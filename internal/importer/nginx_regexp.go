package importer

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// maxExpansion bounds the paths that one regular expression stands for.
const maxExpansion = 64

// expansion is a set of texts with which what an expression fits begins.
type expansion struct {
	texts []string
	ended []string // whole texts, after which nothing follows
	open  bool     // nothing more is known of what follows
}

// regexpPaths returns the paths that an expression of a location fits, as whole paths and beginnings of
// paths. If exact is false it fits only some of them. Without any, nothing is known.
func regexpPaths(pattern string, folded bool) (paths []path, exact bool) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, false
	}
	var list []*syntax.Regexp
	if re = re.Simplify(); re.Op == syntax.OpConcat {
		list = re.Sub
	} else {
		list = []*syntax.Regexp{re}
	}
	if len(list) == 0 || list[0].Op != syntax.OpBeginText {
		return nil, false
	}
	e := expansion{texts: []string{""}}
	for _, part := range list[1:] {
		e.follow(part)
	}
	exact = !e.open
	for i, text := range slices.Concat(e.texts, e.ended) {
		if len(text) < 2 || text[0] != '/' || folded && strings.ToUpper(text) != strings.ToLower(text) {
			return nil, false
		}
		paths = append(paths, path{text, i >= len(e.texts)})
	}
	return paths, exact
}

// follow extends the texts by what a part of the expression fits.
func (e *expansion) follow(re *syntax.Regexp) {
	if e.open {
		return
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			e.open = true
			return
		}
		e.product([]string{string(re.Rune)})
	case syntax.OpCharClass:
		var all []string
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1] && len(all) <= maxExpansion; r++ {
				all = append(all, string(r))
			}
		}
		e.product(all)
	case syntax.OpCapture:
		e.follow(re.Sub[0])
	case syntax.OpConcat:
		for _, part := range re.Sub {
			e.follow(part)
		}
	case syntax.OpQuest:
		e.alternatives([]*syntax.Regexp{re.Sub[0], {Op: syntax.OpEmptyMatch}})
	case syntax.OpAlternate:
		e.alternatives(re.Sub)
	case syntax.OpEndText, syntax.OpEndLine:
		e.texts, e.ended = nil, append(e.ended, e.texts...)
	default:
		e.open = true
	}
}

// product extends each text by each of the ends.
func (e *expansion) product(ends []string) {
	if len(ends)*len(e.texts) > maxExpansion {
		e.open = true
		return
	}
	var all []string
	for _, text := range e.texts {
		for _, end := range ends {
			all = append(all, text+end)
		}
	}
	e.texts = all
}

// alternatives extends the texts by one of several parts.
func (e *expansion) alternatives(parts []*syntax.Regexp) {
	all := expansion{ended: e.ended}
	for _, part := range parts {
		one := expansion{texts: e.texts}
		one.follow(part)
		all.texts = append(all.texts, one.texts...)
		all.ended = append(all.ended, one.ended...)
		all.open = all.open || one.open
	}
	if len(all.texts)+len(all.ended) > maxExpansion {
		e.open = true
		return
	}
	*e = all
}
