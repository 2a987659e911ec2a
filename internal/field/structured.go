package field

// Kind is the type of a structured field's bare item, as far as callers care.
type Kind uint8

// The kinds of items.
const (
	Other Kind = iota
	Boolean
	Integer
	String
	InnerList
)

// Item is a bare item, or an inner list with its Members.
type Item struct {
	Kind   Kind
	Truth  bool
	Number int64
	Text   []byte
	// Members are those of an inner list, without their parameters.
	Members []Item
}

// Dictionary calls take for each member of a dictionary (RFC 9651 section 3.2),
// in order, without its parameters. ok is false if b is not a dictionary or take says so. An empty one is valid.
func Dictionary(b []byte, take func(key []byte, v Item) bool) (ok bool) {
	return members(b, func(s *structured) bool {
		key, ok := s.key()
		if !ok {
			return false
		}
		v := Item{Kind: Boolean, Truth: true}
		if s.take('=') {
			if v, ok = s.member(); !ok {
				return false
			}
		}
		return s.parameters() && take(key, v)
	})
}

// List calls take for each member of a list (RFC 9651 section 3.1), in order,
// without its parameters. ok is false if b is not a list. An empty one is valid.
func List(b []byte, take func(v Item)) (ok bool) {
	return members(b, func(s *structured) bool {
		v, ok := s.member()
		if !ok || !s.parameters() {
			return false
		}
		take(v)
		return true
	})
}

// members calls one at the start of each member, which it must eat.
func members(b []byte, one func(s *structured) bool) bool {
	s := structured{b: Trim(b)}
	for len(s.b) > 0 {
		if !one(&s) {
			return false
		}
		s.space()
		if len(s.b) == 0 {
			return true
		}
		if !s.take(',') {
			return false
		}
		if s.space(); len(s.b) == 0 {
			return false // a comma at the end
		}
	}
	return true
}

// structured eats a structured field from its front.
type structured struct{ b []byte }

func (s *structured) take(c byte) bool {
	if len(s.b) > 0 && s.b[0] == c {
		s.b = s.b[1:]
		return true
	}
	return false
}

func (s *structured) space() {
	for len(s.b) > 0 && (s.b[0] == ' ' || s.b[0] == '\t') {
		s.b = s.b[1:]
	}
}

// key is lower case only.
func (s *structured) key() ([]byte, bool) {
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
func (s *structured) member() (Item, bool) {
	if !s.take('(') {
		return s.item()
	}
	list := Item{Kind: InnerList}
	for {
		for s.take(' ') {
		}
		if s.take(')') {
			return list, true
		}
		v, ok := s.item()
		if !ok || !s.parameters() {
			return Item{}, false
		}
		list.Members = append(list.Members, v)
		if len(s.b) == 0 || s.b[0] != ' ' && s.b[0] != ')' {
			return Item{}, false
		}
	}
}

func (s *structured) parameters() bool {
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
func (s *structured) item() (Item, bool) {
	if len(s.b) == 0 {
		return Item{}, false
	}
	switch c := s.b[0]; {
	case c == '?':
		if len(s.b) < 2 || s.b[1] != '0' && s.b[1] != '1' {
			return Item{}, false
		}
		v := Item{Kind: Boolean, Truth: s.b[1] == '1'}
		s.b = s.b[2:]
		return v, true
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == '@':
		s.b = s.b[1:]
		v, ok := s.number()
		return Item{}, ok && v.Kind == Integer
	case c == ':':
		for i := 1; i < len(s.b); i++ {
			c := s.b[i]
			if c == ':' {
				s.b = s.b[i+1:]
				return Item{}, true
			}
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=') {
				return Item{}, false
			}
		}
		return Item{}, false
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '*':
		n := 1
		for n < len(s.b) && (TokenByte(s.b[n]) || s.b[n] == ':' || s.b[n] == '/') {
			n++
		}
		s.b = s.b[n:]
		return Item{}, true
	}
	return Item{}, false
}

func (s *structured) number() (Item, bool) {
	negative := s.take('-')
	var n int64
	count := 0
	for count < len(s.b) && s.b[count] >= '0' && s.b[count] <= '9' {
		n = n*10 + int64(s.b[count]-'0')
		if count++; count > 15 {
			return Item{}, false
		}
	}
	if count == 0 {
		return Item{}, false
	}
	s.b = s.b[count:]
	if negative {
		n = -n
	}
	if len(s.b) == 0 || s.b[0] != '.' {
		return Item{Kind: Integer, Number: n}, true
	}
	frac := 1
	for frac < len(s.b) && s.b[frac] >= '0' && s.b[frac] <= '9' {
		frac++
	}
	if count > 12 || frac == 1 || frac > 4 {
		return Item{}, false
	}
	s.b = s.b[frac:]
	return Item{}, true
}

// str is a quoted string. One with escapes is no list of field names or cache
// groups that is ever sent; it is unescaped all the same.
func (s *structured) str() (Item, bool) {
	var out []byte
	for i := 1; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.b = s.b[i+1:]
			if out == nil {
				out = []byte{}
			}
			return Item{Kind: String, Text: out}, true
		case c == '\\':
			if i++; i == len(s.b) || s.b[i] != '"' && s.b[i] != '\\' {
				return Item{}, false
			}
			out = append(out, s.b[i])
		case c < 0x20 || c > 0x7e:
			return Item{}, false
		default:
			out = append(out, c)
		}
	}
	return Item{}, false
}
