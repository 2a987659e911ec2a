package config

import "bytes"

// maxDepth is how many lists and tables may stand within each other. The deepest key of
// weir needs less than ten; the TOML library needs stack for each level, without a bound.
const maxDepth = 64

// tooDeep returns the line where data nests more than maxDepth lists, inline tables or
// parts of a dotted key; 0 if it does nowhere. It needs no valid TOML.
func tooDeep(data []byte) (line int) {
	line = 1
	brackets, dots := 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '\n':
			line, dots = line+1, 0
		case '#':
			for i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			end := stringEnd(data[i:])
			line += bytes.Count(data[i:i+end], []byte{'\n'})
			i += end - 1
		case '[', '{':
			brackets, dots = brackets+1, 0
		case ']', '}':
			brackets, dots = max(brackets-1, 0), 0
		case ',', '=':
			dots = 0
		case '.':
			dots++
		}
		if brackets > maxDepth || dots > maxDepth {
			return line
		}
	}
	return 0
}

// stringEnd returns the length of the string that text begins with, its quotes included.
// One that is not closed ends with its line, or with text if it may have several lines.
func stringEnd(text []byte) int {
	quote := text[:1]
	long := bytes.HasPrefix(text, bytes.Repeat(quote, 3))
	at := 1
	if long {
		quote, at = text[:3], 3
	}
	for ; at < len(text); at++ {
		switch {
		case bytes.HasPrefix(text[at:], quote):
			return at + len(quote)
		case text[at] == '\\' && quote[0] == '"':
			at++
		case text[at] == '\n' && !long:
			return at
		}
	}
	return len(text)
}
