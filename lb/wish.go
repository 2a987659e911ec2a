package lb

import "time"

// wishFor is how long an operator's wish outlives its target: long enough for a machine that is drained and then restarted, and
// not so long that the address has become another one's.
const wishFor = int64(time.Hour)

// wish is what an operator wants of a target, whose connections and counts may be made anew, as by a reload with
// other settings, and which may go for a while if it is discovered.
type wish struct {
	drain  bool
	weight int64 // 0: none
	// gone is when it was seen that no generation has the target; 0 while one has.
	gone int64
}

// wishes are those for the targets of an upstream, by URL. core.mu guards them.
type wishes map[string]*wish

// change changes the wish for the target at url.
func (w *wishes) change(url string, f func(*wish)) {
	if *w == nil {
		*w = make(wishes)
	}
	of := (*w)[url]
	if of == nil {
		of = new(wish)
		(*w)[url] = of
	}
	if f(of); !of.drain && of.weight == 0 {
		delete(*w, url)
	}
}

// look notes which targets are there at now, and forgets the wishes for those that have been gone for too long.
func (w wishes) look(now int64, there func(url string) bool) {
	for url, of := range w {
		switch {
		case there(url):
			of.gone = 0
		case of.gone == 0:
			of.gone = now
		case now-of.gone > wishFor:
			delete(w, url)
		}
	}
}

// fulfil makes l, which is new and whose target is at url, what the operator wants of it. core.mu must be held.
func (u *Upstream) fulfil(l *live, url string, now int64) {
	of := u.core.wishes[url]
	if of == nil || of.gone != 0 && now-of.gone > wishFor {
		return
	}
	if of.drain {
		l.bits.Or(bitDrain)
		reason := byOperator
		l.reason.CompareAndSwap(nil, &reason)
	}
	l.weight.Store(of.weight)
	if of.gone != 0 {
		u.o.Log.Info("a target is back, for which the operator's wish still counts", "upstream", u.name, "target", displayName(url), "drain", of.drain, "weight", of.weight)
	}
}
