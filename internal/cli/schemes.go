package cli

import "weir/discover"

// schemes are the sources that the program has: of targets, of services and of parts of the
// configuration.
func schemes() []discover.Scheme {
	return []discover.Scheme{}
}
