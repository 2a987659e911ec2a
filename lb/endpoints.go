package lb

import (
	"slices"

	"weir/config"
)

// Endpoint is an address as a source reports it.
type Endpoint struct {
	// URL is as in the configuration.
	URL string
	// Weight is the share relative to the others; below 1 counts as 1.
	Weight int
	// Priority is the group; 0 is used first.
	Priority int
	// Drain lets running exchanges finish and sends no new ones.
	Drain bool
	// Sharers is how many endpoints, this one included, have Weight together, in equal parts; below
	// 2 means that this one has it alone.
	Sharers int
}

// EndpointOf returns what a target of the configuration is as an endpoint.
func EndpointOf(t config.Target) Endpoint {
	return Endpoint{URL: t.Origin(), Weight: t.Weight, Priority: t.Priority, Drain: t.Drain}
}

// Distinct returns the endpoints of all lists in their order. Of several with the same URL the first counts.
func Distinct(lists ...[]Endpoint) (all []Endpoint) {
	seen := make(map[string]bool)
	for _, list := range lists {
		for _, e := range list {
			if !seen[e.URL] {
				seen[e.URL] = true
				all = append(all, e)
			}
		}
	}
	return all
}

// SetEndpoints says which endpoints were found besides the static targets, in place of
// those that it was given before. It counts for all generations, the later ones included.
// Targets that stay keep connections, counts and health; those that are gone get no
// new exchanges and close their connections when the running ones have ended.
//
// An error is about the newest generation, and changes nothing. An older generation
// that cannot have the endpoints keeps those that it has.
func (u *Upstream) SetEndpoints(endpoints []Endpoint) error {
	c := u.core
	c.mu.Lock()
	old, changes, err := c.find(slices.Clone(endpoints))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	u.replaced(old, changes)
	return nil
}

// Part says which endpoints were found by sources that the newest generation has no more.
// Older generations keep them beside those of SetEndpoints: they serve until the newest one is in
// force, and what runs on them may need another attempt.
func (u *Upstream) Part(endpoints []Endpoint) {
	c := u.core
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parted = Distinct(endpoints, c.parted)
}

// SetWeight changes the weight of t as an override by the operator; 0 ends that. It counts for all
// generations and survives reloads, and lasts for an hour while the target is not there.
func (u *Upstream) SetWeight(t *Target, weight int) error {
	c := u.core
	c.mu.Lock()
	before := t.live.weight.Swap(int64(weight))
	old, changes, err := c.find(c.found)
	if err != nil {
		t.live.weight.Store(before)
	} else {
		c.overrides.change(t.url, func(w *override) { w.weight = int64(weight) })
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	u.replaced(old, changes)
	return nil
}

// replaced does what find leaves to be done without the lock.
func (u *Upstream) replaced(old []*snapshot, changes []change) {
	for _, s := range old {
		s.release()
	}
	u.tell(changes)
	u.core.queue.wakeAll()
	if w := u.core.watcher.Load(); w != nil && w.Replaced != nil {
		w.Replaced()
	}
}

// find makes the sets of all generations anew, with these endpoints besides the static targets. It returns the sets
// that they had and what has changed, for replaced. mu must be held.
func (c *core) find(found []Endpoint) (old []*snapshot, changes []change, err error) {
	known := c.known()
	older := found
	if len(c.parted) > 0 {
		older = Distinct(found, c.parted)
	}
	for i, u := range slices.Backward(c.open) {
		newest, endpoints := i == len(c.open)-1, older
		if newest {
			endpoints = found
		}
		s, err := u.newSnapshot(endpoints, known)
		if err != nil {
			if newest {
				return nil, nil, err
			}
			u.o.Log.Warn("an old generation cannot use what was found", "upstream", u.name, "error", err)
			continue
		}
		old = append(old, u.set.Swap(s))
		changes = append(changes, u.settleLocked(u.now())...)
	}
	c.found = found
	c.lookAtOverrides()
	return old, changes, nil
}

// lookAtOverrides notes which targets are there that have overrides. mu must be held.
func (c *core) lookAtOverrides() {
	if len(c.overrides) == 0 {
		return
	}
	there, now := make(map[string]bool), int64(0)
	for _, u := range c.open {
		now = u.now()
		for _, t := range u.set.Load().targets {
			there[t.url] = true
		}
	}
	c.overrides.look(now, func(url string) bool { return there[url] })
}

// known returns the live parts of the targets of all generations by their identity. mu
// must be held.
func (c *core) known() map[string]*live {
	known := make(map[string]*live)
	for _, u := range c.open {
		for _, t := range u.set.Load().targets {
			known[t.live.identity] = t.live
		}
	}
	return known
}

// open makes the first set of the generation.
func (u *Upstream) open() error {
	c := u.core
	c.mu.Lock()
	s, err := u.newSnapshot(c.found, c.known())
	if err != nil {
		c.mu.Unlock()
		return err
	}
	u.set.Store(s)
	c.open = append(c.open, u)
	changes := u.settleLocked(u.now())
	c.mu.Unlock()
	u.tell(changes)
	return nil
}

// Close gives the targets back. Exchanges that run on them go on; connections
// are closed once no generation and no exchange has the target. Calling it again does
// nothing.
func (u *Upstream) Close() {
	c := u.core
	c.mu.Lock()
	c.open = slices.DeleteFunc(c.open, func(o *Upstream) bool { return o == u })
	if len(c.open) < 2 {
		c.parted = nil
	}
	old := u.set.Swap(&snapshot{})
	c.lookAtOverrides()
	c.mu.Unlock()
	old.release()
}
