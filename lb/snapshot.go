package lb

import (
	"errors"
	"fmt"
	"net/url"

	"weir/config"
)

// snapshot is a set of targets. It is never changed.
type snapshot struct {
	targets []*Target
	groups  []group // by priority
	cookies map[string]*Target
}

// group is the targets of one priority.
type group struct {
	targets []*Target
	picker  Picker
}

// newSnapshot makes the set of the generation's static targets and those found, and
// holds each of them, or returns an error and holds none. What is in known is
// adopted, and what is new is added to known.
func (u *Upstream) newSnapshot(found []Endpoint, known map[string]*live) (_ *snapshot, err error) {
	s := &snapshot{cookies: make(map[string]*Target)}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	endpoints, err := u.endpoints(found)
	if err != nil {
		return nil, err
	}
	joins := len(known) > 0
	scale := scaleOf(endpoints)
	for _, e := range endpoints {
		l := known[u.identity(e.URL)]
		if l == nil || !l.holders.Hold() {
			if l, err = u.newLive(e.URL); err != nil {
				return nil, err
			}
			now := u.now()
			if !u.recall(l, e.URL, now) && joins {
				u.warm(l, now)
			}
			u.applyOverride(l, e.URL, now)
			known[l.identity] = l
		}
		s.add(e, l, u, scale)
	}
	return s, u.group(s)
}

// endpoints returns the static targets of the generation and those found. A target
// that is both has the settings of the configuration, and drains if either wants it.
func (u *Upstream) endpoints(found []Endpoint) ([]Endpoint, error) {
	targets := u.cfg.Static()
	list := make([]Endpoint, 0, len(targets)+len(found))
	static := make(map[string]int, len(targets))
	for i, t := range targets {
		e := EndpointOf(t)
		if _, twice := static[e.URL]; twice {
			return nil, errTwice(e.URL)
		}
		static[e.URL] = i
		list = append(list, e)
	}
	seen := make(map[string]bool, len(found))
	for _, e := range found {
		e.URL = (&config.Target{URL: e.URL}).Origin()
		if seen[e.URL] {
			return nil, errTwice(e.URL)
		}
		seen[e.URL] = true
		if i, known := static[e.URL]; known {
			list[i].Drain = list[i].Drain || e.Drain
			continue
		}
		list = append(list, e)
	}
	return list, nil
}

func errTwice(url string) error { return fmt.Errorf("cannot add target %q: it is there twice", url) }

// maxScale bounds what weights are multiplied with: all numbers of sharers up to 10 divide it.
const maxScale = 2520

// scaleOf returns what all weights are multiplied with, so that the part of one that shares a weight
// is a whole number, or nearly one where many numbers of sharers come together.
func scaleOf(endpoints []Endpoint) int {
	scale := 1
	for _, e := range endpoints {
		if e.Sharers > 1 && scale%e.Sharers != 0 {
			if scale = leastMultiple(scale, e.Sharers); scale > maxScale {
				return maxScale
			}
		}
	}
	return scale
}

// leastMultiple returns the least common multiple of a and b.
func leastMultiple(a, b int) int {
	divisor, rest := a, b
	for rest != 0 {
		divisor, rest = rest, divisor%rest
	}
	return a / divisor * b
}

// add appends the target of e. Its weight is multiplied with scale.
func (s *snapshot) add(e Endpoint, l *live, u *Upstream, scale int) {
	t := &Target{
		name:       displayName(e.URL),
		url:        e.URL,
		own:        max(1, e.Weight),
		configured: max(1, e.Weight),
		sharers:    max(1, e.Sharers),
		priority:   e.Priority,
		drained:    e.Drain,
		live:       l,
	}
	if set := l.weight.Load(); set > 0 {
		t.own, t.sharers = int(set), 1
	}
	t.weight = max(1, t.own*scale/t.sharers)
	if u.sticky != nil {
		t.cookie = cookieValue(&u.cfg.Sticky, u.name, e.URL)
		s.cookies[t.cookie] = t
	}
	twin := *t
	twin.trial = true
	t.twin = &twin
	s.targets = append(s.targets, t)
}

// group sorts the targets of s by priority and makes the pickers.
func (u *Upstream) group(s *snapshot) error {
	const priorities = 16
	for priority := range priorities {
		var members []*Target
		for _, t := range s.targets {
			if min(max(t.priority, 0), priorities-1) == priority {
				members = append(members, t)
			}
		}
		if len(members) == 0 {
			continue
		}
		picker, err := u.newPicker(members)
		if err != nil {
			return fmt.Errorf("cannot balance by %q: %w", u.cfg.Balance, err)
		}
		s.groups = append(s.groups, group{targets: members, picker: picker})
	}
	return nil
}

// newPicker asks the algorithm for a picker. core.mu is held, so a panic of an embedder's algorithm must go no further.
func (u *Upstream) newPicker(members []*Target) (picker Picker, err error) {
	defer func() {
		if v := recover(); v != nil {
			picker, err = nil, fmt.Errorf("the algorithm panicked: %v", v)
		}
	}()
	picker, err = u.algorithm.New(Input{
		Targets:  members,
		Config:   u.cfg,
		Options:  u.options,
		Position: &u.core.position,
		Rand:     u.o.Rand,
		Running:  u.core.inFlight.Load,
	})
	if err == nil && picker == nil {
		err = errors.New("the algorithm made no picker")
	}
	return picker, err
}

// release gives back the targets of s.
func (s *snapshot) release() {
	for _, t := range s.targets {
		t.live.release()
	}
}

// displayName returns raw without user information and query.
func displayName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil && u.RawQuery == "" {
		return raw
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
