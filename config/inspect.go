package config

import (
	"strconv"
	"time"

	"weir/internal/field"
)

// Inspect is the flight recorder: it keeps the last exchanges in memory, for the admin API, its
// page and weir tap. Secrets are masked before anything is kept.
type Inspect struct {
	// Sample is the share of exchanges that are recorded on routes that do not say it themselves, 0
	// to 1. 0 is off, and then nothing of it costs anything. With any share exchanges that failed
	// or were slow are kept too, without their bodies.
	Sample float64 `toml:"sample"`
	// Body is how much of each body is kept.
	Body Size `toml:"body"`
	// Slow is from which duration on an exchange is kept among the slow ones; 0 means never.
	Slow Duration `toml:"slow"`
	// Memory bounds all that is kept, bodies that pass at the moment included. The oldest go
	// first. Failed and slow exchanges have an eighth each, imported ones a quarter.
	Memory Size `toml:"memory"`
	// Secrets are names whose values are masked, besides the usual ones such as Authorization,
	// Cookie, password and api_key: of header fields, parameters of the query, fields of
	// forms and members of JSON. Case does not count, nor do "-" and "_"; a name may begin or
	// end in "*".
	Secrets []string `toml:"secrets"`
}

func (i *Inspect) setDefaults() {
	i.Body, i.Slow, i.Memory = 64<<10, Duration(time.Second), 32<<20
}

// leastInspectMemory is the least that the recorder can do something with.
const leastInspectMemory = 1 << 20

func (i *Inspect) validate(at keyPath) {
	at.upTo("sample", i.Sample, 1)
	at.bytes("body", i.Body, 0, maxInspectBody)
	at.bytes("memory", i.Memory, leastInspectMemory, 64<<30)
	for k, name := range i.Secrets {
		if !secretPattern(name) {
			at.key("secrets").index(k).wrong("", strconv.Quote(name), `a name such as "X-My-Key" or "card_number", which may begin or end in "*"`)
		}
	}
}

// maxInspectBody bounds what is kept of one body.
const maxInspectBody = 16 << 20

// RouteInspect says how the exchanges of a route are recorded. In the file it is a boolean or a
// table; a table means true. A nil pointer is as [inspect] says.
type RouteInspect struct {
	// Enabled is what "inspect = true" or a table says. false records nothing of the route.
	Enabled bool `toml:"enabled"`
	// Sample is the share of the route's exchanges that are recorded, 0 to 1. 0 keeps only those
	// that failed or were slow, without their bodies.
	Sample float64 `toml:"sample"`
	// Body replaces inspect.body for the route; 0 keeps that.
	Body Size `toml:"body"`
	// Slow replaces inspect.slow for the route; 0 keeps that.
	Slow Duration `toml:"slow"`
}

func (r *RouteInspect) setDefaults() { r.Enabled, r.Sample = true, 1 }

func (r *RouteInspect) short() any { return &r.Enabled }

func (r *RouteInspect) validate(at keyPath) {
	at.upTo("sample", r.Sample, 1)
	at.bytes("body", r.Body, 0, maxInspectBody)
}

// Inspected returns how the exchanges of a route are recorded, nil for not at all. route may be
// nil for exchanges that no route fits.
func (c *Config) Inspected(route *Route) *RouteInspect {
	r := RouteInspect{Enabled: c.Inspect.Sample > 0, Sample: c.Inspect.Sample}
	if route != nil && route.Inspect != nil {
		r = *route.Inspect
	}
	if !r.Enabled {
		return nil
	}
	if r.Body == 0 {
		r.Body = c.Inspect.Body
	}
	if r.Slow == 0 {
		r.Slow = c.Inspect.Slow
	}
	return &r
}

// secretPattern says whether text names what is to be masked.
func secretPattern(text string) bool {
	name := text
	if len(name) > 1 && name[0] == '*' {
		name = name[1:]
	}
	if len(name) > 1 && name[len(name)-1] == '*' {
		name = name[:len(name)-1]
	}
	return name != "*" && field.IsToken(name)
}
