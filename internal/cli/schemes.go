package cli

import (
	"slices"

	"weir/discover"
	"weir/discover/dns"
	"weir/discover/file"
	"weir/discover/list"
)

// schemes are the sources that the program has: of targets, of services and of parts of the
// configuration.
func schemes() []discover.Scheme {
	return slices.Concat([]discover.Scheme{file.Scheme()}, list.Schemes(), dns.Schemes())
}
