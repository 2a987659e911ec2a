package config

import (
	"strconv"
	"strings"
)

// expansion is a text of a file in which values of the environment stand.
type expansion struct {
	written, text string
	values        map[string]string // by "${NAME}"
}

// noteExpansion remembers what stands at a key, so that problems do not show it: values
// of the environment may be secrets, and problems go into logs.
func (s *source) noteExpansion(key string, e expansion) {
	if s.expanded == nil {
		s.expanded = map[string]expansion{}
	}
	s.expanded[key] = e
}

// leastSecret is the length from which a value of the environment is looked for in the
// middle of texts. Shorter ones are not secrets, and would be found everywhere.
const leastSecret = 4

// hide replaces, in a problem, texts that the environment has filled by what the file has.
func (s *source) hide(p Problem) Problem {
	for key, e := range s.expanded {
		if !within(key, p.Key) && !within(p.Key, key) {
			continue
		}
		for _, text := range []*string{&p.Found, &p.Want, &p.Message} {
			*text = e.hideIn(*text)
		}
	}
	return p
}

func (e expansion) hideIn(text string) string {
	text = strings.ReplaceAll(text, strconv.Quote(e.text), strconv.Quote(e.written))
	for name, value := range e.values {
		if len(value) < leastSecret {
			continue
		}
		quoted := strconv.Quote(value)
		text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], name)
		text = strings.ReplaceAll(text, value, name)
	}
	return text
}
