package header

import "strings"

// Problem is one fault of a configuration that this package compiles.
type Problem struct {
	// Key is the key at fault, relative to what was compiled, such as
	// "set.X-Version".
	Key string
	// Message says what was found and what is allowed.
	Message string
}

// Problems are all faults of what was compiled. As an error it is never empty.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	var b strings.Builder
	for i, v := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(v.Key + ": " + v.Message)
	}
	return b.String()
}
