package rule

// ParseTargeted reads a targeted cache control field (RFC 9213): the same
// directives as a structured-field dictionary (RFC 9651). ok is false if the
// field is empty, does not parse, or gives a known directive a value of the
// wrong type; it must then be ignored as a whole.
func ParseTargeted(b []byte) (c Control, ok bool) {
	c = noControl
	s := sfParser{b: trim(b)}
	if len(s.b) == 0 {
		return c, false
	}
	for {
		key, ok := s.key()
		if !ok {
			return c, false
		}
		v := sfValue{kind: sfBoolean, truth: true}
		if s.take('=') {
			if v, ok = s.member(); !ok {
				return c, false
			}
		}
		if !s.parameters() || !c.set(key, v) {
			return c, false
		}
		s.space()
		if len(s.b) == 0 {
			return c, true
		}
		if !s.take(',') {
			return c, false
		}
		s.space()
		if len(s.b) == 0 {
			return c, false // a comma at the end
		}
	}
}

// set takes one member of the dictionary; the last of a name counts. It says
// false for a type that the directive does not have.
func (c *Control) set(key []byte, v sfValue) bool {
	var flag *bool
	var seconds *int64
	var names *[]byte
	switch string(key) {
	case "no-store":
		flag = &c.NoStore
	case "public":
		flag = &c.Public
	case "must-revalidate":
		flag = &c.MustRevalidate
	case "proxy-revalidate":
		flag = &c.ProxyRevalidate
	case "must-understand":
		flag = &c.MustUnderstand
	case "immutable":
		flag = &c.Immutable
	case "no-cache":
		flag, names = &c.NoCache, &c.NoCacheFields
	case "private":
		flag, names = &c.Private, &c.PrivateFields
	case "max-age":
		seconds = &c.MaxAge
	case "s-maxage":
		seconds = &c.SMaxAge
	case "stale-while-revalidate":
		seconds = &c.StaleWhileRevalidate
	case "stale-if-error":
		seconds = &c.StaleIfError
	default:
		return true
	}
	switch {
	case seconds != nil && v.kind == sfInteger && v.number >= 0:
		*seconds = min(v.number, MaxDelta)
	case names != nil && v.kind == sfString:
		*names, *flag = v.text, len(v.text) == 0
	case flag != nil && v.kind == sfBoolean:
		*flag = v.truth
		if names != nil {
			*names = nil
		}
	default:
		return false
	}
	return true
}

// sfKind is the type of a structured field's bare item.
type sfKind uint8

const (
	sfOther sfKind = iota
	sfBoolean
	sfInteger
	sfString
)

type sfValue struct {
	kind   sfKind
	truth  bool
	number int64
	text   []byte
}

// sfParser eats a structured field from its front.
type sfParser struct{ b []byte }

func (s *sfParser) take(c byte) bool {
	if len(s.b) > 0 && s.b[0] == c {
		s.b = s.b[1:]
		return true
	}
	return false
}

func (s *sfParser) space() {
	for len(s.b) > 0 && (s.b[0] == ' ' || s.b[0] == '\t') {
		s.b = s.b[1:]
	}
}

// key is lower case only.
func (s *sfParser) key() ([]byte, bool) {
	n := 0
	for n < len(s.b) {
		c := s.b[n]
		first := c >= 'a' && c <= 'z' || c == '*'
		if !first && (n == 0 || !(c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.')) {
			break
		}
		n++
	}
	key := s.b[:n]
	s.b = s.b[n:]
	return key, n > 0
}

// member is an item or an inner list, without the parameters that follow it.
func (s *sfParser) member() (sfValue, bool) {
	if !s.take('(') {
		return s.item()
	}
	for {
		for s.take(' ') {
		}
		if s.take(')') {
			return sfValue{}, true
		}
		if _, ok := s.item(); !ok || !s.parameters() {
			return sfValue{}, false
		}
		if len(s.b) == 0 || s.b[0] != ' ' && s.b[0] != ')' {
			return sfValue{}, false
		}
	}
}

func (s *sfParser) parameters() bool {
	for s.take(';') {
		for s.take(' ') {
		}
		if _, ok := s.key(); !ok {
			return false
		}
		if s.take('=') {
			if _, ok := s.item(); !ok {
				return false
			}
		}
	}
	return true
}

// item is a bare item.
func (s *sfParser) item() (sfValue, bool) {
	if len(s.b) == 0 {
		return sfValue{}, false
	}
	switch c := s.b[0]; {
	case c == '?':
		if len(s.b) < 2 || s.b[1] != '0' && s.b[1] != '1' {
			return sfValue{}, false
		}
		v := sfValue{kind: sfBoolean, truth: s.b[1] == '1'}
		s.b = s.b[2:]
		return v, true
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == '@':
		s.b = s.b[1:]
		v, ok := s.number()
		return sfValue{}, ok && v.kind == sfInteger
	case c == ':':
		for i := 1; i < len(s.b); i++ {
			c := s.b[i]
			if c == ':' {
				s.b = s.b[i+1:]
				return sfValue{}, true
			}
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=') {
				return sfValue{}, false
			}
		}
		return sfValue{}, false
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '*':
		n := 1
		for n < len(s.b) && (isTchar(s.b[n]) || s.b[n] == ':' || s.b[n] == '/') {
			n++
		}
		s.b = s.b[n:]
		return sfValue{}, true
	}
	return sfValue{}, false
}

func (s *sfParser) number() (sfValue, bool) {
	negative := s.take('-')
	var n int64
	count := 0
	for count < len(s.b) && s.b[count] >= '0' && s.b[count] <= '9' {
		n = n*10 + int64(s.b[count]-'0')
		if count++; count > 15 {
			return sfValue{}, false
		}
	}
	if count == 0 {
		return sfValue{}, false
	}
	s.b = s.b[count:]
	if negative {
		n = -n
	}
	if len(s.b) == 0 || s.b[0] != '.' {
		return sfValue{kind: sfInteger, number: n}, true
	}
	frac := 1
	for frac < len(s.b) && s.b[frac] >= '0' && s.b[frac] <= '9' {
		frac++
	}
	if count > 12 || frac == 1 || frac > 4 {
		return sfValue{}, false
	}
	s.b = s.b[frac:]
	return sfValue{}, true
}

// str is a quoted string. One with escapes is no list of field names or cache
// groups that anybody sends; it is unescaped all the same.
func (s *sfParser) str() (sfValue, bool) {
	var out []byte
	for i := 1; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.b = s.b[i+1:]
			if out == nil {
				out = []byte{}
			}
			return sfValue{kind: sfString, text: out}, true
		case c == '\\':
			if i++; i == len(s.b) || s.b[i] != '"' && s.b[i] != '\\' {
				return sfValue{}, false
			}
			out = append(out, s.b[i])
		case c < 0x20 || c > 0x7e:
			return sfValue{}, false
		default:
			out = append(out, c)
		}
	}
	return sfValue{}, false
}

// ParseGroups reads a structured-field list of strings, as Cache-Groups and
// Cache-Group-Invalidation are (RFC 9875). Anything else gives none. Both
// fields may name at most 32 groups of 32 characters; more are cut off.
func ParseGroups(b []byte) []string {
	s := sfParser{b: trim(b)}
	var groups []string
	for len(s.b) > 0 {
		v, ok := s.member()
		if !ok || !s.parameters() {
			return nil
		}
		if v.kind == sfString && len(v.text) <= 128 && len(groups) < 128 {
			groups = append(groups, string(v.text))
		}
		s.space()
		if len(s.b) == 0 {
			return groups
		}
		if !s.take(',') {
			return nil
		}
		s.space()
		if len(s.b) == 0 {
			return nil
		}
	}
	return groups
}
