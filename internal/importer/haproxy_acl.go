package importer

import (
	"slices"
	"strings"
)

// test is an ACL, or a part of a condition: what it asks of a request in one of two ways.
type test struct {
	matches   []match      // one of them fits
	addresses []accessRule // or: the client's address
	userlist  string       // or: a user of this list
	unknown   string       // or: why it is not translated
	inexact   string       // why it is translated not exactly
}

// acls are those of a section, by name; several of a name mean one of them.
func (h *haproxyImport) acls(p *proxySection) map[string]test {
	found := make(map[string]test)
	for _, st := range p.inherited("acl") {
		if len(st.words) < 3 {
			h.d.note(st.at, "acl: want a name and a criterion")
			continue
		}
		one := aclTest(st.words[2:], st.at)
		old, had := found[st.word(1)]
		if had {
			one = either(old, one)
		}
		found[st.word(1)] = one
	}
	return found
}

func either(a, b test) test {
	switch {
	case a.unknown != "" || b.unknown != "":
		return test{unknown: a.unknown + b.unknown}
	case a.matches != nil && b.matches != nil:
		a.matches = append(slices.Clip(a.matches), b.matches...)
		a.inexact += b.inexact
		return a
	case a.addresses != nil && b.addresses != nil:
		a.addresses = append(slices.Clip(a.addresses), b.addresses...)
		return a
	}
	return test{unknown: "one of several kinds"}
}

// aclTest translates a criterion with its flags and values.
func aclTest(words []string, at Place) (t test) {
	if len(words) == 0 {
		return test{unknown: "nothing"}
	}
	criterion, values := words[0], words[1:]
	name, argument, _ := strings.Cut(strings.TrimSuffix(criterion, ")"), "(")
	argument, _, _ = strings.Cut(argument, ",")
	folded := false
	method := ""
	for len(values) > 0 && strings.HasPrefix(values[0], "-") {
		flag := values[0]
		values = values[1:]
		switch {
		case flag == "-i":
			folded = true
		case flag == "-m" && len(values) > 0:
			method, values = values[0], values[1:]
		case flag == "--":
		default:
			return test{unknown: criterion + " " + flag}
		}
	}
	if strings.Contains(criterion, ",") && !strings.HasPrefix(criterion, "hdr(host),") && !strings.Contains(criterion, "(host),lower") && !strings.Contains(criterion, "(host),field(1,:)") {
		return test{unknown: criterion}
	}
	name = strings.TrimPrefix(name, "req.")
	if base, suffix, cut := strings.Cut(name, "_"); cut && (base == "hdr" || base == "path" || base == "url" || base == "base") && suffix != "cnt" && suffix != "val" && suffix != "param" {
		name, method = base, suffix
	}
	add := func(m match) { t.matches = append(t.matches, m) }
	switch {
	case name == "hdr" && strings.EqualFold(argument, "host"):
		for _, v := range values {
			switch {
			case method == "" || method == "str" || method == "dom" && strings.Contains(v, "."):
				v, _, _ = strings.Cut(strings.ToLower(v), ":")
				add(match{host: v})
				if method == "dom" {
					add(match{host: "*." + v})
				}
			case method == "end" && strings.HasPrefix(v, "."):
				add(match{host: "*" + strings.ToLower(v)})
			default:
				return test{unknown: strings.Join(words, " ")}
			}
		}
	case name == "hdr" && argument != "" && (method == "" || method == "str" || method == "found"):
		for _, v := range values {
			add(match{header: map[string]string{argument: v}})
		}
		if method == "found" {
			add(match{header: map[string]string{argument: "*"}})
		}
		if folded {
			t.inexact = "weir compares values of fields with their case"
		}
	case name == "path" && (method == "" || method == "str" || method == "beg"):
		for _, v := range values {
			if !strings.HasPrefix(v, "/") {
				return test{unknown: strings.Join(words, " ")}
			}
			add(match{path: path{v, method != "beg"}})
		}
		if folded {
			t.inexact = "weir compares paths with their case"
		}
	case name == "method":
		add(match{methods: values})
	case strings.HasPrefix(criterion, "METH_"):
		add(match{methods: []string{strings.TrimPrefix(criterion, "METH_")}})
	case name == "url_param" || name == "urlp":
		for _, v := range values {
			add(match{query: map[string]string{argument: v}})
		}
	case criterion == "ssl_fc":
		add(match{scheme: "https"})
	case criterion == "src":
		for _, v := range values {
			t.addresses = append(t.addresses, accessRule{allow: true, text: v, at: at})
		}
	case criterion == "TRUE" || criterion == "always_true":
		add(match{})
	case name == "http_auth":
		t.userlist = argument
	}
	if t.matches == nil && t.addresses == nil && t.userlist == "" {
		return test{unknown: strings.Join(words, " ")}
	}
	return t
}

// condition is what an if or unless asks for, translated.
type condition struct {
	matches []match // one of them fits
	// addresses, of the client, must hold too; nil asks for none. outside says that it must be another address.
	addresses []accessRule
	outside   bool
	// userlist asks for a user of the list; anonymous for a client that is none.
	userlist  string
	anonymous bool
	unknown   string
	inexact   string
}

// byAddress is why a route cannot be for some addresses.
const byAddress = "weir does not choose by address"

// beyond returns why a condition is more than its matches; empty if it is not.
func (c *condition) beyond() string {
	switch {
	case c.unknown != "":
		return c.unknown
	case c.userlist != "":
		return "weir does not choose by user"
	case c.addresses != nil:
		return byAddress
	}
	return ""
}

// condition translates the condition at the end of a statement; i is the place of if or unless. Without one
// all requests fit.
func (h *haproxyImport) condition(st *statement, acls map[string]test) condition {
	i := slices.IndexFunc(st.words, func(w string) bool { return w == "if" || w == "unless" })
	if i < 0 {
		return condition{matches: []match{{}}}
	}
	unless := st.words[i] == "unless"
	words := st.words[i+1:]
	var any []condition
	one := condition{matches: []match{{}}}
	for n := 0; n < len(words); n++ {
		w := words[n]
		if w == "||" || w == "or" {
			any, one = append(any, one), condition{matches: []match{{}}}
			continue
		}
		not := false
		if rest, cut := strings.CutPrefix(w, "!"); cut {
			not, w = true, rest
			if w == "" && n+1 < len(words) {
				n++
				w = words[n]
			}
		}
		var t test
		if w == "{" {
			end := n + 1
			for end < len(words) && words[end] != "}" {
				end++
			}
			t = aclTest(words[n+1:end], st.at)
			n = end
		} else if named, ok := acls[w]; ok {
			t = named
		} else {
			t = aclTest([]string{w}, st.at)
		}
		one.add(t, not)
	}
	any = append(any, one)
	if unless {
		return negated(any)
	}
	return disjunction(any)
}

// add adds a further test, which must hold too.
func (c *condition) add(t test, not bool) {
	c.inexact += t.inexact
	switch {
	case t.unknown != "":
		c.unknown = t.unknown
	case t.addresses != nil && c.addresses == nil:
		c.addresses, c.outside = t.addresses, not
	case t.userlist != "" && c.userlist == "":
		c.userlist, c.anonymous = t.userlist, not
	case t.matches != nil && not:
		if len(t.matches) == 1 && t.matches[0].equal(match{scheme: "https"}) {
			c.add(test{matches: []match{{scheme: "http"}}}, false)
			return
		}
		c.unknown = "a negation"
	case t.matches != nil:
		c.matches = both(c.matches, t.matches)
	default:
		c.unknown = "several addresses or lists of users"
	}
}

// disjunction is a condition that holds where one of several does.
func disjunction(any []condition) condition {
	if len(any) == 1 {
		return any[0]
	}
	var all condition
	for _, c := range any {
		if c.beyond() != "" {
			return condition{unknown: "an or of this kind", matches: []match{{}}}
		}
		all.matches = append(all.matches, c.matches...)
		all.inexact += c.inexact
	}
	return all
}

// negated is a condition that holds where none of several does.
func negated(any []condition) condition {
	if len(any) == 1 && any[0].unknown == "" && len(any[0].matches) == 1 {
		c := any[0]
		whole := c.matches[0].equal(match{})
		switch {
		case whole && c.addresses != nil && c.userlist == "":
			c.outside = !c.outside
			return c
		case whole && c.userlist != "" && c.addresses == nil:
			c.anonymous = !c.anonymous
			return c
		case c.matches[0].equal(match{scheme: "https"}) && c.addresses == nil && c.userlist == "":
			return condition{matches: []match{{scheme: "http"}}}
		}
	}
	return condition{unknown: "a negation", matches: []match{{}}}
}
