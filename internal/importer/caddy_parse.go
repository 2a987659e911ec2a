package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"weir/config"
)

// caddyToken is a word, and whether it ends a line.
type caddyToken struct {
	text   string
	quoted bool
	at     Place
	last   bool // on its line
}

var caddyEnvironment = regexp.MustCompile(`\{\$(\w+)(?::([^}]*))?\}`)

// caddyTokens splits a file.
func caddyTokens(file string) (tokens []caddyToken, err error) {
	data, err := config.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text := caddyEnvironment.ReplaceAllStringFunc(string(data), func(s string) string {
		m := caddyEnvironment.FindStringSubmatch(s)
		if v, ok := os.LookupEnv(m[1]); ok {
			return v
		}
		return m[2]
	})
	line := 1
	ends := func() {
		if len(tokens) > 0 {
			tokens[len(tokens)-1].last = true
		}
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\n':
			ends()
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			line++
			i += 2
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"' || c == '`':
			t := caddyToken{quoted: true, at: Place{file, line}}
			var b strings.Builder
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' && c == '"' && i+1 < len(text) && text[i+1] == '"' {
					i++
				}
				if text[i] == '\n' {
					line++
				}
				b.WriteByte(text[i])
			}
			if i == len(text) {
				return nil, fmt.Errorf("%s: found a quote without its end", t.at)
			}
			i++
			t.text = b.String()
			tokens = append(tokens, t)
		default:
			start := i
			for i < len(text) && !strings.ContainsRune(" \t\r\n", rune(text[i])) {
				i++
			}
			tokens = append(tokens, caddyToken{text: text[start:i], at: Place{file, line}})
		}
	}
	ends()
	return tokens, nil
}

// caddySite is a site block.
type caddySite struct {
	at        Place
	addresses []string
	list      []directive
}

type caddyParser struct {
	tokens   []caddyToken
	pos      int
	snippets map[string][]directive
	depth    int
}

// parseCaddy returns the global options and the sites.
func parseCaddy(file string) (options []directive, sites []caddySite, err error) {
	p := &caddyParser{snippets: make(map[string][]directive)}
	if p.tokens, err = caddyTokens(file); err != nil {
		return nil, nil, err
	}
	if p.opens() {
		p.pos++
		if options, err = p.block(); err != nil {
			return nil, nil, err
		}
	}
	for p.pos < len(p.tokens) {
		s := caddySite{at: p.tokens[p.pos].at}
		for p.pos < len(p.tokens) && !p.opens() {
			t := p.tokens[p.pos]
			p.pos++
			for _, a := range strings.Split(t.text, ",") {
				if a != "" {
					s.addresses = append(s.addresses, a)
				}
			}
			if t.last && !strings.HasSuffix(t.text, ",") {
				break
			}
		}
		if len(s.addresses) == 0 {
			return nil, nil, fmt.Errorf("%s: found no address: want that of a site", s.at)
		}
		if p.opens() {
			p.pos++
			s.list, err = p.block()
		} else { // one site without braces
			s.list, err = p.directives(false)
		}
		if err != nil {
			return nil, nil, err
		}
		if name, ok := strings.CutPrefix(s.addresses[0], "("); ok {
			p.snippets[strings.TrimSuffix(name, ")")] = s.list
			continue
		}
		sites = append(sites, s)
	}
	return options, sites, nil
}

func (p *caddyParser) opens() bool {
	return p.pos < len(p.tokens) && p.tokens[p.pos].text == "{" && !p.tokens[p.pos].quoted
}

func (p *caddyParser) block() ([]directive, error) { return p.directives(true) }

// directives reads up to the brace that closes a block, or to the end of the file.
func (p *caddyParser) directives(inner bool) (list []directive, err error) {
	list = []directive{}
	for p.pos < len(p.tokens) {
		t := p.tokens[p.pos]
		if t.text == "}" && !t.quoted {
			if !inner {
				return nil, fmt.Errorf(`%s: found "}": want a directive`, t.at)
			}
			p.pos++
			return list, nil
		}
		d := directive{at: t.at, name: t.text}
		for !p.tokens[p.pos].last && p.pos+1 < len(p.tokens) {
			p.pos++
			if p.opens() && p.tokens[p.pos].last {
				break
			}
			d.args = append(d.args, p.tokens[p.pos].text)
		}
		opened := p.opens() && p.tokens[p.pos].at.Line >= t.at.Line && p.tokens[p.pos] != t
		p.pos++
		if opened {
			if d.block, err = p.block(); err != nil {
				return nil, err
			}
		}
		if d.name != "import" {
			list = append(list, d)
			continue
		}
		part, err := p.imported(&d)
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
	}
	if inner {
		return nil, fmt.Errorf(`found the end of the file: want "}"`)
	}
	return list, nil
}

// imported returns what an import stands for: a snippet, or files.
func (p *caddyParser) imported(d *directive) (list []directive, err error) {
	if len(d.args) == 0 {
		return nil, fmt.Errorf("%s: import: want a snippet or a file", d.at)
	}
	if snippet, ok := p.snippets[d.arg(0)]; ok {
		return withArguments(snippet, d.args[1:]), nil
	}
	if p.depth == maxIncludes {
		return nil, fmt.Errorf("%s: files import each other more than %d deep", d.at, maxIncludes)
	}
	pattern := d.arg(0)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(d.at.File), pattern)
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 && !strings.ContainsAny(pattern, "*?[") {
		return nil, fmt.Errorf("%s: import: there is no snippet or file %q", d.at, d.arg(0))
	}
	slices.Sort(files)
	for _, file := range files {
		tokens, err := caddyTokens(file)
		if err != nil {
			return nil, err
		}
		inner := &caddyParser{tokens: tokens, snippets: p.snippets, depth: p.depth + 1}
		part, err := inner.directives(false)
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
	}
	return list, nil
}

// withArguments puts the arguments of an import into a snippet.
func withArguments(list []directive, args []string) []directive {
	var pairs []string
	for i, a := range args {
		pairs = append(pairs, fmt.Sprintf("{args[%d]}", i), a, fmt.Sprintf("{args.%d}", i), a)
	}
	replace := strings.NewReplacer(pairs...)
	out := slices.Clone(list)
	for i := range out {
		out[i].args = slices.Clone(out[i].args)
		for k, a := range out[i].args {
			out[i].args[k] = replace.Replace(a)
		}
		if out[i].block != nil {
			out[i].block = withArguments(out[i].block, args)
		}
	}
	return out
}
