package match

import (
	"strconv"
	"strings"
)

// Problem is one fault of one route.
type Problem struct {
	// Route is the index of the route in the list given to New.
	Route int
	// Key is the key of the route that is at fault, such as "path", or
	// "header.X-Version".
	Key string
	// Message says what was found and what is allowed.
	Message string
}

// Problems are all faults of a list of routes. As an error it is never empty.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	var b strings.Builder
	for i, v := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("routes[" + strconv.Itoa(v.Route) + "]." + v.Key + ": " + v.Message)
	}
	return b.String()
}
