package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"weir/cache/rule"
	"weir/cache/tier"
)

// Purge ends entries by what is known of them. The zero value names nothing.
// Exactly one of the first five is set; Host may come with Prefix.
type Purge struct {
	// All names everything.
	All bool
	// URL is "https://host/target"; it names all variants under it, for every
	// value of the headers and cookies that the route's key rules add. Queries
	// that the rules change must be written as the key has them.
	URL string
	// Host is an authority as clients write it; it names all its entries.
	Host string
	// Prefix is the start of a URL, "https://host/path/".
	Prefix string
	// Group is a cache group (RFC 9875) or surrogate key.
	Group string

	// Soft ends only the lifetime: the entries may still be validated, and
	// answer when their stale windows allow it.
	Soft bool
}

// Purged is what came of a purge.
type Purged struct {
	// Entries is how many answers were ended in this process's memory.
	Entries int
	// Pending are the names of the tiers, and "the other process of the upgrade", that could not be told yet: others who share them
	// may still answer with what was purged. They are told as soon as they can be; after a
	// restart of this process only if the store has a tier that keeps notes.
	Pending []string
}

// Purge ends the entries that p names, here and with all who share a tier. A fetch under
// way for one of them is not stored. When it returns, the purge lasts in all tiers but those
// that are pending. now is in ns since the epoch. It may block for some seconds.
func (s *Store) Purge(p Purge, now int64) Purged {
	m := tier.Mark{At: now, Soft: p.Soft}
	switch {
	case p.Group != "":
		m.Group = p.Group
	case p.URL != "":
		m.Key, m.AllVariants = rule.URLKey(p.URL), true
	case p.All:
		m.All = true
	case p.Prefix != "":
		m.Prefix = rule.URLKey(p.Prefix)
	case p.Host != "":
		m.Host = rule.HostKey(p.Host)
	default:
		return Purged{}
	}
	return s.purge(m)
}

// purge ends what marks name and waits until all tiers know.
func (s *Store) purge(marks ...tier.Mark) (p Purged) {
	for i := range marks {
		marks[i].Purge = true
		p.Entries += s.endHere(&marks[i])
	}
	tries := make([]<-chan error, len(s.tiers))
	for i, a := range s.tiers {
		if a.released.Load() {
			done := make(chan error, 1)
			done <- nil // the process that replaces this one tells it
			tries[i] = done
			continue
		}
		tries[i] = a.news.purge(marks)
	}
	ctx, done := context.WithTimeout(context.Background(), confirmWait)
	defer done()
	for i, try := range tries {
		err := context.DeadlineExceeded
		select {
		case err = <-try:
		case <-ctx.Done():
		}
		if err != nil {
			p.Pending = append(p.Pending, s.tiers[i].Name())
		}
	}
	if s.other.Await(ctx) != nil {
		p.Pending = append(p.Pending, otherName)
	}
	return p
}

// endHere ends what m, a mark of this store's own, names. If the clock was set back, the mark is as
// late as what was received before: tiers may have that, and its time comes again.
func (s *Store) endHere(m *tier.Mark) int {
	now := m.At
	m.Node, m.At = s.node, max(now, s.newest.Load())
	if len(s.tiers) > 0 {
		s.marks.Add(*m)
	}
	for _, a := range s.tiers {
		a.unswept.Store(true)
	}
	s.tell(news{Marks: []tier.Mark{*m}})
	return s.end(*m, math.MaxInt64, now)
}

// invalidate ends what m names, and tells the others in the background.
func (s *Store) invalidate(m tier.Mark) int {
	n := s.endHere(&m)
	for _, a := range s.tiers {
		if !a.released.Load() {
			a.news.add(m)
		}
	}
	return n
}

// end ends the entries in the near tier that m names and that are not newer
// than before. A mark may be later than now, if a clock was set back.
func (s *Store) end(m tier.Mark, before, now int64) int {
	s.countEnd(m)
	m.At = min(m.At, now)
	switch {
	case m.All:
		return s.endWhere(m, before, func(string) bool { return true })
	case m.Key != "":
		return s.endKey(m, before)
	case m.Group != "":
		return s.endGroup(m, before)
	case m.Prefix != "":
		return s.endWhere(m, before, func(key string) bool { return rule.KeyBegins(key, m.Prefix) })
	case m.Host != "":
		return s.endWhere(m, before, func(key string) bool { return rule.KeyHost(key) == m.Host })
	}
	return 0
}

// Selection is what a request with a method such as PURGE asks to end. The zero value is the
// URL of the request.
type Selection struct {
	// All names everything, on all hosts.
	All bool
	// Groups are cache groups or surrogate keys, on all hosts, in place of the URL.
	Groups []string
	// Pattern says that the URL ends in ".*", which stands for whatever follows.
	Pattern bool
	// Soft ends only the lifetime.
	Soft bool
}

// PurgeRequest ends what a request selects, as Purge does: of a URL all variants, under both
// http and https: a client that purges often cannot know which of them other clients use. An error says
// what is not known.
func (s *Store) PurgeRequest(q *Request, sel *Selection) (Purged, error) {
	q.prepare(s)
	m := tier.Mark{At: q.At, Soft: sel.Soft}
	if sel.All && len(sel.Groups) > 0 || sel.Pattern && (sel.All || len(sel.Groups) > 0) {
		return Purged{}, errors.New("found two ways to select: want one")
	}
	switch {
	case sel.All:
		m.All = true
		return s.purge(m), nil
	case len(sel.Groups) > 0:
		var marks []tier.Mark
		for _, g := range sel.Groups {
			m.Group = g
			marks = append(marks, m)
		}
		return s.purge(marks...), nil
	}
	target := q.Target
	if sel.Pattern {
		start, ends := bytes.CutSuffix(target, []byte(".*"))
		if !ends || bytes.ContainsAny(start, `^$*+()[]{}|\`) {
			return Purged{}, fmt.Errorf("found the pattern %q: want the start of a URL with .* behind it", target)
		}
		target = start
	}
	var marks []tier.Mark
	for _, scheme := range []string{"http", "https"} {
		key := q.URLKey(scheme, target)
		if sel.Pattern {
			m.Prefix = key
		} else {
			m.Key, m.AllVariants = key, true
		}
		marks = append(marks, m)
	}
	return s.purge(marks...), nil
}

// changed is the mark that ends what is stored for the URL of a key, whatever
// else that holds.
func (q *Request) changed(key []byte) tier.Mark {
	return tier.Mark{At: q.At, Key: string(rule.KeyURL(key)), AllVariants: q.Policy.ExtendsKey()}
}

// endKey ends all variants of a key, and with AllVariants also of those to which a rule
// added something; and those of the keys that answers to its URL share with others.
func (s *Store) endKey(m tier.Mark, before int64) int {
	count := s.endURL(m.Key, m, before, func(key string) bool {
		return key == m.Key || m.AllVariants && extends(key, m.Key) && !rule.KeyVaries(key)
	})
	for _, varied := range s.variedKeys(m.Key) {
		url := string(rule.KeyURL([]byte(varied)))
		count += s.endURL(url, m, before, func(key string) bool { return extends(key, varied) })
	}
	return count
}

// extends says whether the key is start, or that and more lines.
func extends(key, start string) bool {
	more, ok := strings.CutPrefix(key, start)
	return ok && (more == "" || more[0] == '\n')
}

// endURL ends the entries that match among those whose keys begin with a URL. All of them
// are in one shard.
func (s *Store) endURL(url string, m tier.Mark, before int64, match func(key string) bool) int {
	hash := s.hash([]byte(url))
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.doomLocked(func(f *Fetch) bool { return match(f.key) })
	return s.endLocked(sh, sh.underLocked(url, hash, match), m, before)
}

// underLocked are the entries that match among those whose keys begin with a URL.
func (sh *shard) underLocked(url string, hash uint64, match func(key string) bool) (nodes []*node) {
	if r := sh.resourceLocked(hash, []byte(url)); r != nil && match(url) {
		nodes = slices.Clone(r.nodes)
	}
	for r := range sh.extended[url] {
		if match(r.key) {
			nodes = append(nodes, r.nodes...)
		}
	}
	return nodes
}

// endWhere walks over all entries: purges are rare, and an index of hosts and
// paths would cost memory for each entry.
func (s *Store) endWhere(m tier.Mark, before int64, match func(key string) bool) int {
	count := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.doomLocked(func(f *Fetch) bool { return match(f.key) })
		var nodes []*node
		for _, r := range sh.resources {
			for ; r != nil; r = r.next {
				if match(r.key) {
					nodes = append(nodes, r.nodes...)
				}
			}
		}
		count += s.endLocked(sh, nodes, m, before)
		sh.mu.Unlock()
	}
	return count
}

// endGroup ends the entries of a group, those of one origin if that is not
// empty.
func (s *Store) endGroup(m tier.Mark, before int64) int {
	count := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.doomLocked(func(f *Fetch) bool {
			return f.inGroup(m.Group) && (m.Origin == "" || rule.KeyOrigin(f.key) == m.Origin)
		})
		var nodes []*node
		for n := range sh.groups[m.Group] {
			if m.Origin == "" || rule.KeyOrigin(n.Value.key) == m.Origin {
				nodes = append(nodes, n)
			}
		}
		count += s.endLocked(sh, nodes, m, before)
		sh.mu.Unlock()
	}
	return count
}

// endLocked ends nodes of sh and reports how many answers that were.
func (s *Store) endLocked(sh *shard, nodes []*node, m tier.Mark, before int64) int {
	count := 0
	for _, n := range nodes {
		if n.Value.Received > before {
			continue
		}
		if !n.Value.hitForMiss {
			count++
			if m.Soft {
				n.Value.expire(m.At)
				continue
			}
		}
		s.used.Add(-sh.removeLocked(n))
	}
	return count
}

// doomLocked keeps what is being fetched from being stored.
func (sh *shard) doomLocked(match func(f *Fetch) bool) {
	for key, f := range sh.fetches {
		if match(f) {
			f.mu.Lock()
			f.doomed = true
			f.mu.Unlock()
			// Requests that come from now on must get what the origin says now.
			delete(sh.fetches, key)
		}
	}
}

func (f *Fetch) inGroup(group string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entry == nil || slices.Contains(f.entry.Groups, group)
}

// drop removes an entry if it is still stored.
func (s *Store) drop(e *Entry) {
	sh := s.shard(e.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for r := sh.resources[e.hash]; r != nil; r = r.next {
		if r.key != e.key {
			continue
		}
		for _, n := range r.nodes {
			if n.Value == e {
				s.used.Add(-sh.removeLocked(n))
				return
			}
		}
	}
}

// Unsafe is called with the response to a request whose method is neither
// stored nor safe: it invalidates what the response changed (RFC 9111 section
// 4.4, RFC 9875 section 3). If the response itself may be stored for later
// GETs, which POST alone knows, the Fetch for it is returned; the caller calls
// Respond next.
func (s *Store) Unsafe(q *Request, r *rule.Response) (f *Fetch, invalidated int) {
	q.prepare(s)
	if q.Method != rule.MethodUnsafe && q.Method != rule.MethodPost || r.Status < 200 || r.Status >= 400 {
		return nil, 0
	}
	invalidated = s.invalidate(q.changed(q.Key))
	same := false
	for _, name := range []string{"Location", "Content-Location"} {
		target, ok := rule.SameOrigin(&q.Request, r.Fields.Get(name))
		if !ok {
			continue
		}
		if bytes.Equal(target, q.Target) {
			same = same || name == "Content-Location"
			continue
		}
		key := q.AppendKey(nil, target)
		invalidated += s.invalidate(q.changed(key))
	}
	for _, g := range rule.ParseGroups(r.Fields.Joined("Cache-Group-Invalidation")) {
		invalidated += s.invalidate(tier.Mark{At: q.At, Group: g, Origin: rule.KeyOrigin(string(q.Key))})
	}
	s.awaitInvalidation()
	if q.Method == rule.MethodPost && same && r.Status == 200 {
		f = s.newFetch(q)
		f.asked.ContentLocation = true
		sh := s.shard(f.hash)
		sh.mu.Lock()
		f.enterLocked(sh, s.ownKey(f.key))
		sh.mu.Unlock()
	}
	return f, invalidated
}
