package lb

import "fmt"

// SetEmptyReason says why nothing is found for the upstream, for errors while it has no targets; empty means
// that nothing is known. It counts for all generations.
func (u *Upstream) SetEmptyReason(reason string) { u.core.emptyReason.Store(&reason) }

// EmptyReason returns why the upstream has no targets; empty if it has some, or if nothing is known.
func (u *Upstream) EmptyReason() string {
	if reason := u.core.emptyReason.Load(); reason != nil && len(u.Targets()) == 0 {
		return *reason
	}
	return ""
}

// Why returns ErrNoTarget as an error that says why no target is usable now. It is cheap until
// its text is read; the text is about the time of reading.
func (u *Upstream) Why() error { return unusable{u} }

// unusable is ErrNoTarget of an upstream.
type unusable struct{ u *Upstream }

func (e unusable) Unwrap() error { return ErrNoTarget }

// Error names the first target that is out, and counts the others.
func (e unusable) Error() string {
	list := e.u.Targets()
	if len(list) == 0 {
		if reason := e.u.EmptyReason(); reason != "" {
			return ErrNoTarget.Error() + ": there are none: " + reason
		}
		return ErrNoTarget.Error() + ": there are none"
	}
	text, out := ErrNoTarget.Error(), 0
	for _, t := range list {
		state := t.State()
		if state == Healthy || state == SlowStart {
			continue
		}
		if out++; out > 1 {
			continue
		}
		text += fmt.Sprintf(": %s is %s", t.Name(), state)
		if reason := t.Reason(); reason != "" {
			text += ": " + reason
		}
	}
	if out > 1 {
		text += fmt.Sprintf("; and %d more are out", out-1)
	}
	return text
}
