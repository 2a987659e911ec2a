package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"weir/config"
)

// directive is one of nginx, with what stands in its braces.
type directive struct {
	at    Place
	name  string
	args  []string
	block []directive // nil without braces, and with a program in them
}

func (d *directive) arg(i int) string {
	if i < len(d.args) {
		return d.args[i]
	}
	return ""
}

// nginxArguments are directives that have an argument.
var nginxArguments = strings.Fields("include listen server_name server try_files proxy_cache_valid proxy_pass return rewrite root alias add_header proxy_set_header")

// maxIncludes bounds how deep files include each other.
const maxIncludes = 20

// parseNginx reads a file and what it includes; names of includes are relative to folder.
func parseNginx(path, folder string, depth int) ([]directive, error) {
	text, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &nginxParser{text: string(text), at: Place{path, 1}, folder: folder, depth: depth}
	return p.block(false)
}

type nginxParser struct {
	text   string
	pos    int
	at     Place
	folder string
	depth  int
}

func (p *nginxParser) errorf(format string, a ...any) error {
	return fmt.Errorf("%s: %s", p.at, fmt.Sprintf(format, a...))
}

// next returns the next word; special says that it is one of "{", "}" and ";" without quotes. An
// empty special word is the end of the file.
func (p *nginxParser) next() (word string, special bool, err error) {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; c {
		case '\n':
			p.at.Line++
			p.pos++
		case ' ', '\t', '\r':
			p.pos++
		case '#':
			for p.pos < len(p.text) && p.text[p.pos] != '\n' {
				p.pos++
			}
		case '{', '}', ';':
			p.pos++
			return string(c), true, nil
		case '"', '\'':
			return p.quoted(c)
		default:
			return p.bare(), false, nil
		}
	}
	return "", true, nil
}

func (p *nginxParser) bare() string {
	start := p.pos
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '\\' && p.pos+1 < len(p.text):
			p.pos += 2
		case c == '$' && strings.HasPrefix(p.text[p.pos:], "${"):
			p.pos += 2
			for p.pos < len(p.text) && p.text[p.pos] != '}' {
				p.pos++
			}
		case strings.IndexByte(" \t\r\n;{", c) >= 0:
			return p.text[start:p.pos]
		default:
			p.pos++
		}
	}
	p.pos = min(p.pos, len(p.text))
	return p.text[start:p.pos]
}

func (p *nginxParser) quoted(quote byte) (string, bool, error) {
	var b strings.Builder
	from := p.at
	for p.pos++; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; {
		case c == quote:
			p.pos++
			return b.String(), false, nil
		case c == '\\' && p.pos+1 < len(p.text):
			p.pos++
			switch e := p.text[p.pos]; e {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			case quote, '\\':
				b.WriteByte(e)
			default:
				b.WriteByte('\\')
				b.WriteByte(e)
			}
		default:
			if c == '\n' {
				p.at.Line++
			}
			b.WriteByte(c)
		}
	}
	p.at = from
	return "", false, p.errorf("found a quote without its end")
}

// block reads directives up to a brace, or up to the end of the file.
func (p *nginxParser) block(inner bool) (list []directive, err error) {
	for {
		word, special, err := p.next()
		switch {
		case err != nil:
			return nil, err
		case special && word == "" && inner:
			return nil, p.errorf(`found the end of the file: want "}"`)
		case special && word == "", special && word == "}" && inner:
			return list, nil
		case special && word == ";":
			continue
		case special:
			return nil, p.errorf("found %q: want a directive", word)
		}
		d := directive{at: p.at, name: word}
		if err := p.rest(&d); err != nil {
			return nil, err
		}
		if d.name != "include" {
			list = append(list, d)
			continue
		}
		included, err := p.include(&d)
		if err != nil {
			return nil, err
		}
		list = append(list, included...)
	}
}

// rest reads the arguments of a directive, and its block.
func (p *nginxParser) rest(d *directive) error {
	for {
		word, special, err := p.next()
		switch {
		case err != nil:
			return err
		case !special:
			d.args = append(d.args, word)
		case word == ";" && len(d.args) == 0 && slices.Contains(nginxArguments, d.name):
			return p.errorf("found %q without an argument", d.name)
		case word == ";":
			return nil
		case word == "{" && strings.HasSuffix(d.name, "_by_lua_block"):
			return p.skipCode()
		case word == "{":
			d.block, err = p.block(true)
			if d.block == nil {
				d.block = []directive{}
			}
			return err
		default:
			return p.errorf("found %q in directive %q: want \";\"", word, d.name)
		}
	}
}

// skipCode reads up to the brace that ends a program.
func (p *nginxParser) skipCode() error {
	for depth := 1; p.pos < len(p.text); p.pos++ {
		switch p.text[p.pos] {
		case '\n':
			p.at.Line++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				p.pos++
				return nil
			}
		}
	}
	return p.errorf(`found the end of the file: want "}"`)
}

func (p *nginxParser) include(d *directive) (list []directive, err error) {
	if p.depth == maxIncludes {
		return nil, p.errorf("files include each other more than %d deep", maxIncludes)
	}
	pattern := d.arg(0)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(p.folder, pattern)
	}
	if filepath.Base(pattern) == "mime.types" {
		return nil, nil // weir has media types of its own
	}
	files := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		if files, err = filepath.Glob(pattern); err != nil {
			return nil, fmt.Errorf("%s: include %q: %w", d.at, d.arg(0), err)
		}
		slices.Sort(files)
	}
	for _, file := range files {
		part, err := parseNginx(file, p.folder, p.depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: include: %w", d.at, err)
		}
		list = append(list, part...)
	}
	return list, nil
}
