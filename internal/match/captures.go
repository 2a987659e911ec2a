package match

import "weir/config"

// Captures is what the path of a match captured. The zero value is empty and
// ready for Match; it is meant to be kept and used again. Values are borrowed
// from the Path of the Request: canonical, with reserved characters still
// percent-encoded, so they may be put into another path.
type Captures struct {
	names   [config.MaxCaptures]string
	values  [config.MaxCaptures][]byte
	n       int
	slashes int
}

// Get returns what was captured under name, or nil if there is no such capture.
func (c *Captures) Get(name string) []byte {
	for i := range c.n {
		if c.names[i] == name {
			return c.values[i]
		}
	}
	return nil
}

// Len returns the number of captures.
func (c *Captures) Len() int { return c.n }

// At returns capture i, in the order of the path.
func (c *Captures) At(i int) (name string, value []byte) { return c.names[i], c.values[i] }

// Reset empties c, so that it holds on to no request.
func (c *Captures) Reset() { *c = Captures{} }

// Slashes returns the number of slashes in the path that matched, which tells
// StripPrefix how far it reaches; 0 if the route has no path.
func (c *Captures) Slashes() int { return c.slashes }

// push adds a value; accept gives it its name.
func (c *Captures) push(value []byte) {
	c.values[c.n] = value
	c.n++
}
