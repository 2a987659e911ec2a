package importer

import (
	"fmt"
	"slices"
	"strings"
)

// traefikRule translates a rule into the matches of which one must fit. beyond is why the rule asks for more than
// they say; they fit all its requests then, and others.
func traefikRule(text string) (matches []match, beyond error) {
	p := &ruleParser{text: text}
	matches, err := p.or()
	if err == nil && p.peek() != 0 {
		err = fmt.Errorf("found %q: want the end of the rule", p.text[p.pos:])
	}
	if err != nil {
		return []match{{}}, err
	}
	return matches, p.beyond
}

type ruleParser struct {
	text   string
	pos    int
	beyond error // why the rule asks for more than its matches
}

// peek returns the next byte that is not a space; 0 at the end.
func (p *ruleParser) peek() byte {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *ruleParser) takes(s string) bool {
	p.peek()
	if strings.HasPrefix(p.text[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

func (p *ruleParser) or() ([]match, error) {
	all, err := p.and()
	for err == nil && p.takes("||") {
		var more []match
		more, err = p.and()
		all = append(all, more...)
	}
	return all, err
}

func (p *ruleParser) and() ([]match, error) {
	all, err := p.one()
	for err == nil && p.takes("&&") {
		var more []match
		if more, err = p.one(); err != nil {
			break
		}
		all = both(all, more)
	}
	return all, err
}

func (p *ruleParser) one() ([]match, error) {
	switch p.peek() {
	case '!':
		p.pos++
		p.beyond = fmt.Errorf("weir has no negation")
		_, err := p.one()
		return []match{{}}, err
	case '(':
		p.pos++
		all, err := p.or()
		if err == nil && !p.takes(")") {
			err = fmt.Errorf(`found no ")"`)
		}
		return all, err
	}
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] != '(' {
		p.pos++
	}
	name := strings.TrimSpace(p.text[start:p.pos])
	if !p.takes("(") {
		return nil, fmt.Errorf("found %q: want a matcher", name)
	}
	var args []string
	for !p.takes(")") {
		quote := p.peek()
		if quote != '`' && quote != '"' && quote != '\'' {
			return nil, fmt.Errorf("found %q: want a quoted text", p.text[p.pos:])
		}
		end := strings.IndexByte(p.text[p.pos+1:], quote)
		if end < 0 {
			return nil, fmt.Errorf("found a quote without its end")
		}
		args = append(args, p.text[p.pos+1:p.pos+1+end])
		p.pos += end + 2
		p.takes(",")
	}
	all, err := matcher(name, args)
	if err != nil {
		p.beyond, all = err, []match{{}}
	}
	return all, nil
}

// matcher translates one function of a rule.
func matcher(name string, args []string) (all []match, err error) {
	pairs := map[string]string{}
	if len(args) == 2 {
		pairs[args[0]] = args[1]
	}
	switch name {
	case "Header", "Headers":
		if len(args) == 2 {
			return []match{{header: pairs}}, nil
		}
	case "Query":
		if len(args) == 2 {
			return []match{{query: pairs}}, nil
		}
		for _, a := range args {
			k, v, _ := strings.Cut(a, "=")
			all = append(all, match{query: map[string]string{k: v}})
		}
	case "Method":
		return []match{{methods: args}}, nil
	}
	for _, a := range args {
		switch name {
		case "Host":
			all = append(all, match{host: strings.ToLower(a)})
		case "Path":
			all = append(all, match{path: path{a, true}})
		case "PathPrefix":
			all = append(all, match{path: path{a, false}})
		}
	}
	if all == nil || slices.ContainsFunc(all, func(m match) bool { return strings.ContainsAny(m.path.text, "{*") || strings.Contains(m.host, "{") }) {
		return nil, fmt.Errorf("weir has nothing like %s(%s)", name, strings.Join(args, ", "))
	}
	return all, nil
}
