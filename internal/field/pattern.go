package field

import "strings"

// Pattern is a name, or the start of names if it was written with "*" at its end.
type Pattern struct {
	text string
	open bool
}

// Patterns compiles a list of names of which some may end in "*".
func Patterns(list []string) []Pattern {
	out := make([]Pattern, len(list))
	for i, s := range list {
		text, open := strings.CutSuffix(s, "*")
		out[i] = Pattern{text, open}
	}
	return out
}

// MatchFold compares without the case of ASCII letters.
func (p Pattern) MatchFold(name []byte) bool {
	if p.open {
		return len(name) >= len(p.text) && EqualFold(name[:len(p.text)], p.text)
	}
	return EqualFold(name, p.text)
}

// MatchAny says whether one of the patterns matches, with case.
func MatchAny[T string | []byte](list []Pattern, name T) bool {
	for _, p := range list {
		if string(name) == p.text || p.open && len(name) > len(p.text) && string(name[:len(p.text)]) == p.text {
			return true
		}
	}
	return false
}
