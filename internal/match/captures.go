package match

import "weir/config"

// Captures is what the path of a match captured. The zero value is empty and
// ready for Match; callers keep it and use it again. Values are borrowed from the
// Path of the Request: they are canonical, and reserved characters in them are
// percent-encoded, so they may be put into another path.
type Captures struct {
	names   []string // of the values, and perhaps more; the configuration's
	values  [][]byte
	slashes int
}

// Get returns what was captured under name; nil if nothing was.
func (c *Captures) Get(name string) []byte {
	for i, value := range c.values {
		if c.names[i] == name {
			return value
		}
	}
	return nil
}

// Len returns the number of captures.
func (c *Captures) Len() int { return len(c.values) }

// At returns capture i, in the order of the path.
func (c *Captures) At(i int) (name string, value []byte) { return c.names[i], c.values[i] }

// Reset empties c, so that it keeps no request's memory alive.
func (c *Captures) Reset() {
	clear(c.values[:cap(c.values)])
	c.begin()
}

// begin empties c for a match.
func (c *Captures) begin() {
	c.names, c.slashes = nil, 0
	c.values = c.values[:0]
}

// Slashes returns the number of slashes in the route's path that matched, for
// StripPrefix; 0 if the route has no path.
func (c *Captures) Slashes() int { return c.slashes }

// push adds a value; accept adds its name.
func (c *Captures) push(value []byte) {
	if c.values == nil {
		c.values = make([][]byte, 0, config.MaxCaptures)
	}
	c.values = append(c.values, value)
}

// pop takes the last value back.
func (c *Captures) pop() { c.values = c.values[:len(c.values)-1] }
