package importer

import (
	"fmt"
	"slices"
	"strings"

	"weir/config"
)

// statement is a line of HAProxy, as words.
type statement struct {
	at    Place
	words []string
}

func (s *statement) word(i int) string {
	if i < len(s.words) {
		return s.words[i]
	}
	return ""
}

// has says whether a word stands anywhere after the first.
func (s *statement) has(word string) bool { return s.after(word) >= 0 }

// after returns the place after a word, or -1.
func (s *statement) after(word string) int {
	for i, w := range s.words {
		if i > 0 && w == word {
			return i + 1
		}
	}
	return -1
}

// option returns the word that follows another one; empty if there is none.
func (s *statement) option(word string) string {
	if i := s.after(word); i >= 0 {
		return s.word(i)
	}
	return ""
}

func (s *statement) String() string { return strings.Join(s.words, " ") }

// proxySection is a section of HAProxy.
type proxySection struct {
	at         Place
	kind, name string
	defaults   *proxySection
	list       []statement
}

// all returns the statements that begin with these words; without any, those of the section's defaults.
func (p *proxySection) all(words ...string) (found []statement) {
	for s := p; s != nil && found == nil; s = s.defaults {
		for _, st := range s.list {
			if strings.HasPrefix(st.String()+" ", strings.Join(words, " ")+" ") {
				found = append(found, st)
			}
		}
	}
	return found
}

// inherited returns the statements with one of these first words of the section's defaults and of the section itself, in
// the order in which HAProxy takes them.
func (p *proxySection) inherited(words ...string) (found []statement) {
	if p.defaults != nil {
		found = p.defaults.inherited(words...)
	}
	for _, st := range p.list {
		if slices.Contains(words, st.word(0)) {
			found = append(found, st)
		}
	}
	return found
}

// last returns the last of them, or nil.
func (p *proxySection) last(words ...string) *statement {
	if found := p.all(words...); len(found) > 0 {
		return &found[len(found)-1]
	}
	return nil
}

// haproxySections are the words that begin a section.
var haproxySections = map[string]bool{
	"global": true, "defaults": true, "frontend": true, "backend": true, "listen": true, "userlist": true, "peers": true, "resolvers": true, "cache": true,
	"mailers": true, "program": true, "http-errors": true, "ring": true, "log-forward": true, "fcgi-app": true, "crt-store": true, "traces": true,
}

func parseHAProxy(file string) (sections []*proxySection, err error) {
	text, err := config.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var current, defaults *proxySection
	named := make(map[string]*proxySection)
	for i, line := range strings.Split(string(text), "\n") {
		st := statement{at: Place{file, i + 1}}
		if st.words, err = haproxyWords(line); err != nil {
			return nil, fmt.Errorf("%s: %w", st.at, err)
		}
		switch {
		case len(st.words) == 0:
		case haproxySections[st.words[0]]:
			current = &proxySection{at: st.at, kind: st.words[0], name: st.word(1), defaults: defaults}
			if from := st.option("from"); from != "" {
				current.defaults = named[from]
			}
			if current.kind == "defaults" {
				defaults, named[current.name] = current, current
				if !st.has("from") {
					current.defaults = nil
				}
			}
			sections = append(sections, current)
		case current == nil:
			return nil, fmt.Errorf("%s: found %q: want a section such as \"frontend\"", st.at, st.words[0])
		default:
			current.list = append(current.list, st)
		}
	}
	return sections, nil
}

// haproxyWords splits a line into words, without its comment.
func haproxyWords(line string) (words []string, err error) {
	var word strings.Builder
	inside, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			inside = true
			if !strings.ContainsRune(" \\#'\"", rune(line[i])) {
				word.WriteByte('\\') // it is for regular expressions
			}
			word.WriteByte(line[i])
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inside = c, true
		case c == '#':
			i = len(line)
		case c == ' ' || c == '\t' || c == '\r':
			if inside {
				words = append(words, word.String())
				word.Reset()
				inside = false
			}
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("found a quote without its end")
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}
