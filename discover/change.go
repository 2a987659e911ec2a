package discover

import (
	"encoding/json"
	"time"

	"weir/lb"
)

// Change is what was done to a registry by Add, Delete or Remove, for the registry of another process.
type Change struct {
	Name     string          `json:"name"`
	Version  string          `json:"version,omitempty"`
	Endpoint json.RawMessage `json:"endpoint,omitempty"` // none: the whole service is gone
	Gone     bool            `json:"gone,omitempty"`     // the endpoint is
	TTL      time.Duration   `json:"ttl,omitempty"`
}

// told tells OnChange of a change. mu is held, so that changes are told in their order.
func (r *Registry) told(name, version string, e lb.Endpoint, gone bool, ttl time.Duration) {
	c := Change{Name: name, Version: version, Gone: gone, TTL: ttl}
	if e.URL != "" {
		c.Endpoint = FormatEndpoint(e)
	}
	r.o.OnChange(c)
}

// Apply does what was done to the registry of another process, of which OnChange is not told.
func (r *Registry) Apply(c Change) error {
	if err := CheckService(c.Name, c.Version); err != nil {
		return err
	}
	if c.Endpoint == nil {
		r.remove(c.Name, c.Version, false)
		return nil
	}
	e, err := ParseEndpoint(c.Endpoint)
	if err != nil {
		return err
	}
	if c.Gone {
		r.delete(c.Name, c.Version, e.URL, false)
		return nil
	}
	return r.add(c.Name, c.Version, e, c.TTL, false)
}
