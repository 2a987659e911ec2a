package listener

import (
	"net/url"
	"strings"
)

// storedPrefix begins the names under which the service manager keeps copies of sockets.
const storedPrefix = "weir-"

// StoredName returns the name under which the service manager keeps a copy of a socket that
// this process opened for a use (see Inherited.Add). Inherit knows it.
func StoredName(use string) string { return storedPrefix + url.QueryEscape(use) }

// storedUse is what a socket that was passed by a name is used for, if the name is a StoredName.
func storedUse(name string) (use string, ok bool) {
	text, ok := strings.CutPrefix(name, storedPrefix)
	if !ok {
		return "", false
	}
	use, err := url.QueryUnescape(text)
	return use, err == nil && strings.ContainsAny(use, ":=")
}

// Uses returns for what the sockets were used that did not come from units of the service
// manager, also of those that were taken or dropped since.
func (in *Inherited) Uses() []string {
	if in == nil {
		return nil
	}
	return in.uses
}
