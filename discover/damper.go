package discover

import "time"

const (
	// flapWindow is how long a removal counts, and flapsAllowed how many of them may
	// follow each other before the endpoint has to be there for firstHold before it is used
	// again; that doubles each time, up to longestHold.
	flapWindow   = time.Minute
	flapsAllowed = 3
	firstHold    = 5 * time.Second
	longestHold  = time.Minute
)

// damper decides when endpoints that come and go may come again. It knows them by URL.
type damper struct {
	gone   map[string]*flap
	pruned time.Time
}

// flap is what is known of an endpoint that was removed.
type flap struct {
	removals int
	last     time.Time // of the removals
	back     time.Time // when it was there again, while it is held back; zero: it is not
}

// removed notes that an endpoint is there no more.
func (d *damper) removed(url string, now time.Time) {
	f := d.gone[url]
	if f == nil {
		if d.gone == nil {
			d.gone = make(map[string]*flap)
		}
		f = new(flap)
		d.gone[url] = f
	}
	if now.Sub(f.last) > flapWindow {
		f.removals = 0
	}
	f.removals, f.last, f.back = f.removals+1, now, time.Time{}
}

// admits says whether an endpoint that is there, and was not used until now, may be used;
// if not, it says when it may.
func (d *damper) admits(url string, now time.Time) (ok bool, when time.Time) {
	f := d.gone[url]
	if f == nil || f.removals < flapsAllowed {
		return true, now
	}
	if f.back.IsZero() {
		f.back = now
	}
	when = f.back.Add(min(firstHold<<min(f.removals-flapsAllowed, 8), longestHold))
	if now.Before(when) {
		return false, when
	}
	f.back = time.Time{}
	return true, now
}

// prune forgets what does not count any more, now and then.
func (d *damper) prune(now time.Time) {
	if now.Sub(d.pruned) < flapWindow/4 {
		return
	}
	d.pruned = now
	for url, f := range d.gone {
		if now.Sub(f.last) > flapWindow && f.back.IsZero() {
			delete(d.gone, url)
		}
	}
}
