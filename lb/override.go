package lb

import "time"

// overrideFor is how long an override outlives its target: long enough for a machine that is drained and then restarted, and
// not so long that the address has become another one's.
const overrideFor = int64(time.Hour)

// override is what an operator has set for a target. It outlives the target, whose connections and counts may be made anew, as by a reload with
// other settings, and which may be gone for a while if it is discovered.
type override struct {
	drain  bool
	weight int64 // 0: none
	// gone is when it was seen that no generation has the target; 0 while one has.
	gone int64
}

// overrides are those for the targets of an upstream, by URL. core.mu guards them.
type overrides map[string]*override

// change changes the override for the target at url.
func (w *overrides) change(url string, f func(*override)) {
	if *w == nil {
		*w = make(overrides)
	}
	of := (*w)[url]
	if of == nil {
		of = new(override)
		(*w)[url] = of
	}
	if f(of); !of.drain && of.weight == 0 {
		delete(*w, url)
	}
}

// look notes which targets are there at now, and forgets the overrides of those that have been gone for too long.
func (w overrides) look(now int64, there func(url string) bool) {
	for url, of := range w {
		switch {
		case there(url):
			of.gone = 0
		case of.gone == 0:
			of.gone = now
		case now-of.gone > overrideFor:
			delete(w, url)
		}
	}
}

// applyOverride makes l, which is new and whose target is at url, what the operator wants of it. core.mu must be held.
func (u *Upstream) applyOverride(l *live, url string, now int64) {
	of := u.core.overrides[url]
	if of == nil || of.gone != 0 && now-of.gone > overrideFor {
		return
	}
	if of.drain {
		l.bits.Or(bitDrain)
		reason := byOperator
		l.reason.CompareAndSwap(nil, &reason)
	}
	l.weight.Store(of.weight)
	if of.gone != 0 {
		u.o.Log.Info("a target is back whose drain or weight by the operator still counts", "upstream", u.name, "target", displayName(url), "drain", of.drain, "weight", of.weight)
	}
}
