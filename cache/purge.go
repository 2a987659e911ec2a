package cache

import (
	"bytes"
	"math"
	"slices"
	"strings"
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

// Purge ends the entries that p names, here and with all who share a tier, and
// reports how many there were here. A fetch under way for one of them is not
// stored. now is in ns since the epoch.
func (s *Store) Purge(p Purge, now int64) int {
	m := mark{At: now, Soft: p.Soft}
	switch {
	case p.Group != "":
		m.Group = p.Group
	case p.URL != "":
		m.Key, m.Wide = normalURL(p.URL), true
	case p.All:
		m.All = true
	case p.Prefix != "":
		m.Prefix = normalURL(p.Prefix)
	case p.Host != "":
		m.Host = strings.ToLower(p.Host)
	default:
		return 0
	}
	return s.endAndTell(m)
}

// endAndTell ends what m names and tells the others.
func (s *Store) endAndTell(m mark) int {
	for _, a := range s.tiers {
		a.announce(m)
	}
	return s.end(m, math.MaxInt64)
}

// end ends the entries in the near tier that m names and that are not newer
// than before.
func (s *Store) end(m mark, before int64) int {
	switch {
	case m.All:
		return s.endWhere(m, before, func(string) bool { return true })
	case m.Wide:
		narrow := m.Key + "\n" // how a key goes on that a rule made narrower
		return s.endKey(m, before) + s.endWhere(m, before, func(key string) bool { return strings.HasPrefix(key, narrow) })
	case m.Key != "":
		return s.endKey(m, before)
	case m.Group != "":
		return s.endGroup(m, before)
	case m.Prefix != "":
		return s.endWhere(m, before, func(key string) bool { return strings.HasPrefix(key, m.Prefix) })
	case m.Host != "":
		return s.endWhere(m, before, func(key string) bool { return keyHost(key) == m.Host })
	}
	return 0
}

// PurgeRequest ends all variants under the key of a request, as the PURGE
// method asks for.
func (s *Store) PurgeRequest(q *Request, soft bool) int {
	q.prepare(s.hash)
	return s.endAndTell(mark{At: q.now, Soft: soft, Key: string(urlOf(q.key)), Wide: true})
}

// urlOf is the part of a key that names the URL.
func urlOf(key []byte) []byte {
	url, _, _ := bytes.Cut(key, []byte{'\n'})
	return url
}

// changed is the mark that ends what is stored for the URL of a key, whatever
// else that holds.
func (q *Request) changed(key []byte) mark {
	return mark{At: q.now, Key: string(urlOf(key)), Wide: q.Policy.narrows()}
}

// normalURL is the key that a URL has if its route adds nothing to it. A URL
// that ends with its host means the path "/", so that the prefix "https://a.org"
// is not that of "https://a.org.example".
func normalURL(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return "GET " + url
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if path == "" || path[0] == '?' {
		path = "/" + path
	}
	return "GET " + strings.ToLower(scheme) + "://" + strings.ToLower(host) + path
}

// keyHost is the host part of a key.
func keyHost(key string) string {
	_, rest, _ := strings.Cut(key, "://")
	if i := strings.IndexAny(rest, "/?\n*"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// keyOrigin is scheme and host of a key.
func keyOrigin(key string) string {
	i := strings.Index(key, "://")
	if i < 0 {
		return key
	}
	return key[:i+3] + keyHost(key)
}

// endKey ends all variants of a key.
func (s *Store) endKey(m mark, before int64) int {
	k := []byte(m.Key)
	hash := s.hash(k)
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.doomLocked(func(f *Fill) bool { return f.key == m.Key })
	r := sh.resourceLocked(hash, k)
	if r == nil {
		return 0
	}
	return s.endLocked(sh, slices.Clone(r.nodes), m, before)
}

// endWhere walks over all entries: purges are rare, and an index of hosts and
// paths would cost memory for each entry.
func (s *Store) endWhere(m mark, before int64, match func(key string) bool) int {
	count := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.doomLocked(func(f *Fill) bool { return match(f.key) })
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
func (s *Store) endGroup(m mark, before int64) int {
	count := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.doomLocked(func(f *Fill) bool { return f.inGroup(m.Group) && (m.Origin == "" || keyOrigin(f.key) == m.Origin) })
		var nodes []*node
		for n := range sh.groups[m.Group] {
			if m.Origin == "" || keyOrigin(n.entry.key) == m.Origin {
				nodes = append(nodes, n)
			}
		}
		count += s.endLocked(sh, nodes, m, before)
		sh.mu.Unlock()
	}
	return count
}

// endLocked ends nodes of sh and reports how many answers that were.
func (s *Store) endLocked(sh *shard, nodes []*node, m mark, before int64) int {
	count := 0
	for _, n := range nodes {
		if n.entry.received > before {
			continue
		}
		if !n.entry.hitForMiss {
			count++
			if m.Soft {
				n.entry.expire(m.At)
				continue
			}
		}
		s.used.Add(-sh.removeLocked(n))
	}
	return count
}

// doomLocked keeps what is being fetched from being stored.
func (sh *shard) doomLocked(match func(f *Fill) bool) {
	for place, f := range sh.fills {
		if match(f) {
			f.mu.Lock()
			f.doomed = true
			f.mu.Unlock()
			// Whoever comes from now on must get what the origin says now.
			delete(sh.fills, place)
		}
	}
}

func (f *Fill) inGroup(group string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entry == nil || slices.Contains(f.entry.groups, group)
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
			if n.entry == e {
				s.used.Add(-sh.removeLocked(n))
				return
			}
		}
	}
}

// Unsafe is called with the response to a request whose method is neither
// stored nor safe: it invalidates what the response changed (RFC 9111 section
// 4.4, RFC 9875 section 3). If the response itself may be stored for later
// GETs, which POST alone knows, the Fill for it is returned; the caller calls
// Respond next.
func (s *Store) Unsafe(q *Request, r *Response) (f *Fill, invalidated int) {
	q.prepare(s.hash)
	if q.method != methodUnsafe && q.method != methodPost || r.Status < 200 || r.Status >= 400 {
		return nil, 0
	}
	invalidated = s.endAndTell(q.changed(q.key))
	same := false
	for _, name := range []string{"Location", "Content-Location"} {
		target, ok := sameOrigin(q, r.Fields.get(name))
		if !ok {
			continue
		}
		if bytes.Equal(target, q.Target) {
			same = same || name == "Content-Location"
			continue
		}
		key := q.Policy.appendKey(nil, q.Scheme, q.Host, target, q.Header)
		invalidated += s.endAndTell(q.changed(key))
	}
	for _, g := range parseGroups(r.Fields.joined("Cache-Group-Invalidation")) {
		invalidated += s.endAndTell(mark{At: q.now, Group: g, Origin: keyOrigin(string(q.key))})
	}
	if q.method == methodPost && same && r.Status == 200 {
		f = s.newFill(q)
		f.asked.contentLocation = true
		f.place = s.ownPlace(q)
		sh := s.shard(f.hash)
		sh.mu.Lock()
		sh.fills[f.place] = f
		sh.mu.Unlock()
	}
	return f, invalidated
}

// sameOrigin resolves a reference against the request's URL (RFC 3986 section
// 5) and returns its target if it has the same origin. Dot segments are only
// merged where they stand in a relative reference.
func sameOrigin(q *Request, ref []byte) (target []byte, ok bool) {
	if ref == nil {
		return nil, false
	}
	ref, _, _ = bytes.Cut(ref, []byte{'#'})
	if i := bytes.Index(ref, []byte("://")); i >= 0 && !bytes.ContainsAny(ref[:i], "/?") {
		if !bytes.EqualFold(ref[:i], q.Scheme) {
			return nil, false
		}
		ref = ref[i+1:]
	}
	if bytes.HasPrefix(ref, []byte("//")) {
		host := ref[2:]
		rest := []byte("/")
		if i := bytes.IndexAny(host, "/?"); i >= 0 {
			host, rest = host[:i], host[i:]
		}
		if !bytes.EqualFold(host, q.Host) {
			return nil, false
		}
		if rest[0] == '?' {
			rest = append([]byte{'/'}, rest...)
		}
		return rest, true
	}
	if i := bytes.IndexAny(ref, ":/?"); i >= 0 && ref[i] == ':' {
		return nil, false // another scheme, without an authority
	}
	path, _, _ := bytes.Cut(q.Target, []byte{'?'})
	switch {
	case len(ref) == 0:
		return q.Target, true
	case ref[0] == '/':
		return ref, true
	case ref[0] == '?':
		return append(bytes.Clone(path), ref...), true
	}
	base := path[:bytes.LastIndexByte(path, '/')+1]
	refPath, refQuery, has := bytes.Cut(ref, []byte{'?'})
	target = mergeDots(append(bytes.Clone(base), refPath...))
	if has {
		target = append(append(target, '?'), refQuery...)
	}
	return target, true
}

// mergeDots removes "." and ".." segments.
func mergeDots(path []byte) []byte {
	var out [][]byte
	segments := bytes.Split(path, []byte{'/'})
	for i, s := range segments {
		last := i == len(segments)-1
		switch string(s) {
		case ".":
			if last {
				out = append(out, nil)
			}
		case "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, nil)
			}
		default:
			out = append(out, s)
		}
	}
	return bytes.Join(out, []byte{'/'})
}
