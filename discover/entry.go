package discover

import (
	"fmt"
	"strings"

	"weir/config"
	"weir/lb"
)

// Entry is an endpoint of a service.
type Entry struct {
	// Name is the service's. Version tells several services of one name apart; it may be
	// empty.
	Name, Version string
	lb.Endpoint
	// Wrong is why Endpoint cannot be used; nil if it can, as far as is known. A service all of whose entries
	// are wrong keeps the endpoints that it had.
	Wrong error
}

// UpstreamName returns the name of the upstream of a service: "name/version", or the name
// alone if it has no version.
func UpstreamName(name, version string) string {
	if version == "" {
		return name
	}
	return name + "/" + version
}

// CheckService reports a name or version that no service may have.
func CheckService(name, version string) error {
	if err := checkName("name", name); err != nil || version == "" {
		return err
	}
	return checkName("version", version)
}

// ParseService reads "NAME/VERSION", or NAME without a version.
func ParseService(text string) (name, version string, err error) {
	name, version, given := strings.Cut(text, "/")
	if err := CheckService(name, version); err != nil {
		return "", "", err
	}
	if given && version == "" {
		return "", "", fmt.Errorf("found %q: want \"NAME/VERSION\" or \"NAME\"", text)
	}
	return name, version, nil
}

// maxName bounds names and versions, in bytes.
const maxName = 128

func checkName(what, name string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-.", r)
	}
	if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsFunc(name, odd) {
		if len(name) > maxName {
			name = name[:maxName] + "..."
		}
		return fmt.Errorf("found %s %q: want letters, digits, \"_\", \"-\" and \".\", at most %d", what, name, maxName)
	}
	return nil
}

// adjusted returns e as the target of the configuration that names its source wants it.
func (s *Spec) adjusted(e lb.Endpoint) lb.Endpoint {
	e.Weight = min(max(e.Weight, 1)*max(s.Weight, 1), config.MaxWeight)
	e.Priority += s.Priority
	e.Drain = e.Drain || s.Drain
	return e
}
