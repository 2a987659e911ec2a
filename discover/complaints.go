package discover

import (
	"fmt"
	"log/slog"
	"slices"
)

// Complaints logs what is wrong with single endpoints, once for as long as it stays so. One
// goroutine at a time may use it.
type Complaints struct {
	log      *slog.Logger
	rejected func(n int) // may be nil
	told     map[string]bool
}

// NewComplaints returns Complaints about what a source found.
func NewComplaints(log *slog.Logger, source string) *Complaints {
	return &Complaints{log: log.With("source", source)}
}

// Complaints returns those about what a source found, which o.Rejected hears of.
func (o *SchemeOptions) Complaints(source string) *Complaints {
	c := NewComplaints(o.Log, source)
	c.rejected = o.Rejected
	return c
}

// Tell takes in all that is wrong now.
func (c *Complaints) Tell(bad []error) {
	now := make(map[string]bool)
	for _, err := range bad {
		text := err.Error()
		if !c.told[text] && !now[text] {
			c.log.Warn("an endpoint cannot be used", "error", err)
		}
		now[text] = true
	}
	c.told = now
	if c.rejected != nil {
		c.rejected(len(bad))
	}
}

// Usable parses what each of list says. It returns what can be used, which is never nil, and what is wrong with the others.
func Usable[V, R any](list []V, parse func(V) (R, error)) (usable []R, bad []error) {
	usable = make([]R, 0, len(list))
	for _, v := range list {
		r, err := parse(v)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		usable = append(usable, r)
	}
	return usable, bad
}

// JudgeEntries is Judge for the entries of a catalog: bad is what is wrong besides. What is wrong with an entry (Entry.Wrong) is
// not logged here, because the registry that gets the entry logs it.
func (c *Complaints) JudgeEntries(entries []Entry, bad []error) error {
	c.Tell(bad)
	return noneUsable(entries, slices.Clip(bad))
}

// Judge takes in all that is wrong now, as Tell does. The error says that nothing of a report can be
// used, whose parts are called what, such as "endpoints"; usable is how many of them can be.
func (c *Complaints) Judge(what string, usable int, bad []error) error {
	c.Tell(bad)
	if usable == 0 && len(bad) > 0 {
		return fmt.Errorf("none of the %s can be used: %w", what, bad[0])
	}
	return nil
}
