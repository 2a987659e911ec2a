package forward

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// CheckRoute reports what is wrong with the templates of a route whose path captures
// these names. Every key of a route that is a template is checked here, but for upstream,
// which package config compares with the names of upstreams. The keys are below the
// route's own.
func CheckRoute(r *config.Route, captures []string) config.Errors {
	var problems config.Errors
	for _, rules := range []struct {
		key    string
		header *config.HeaderRules
		place  place
	}{
		{"request_headers", &r.RequestHeaders, inRules(captures)},
		{"response_headers", &r.ResponseHeaders, inRules(captures)},
	} {
		problems = append(problems, rules.place.checkRules(rules.header).Below(rules.key)...)
	}
	rewrite := place{captures, []string{Target}}
	problems = append(problems, rewrite.check("rewrite", r.Rewrite)...)
	if r.Redirect != nil {
		redirect := place{captures, []string{Upstream, Target}}
		found := redirect.check("to", r.Redirect.To)
		if found == nil {
			found = checkAddress("to", r.Redirect.To)
		}
		problems = append(problems, found.Below("redirect")...)
	}
	return problems
}

// place is where a template stands.
type place struct {
	captures []string // the names that the route's path captures
	without  []string // the variables that have no value here
}

func inRules(captures []string) place { return place{captures: captures} }

// check reports names in a template that have no value in this place.
func (p place) check(key string, value config.Template) (problems config.Errors) {
	problem := func(format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for _, variable := range value.Names() {
		switch captured := slices.Contains(p.captures, variable); {
		case slices.Contains(p.without, variable):
			problem("{%s} has no value here: want %s", variable, p.allowed())
		case captured && Known(variable):
			problem("{%s} is both a variable and a capture of the path: want another name for the capture", variable)
		case !captured && !Known(variable):
			problem("unknown variable {%s}: want %s", variable, p.allowed())
		}
	}
	return problems
}

// allowed lists what a template may use in this place.
func (p place) allowed() string {
	names := slices.DeleteFunc(Variables(), func(name string) bool { return slices.Contains(p.without, name) })
	all := strings.Join(names, ", ")
	if len(p.captures) > 0 {
		return all + ", or a capture of the route's path: " + strings.Join(p.captures, ", ")
	}
	return all
}

// Parts of a Location, as checkAddress sees the values of variables.
const (
	chosen = "\x00" // any text that the client chooses
	named  = "h"    // a host or a scheme
)

// startsReference says whether a Location without "//" begins as one that is meant so: with a path, a
// query, a fragment, or a scheme as in "mailto:a@example.org", which "localhost:80" is not.
func startsReference(text string) bool {
	if text == "" || strings.ContainsRune("/?#", rune(text[0])) {
		return true
	}
	scheme, rest, ok := strings.Cut(text, ":")
	letters := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '+' }
	return ok && strings.TrimFunc(scheme, letters) == "" && rest != "" && (rest[0] < '0' || rest[0] > '9')
}

// checkAddress reports a Location in which a value that the client chooses in the path
// or query of a request could name the site that the client is sent to: the value stands
// at the start, or ends the host.
func checkAddress(key string, to config.Template) config.Errors {
	text := string(to.Append(nil, func(name string) []byte {
		switch name {
		case Scheme, Host, Hostname:
			return []byte(named)
		case Path:
			return []byte("/p")
		case Search:
			return []byte("?")
		}
		return []byte(chosen)
	}))
	problem := func(want string) config.Errors {
		return config.Errors{{Key: key, Found: strconv.Quote(to.String()), Want: want}}
	}
	before, host, absolute := strings.Cut(text, "//")
	if before != "" && !strings.HasSuffix(before, ":") || strings.ContainsAny(before, "/?#") {
		absolute = false
	}
	switch {
	case strings.HasPrefix(text, chosen):
		return problem(`a "/", {path} or a scheme and a host before what the client chooses, which could name another site`)
	case !absolute:
		if !startsReference(text) {
			return problem(`a "/" or {path} first, or a scheme and a host, as in "https://example.org/"`)
		}
		return nil
	}
	if end := strings.IndexAny(host, "/?#"); end >= 0 {
		host = host[:end]
	}
	switch {
	case host == "":
		return problem(`a host after "//"`)
	case strings.Contains(host, chosen) && !strings.Contains(host[strings.LastIndex(host, chosen):], "."):
		return problem(`a "/" after the host: what the client chooses would become the end of the host`)
	}
	return nil
}
