package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// sourceSchemes are the schemes of URLs that find targets. Which of them a program has is
// checked where it is put together (server.WithSchemes).
var sourceSchemes = [...]string{"registry", "file", "list+http", "list+https", "dns", "srv", "etcd", "consul", "zookeeper", "kubernetes"}

// ownScheme begins the names of the schemes that a program which embeds weir may have besides.
const ownScheme = "x-"

func isSourceScheme(name string) bool {
	return slices.Contains(sourceSchemes[:], name) || strings.HasPrefix(name, ownScheme) && name != ownScheme
}

// IsSource says whether the URL is not that of a target, but of a source that finds targets.
func (t *Target) IsSource() bool { return IsSourceURL(t.URL) }

// IsSourceURL says whether a text is the URL of a source: of targets, of services, or of
// parts of a configuration.
func IsSourceURL(text string) bool {
	scheme, _, ok := strings.Cut(text, ":")
	return ok && isSourceScheme(scheme)
}

// IsFound says whether the URL stands for targets that are found while weir runs: by a source, or as
// the addresses of a name.
func (t *Target) IsFound() bool { return t.IsSource() || t.IsName() }

// Static returns the targets that are not found while weir runs.
func (u *Upstream) Static() []Target {
	if !slices.ContainsFunc(u.Targets, func(t Target) bool { return t.IsFound() }) {
		return u.Targets
	}
	var list []Target
	for _, t := range u.Targets {
		if !t.IsFound() {
			list = append(list, t)
		}
	}
	return list
}

// source reports a text that is not the URL of a source. What the rest of the URL may be is
// the source's to say.
func (p keyPath) source(name, text string) {
	switch u, err := url.Parse(text); {
	case err != nil || u.Scheme == "":
		p.wrong(name, "a URL that cannot be parsed", wantSource)
	case !isSourceScheme(u.Scheme):
		p.wrong(name, fmt.Sprintf("a URL of the scheme %s", strconv.Quote(u.Scheme)), wantSource)
	}
}

var wantSource = "the URL of a source (" + strings.Join(sourceSchemes[:], ":, ") + ":)"

// DisplayURL returns a URL without passwords and tokens, for messages and metrics.
func DisplayURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(a URL that cannot be parsed)"
	}
	query := u.Query()
	for name := range query {
		lower := strings.ToLower(name)
		if slices.ContainsFunc([]string{"token", "password", "secret"}, func(s string) bool { return strings.Contains(lower, s) }) {
			query.Set(name, "xxxxx")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}
