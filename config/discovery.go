package config

import (
	"fmt"
	"time"
)

// Discovery is about targets that are found while weir runs, and the registry of services.
type Discovery struct {
	// Catalogs are the URLs of sources that find the endpoints of many services. Each
	// service is an upstream "name/version", or "name" without a version, for the routes
	// whose upstream is a template.
	Catalogs []string `toml:"catalogs"`
	// Upstream names the upstream whose settings those of services have; its targets do not
	// matter, and may be none. Empty means the defaults.
	Upstream string `toml:"upstream"`
	// Persist is a file that keeps the registry, and what sources last found, over a
	// restart. Empty means none.
	Persist string `toml:"persist"`
	// EmptyAfter is how long a source must find nothing before that is believed; until then
	// what it found before stays. 0 means that it is believed at once.
	EmptyAfter Duration `toml:"empty_after"`
	// ForgetAfter is how long a service of the registry without endpoints is answered with
	// 503; then it is unknown, which is 404.
	ForgetAfter Duration `toml:"forget_after"`
	// RemoveAfter is how many attempts in a row must fail before an endpoint of the
	// registry is removed; 0 means never.
	RemoveAfter int `toml:"remove_after"`
}

func (d *Discovery) setDefaults() {
	d.EmptyAfter, d.ForgetAfter = Duration(30*time.Second), Duration(10*time.Minute)
}

func (d *Discovery) validate(at keyPath) {
	seen := map[string]string{}
	for i, text := range d.Catalogs {
		at := at.key("catalogs").index(i)
		at.source("", text)
		at.unique("", text, seen)
	}
	if d.Upstream != "" {
		at.knownUpstream("upstream", d.Upstream, d.Upstream)
	}
	if d.Persist != "" && hasControl(d.Persist) {
		at.wrong("persist", fmt.Sprintf("%q", d.Persist), "the path of a file")
	}
}

// isOfServices says whether p is the upstream whose settings those of services have.
func (p keyPath) isOfServices() bool {
	name := p.check.config.Discovery.Upstream
	return name != "" && p.path == child("upstreams", name)
}
