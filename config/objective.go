package config

import (
	"slices"
	"strconv"
	"time"
)

// Objective is a service-level objective: how large a share of exchanges should go well.
type Objective struct {
	// Name labels the objective in metrics.
	Name string `toml:"name"`
	// Routes are the names of the routes whose exchanges count, together; empty means all routes.
	Routes Strings `toml:"routes"`
	// Percent is how many of 100 exchanges should go well, such as 99.9; more than 0 and less than 100.
	Percent float64 `toml:"percent"`
	// Below is how long an exchange that goes well may take; 0 means that time does not count.
	Below Duration `toml:"below"`
	// Errors says that exchanges which failed do not go well, however fast: those with a status
	// of 500 or more, and those whose answer broke off, if the client is not at fault.
	Errors bool `toml:"errors"`
	// Windows are the times over which the burn rate is told, each at least a minute and at most 30 days.
	Windows []Duration `toml:"windows"`
}

func (o *Objective) setDefaults() {
	const day = 24 * time.Hour
	*o = Objective{Errors: true, Windows: []Duration{
		Duration(5 * time.Minute), Duration(30 * time.Minute), Duration(time.Hour), Duration(6 * time.Hour), Duration(day), Duration(3 * day),
	}}
}

// DefaultObjective returns an objective with the default of every key; it needs a name and Percent.
func DefaultObjective() Objective { return *fresh[Objective]() }

const maxWindow = Duration(30 * 24 * time.Hour)

func (o *Objective) validate(at keyPath) {
	at.needs("name", o.Name, `a name, such as "fast"`)
	if !(o.Percent > 0 && o.Percent < 100) { // so that NaN is wrong too
		at.wrong("percent", strconv.FormatFloat(o.Percent, 'g', -1, 64), "more than 0 and less than 100, such as 99.9")
	}
	if o.Below == 0 && !o.Errors {
		at.wrong("errors", "false without below", "below, true, or both: nothing would count")
	}
	if len(o.Windows) == 0 {
		at.wrong("windows", "[]", `at least one, such as "1h"`)
	}
	for i, w := range o.Windows {
		if w < Duration(time.Minute) || w > maxWindow || slices.Contains(o.Windows[:i], w) {
			at.key("windows").index(i).wrong("", strconv.Quote(w.String()), `"1m" to "720h", each once`)
		}
	}
}

// validateObjectives reports names that are there twice, and routes that are not there.
func (c *Config) validateObjectives(at keyPath) {
	var labels []string
	for i := range c.Routes {
		labels = append(labels, c.Routes[i].Label(i))
	}
	names := map[string]string{}
	for i := range c.Objectives {
		at := at.key("objectives").index(i)
		at.unique("name", c.Objectives[i].Name, names)
		for k, route := range c.Objectives[i].Routes {
			if !slices.Contains(labels, route) {
				at.key("routes").index(k).unknown("", strconv.Quote(route), "the name of a route: "+OneOf(labels), Nearest(route, labels))
			}
		}
	}
}
