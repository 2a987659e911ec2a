package discover

import "time"

// EndpointStatus is where a target of an upstream comes from.
type EndpointStatus struct {
	// Source is the name of the source.
	Source string
	// Seen is when the source last said that the endpoint is there.
	Seen time.Time
	// Kept is why the endpoint is in use although its source does not confirm it; empty if it
	// does.
	Kept string
}

// Status returns how the sources are, in the order of the configuration.
func (f *Follower) Status() (list []SourceStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sources {
		status := s.status()
		status.Endpoints, status.Rejected = len(s.found), s.rejected
		if s.Rejected != nil {
			status.Rejected += s.Rejected()
		}
		status.EmptySince, status.Restored = s.emptySince, s.restored
		list = append(list, status)
	}
	return list
}

// Endpoints returns where the endpoints that are in use come from, by URL.
func (f *Follower) Endpoints() map[string]EndpointStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make(map[string]EndpointStatus, len(f.given))
	for _, s := range f.sources {
		status := s.status()
		e := EndpointStatus{Source: s.Name, Seen: s.foundAt}
		switch {
		case s.restored:
			e.Kept = "found before the start, the source has not reported yet"
		case s.unusable:
			e.Kept = "nothing that the source finds can be used"
		case !s.emptySince.IsZero():
			e.Kept = "the source finds nothing"
		}
		if status.Failing != "" {
			e.Kept = "the source fails: " + status.Failing
		}
		for _, found := range s.found {
			if _, known := all[found.URL]; !known {
				all[found.URL] = e
			}
		}
	}
	for url := range f.held {
		delete(all, url)
	}
	for _, e := range f.departed {
		if _, known := all[e.URL]; !known {
			all[e.URL] = EndpointStatus{Kept: "its source was replaced, and the new one has not reported yet"}
		}
	}
	return all
}

// Held returns the endpoints that are not used because they come and go, and when they
// will be.
func (f *Follower) Held() map[string]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(map[string]time.Time, len(f.held))
	for url, when := range f.held {
		held[url] = when
	}
	return held
}
