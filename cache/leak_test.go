package cache_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
)

// TestLeak sends what many clients ask for, in many orders and at once, to an origin whose
// answers depend on who asks, and looks at each answer for whom it was made. It knows
// nothing of what may be stored: an answer is wrong if the representation depends on
// something in which the client differs from the one whom the origin made it for.

// client is one request and who makes it.
type client struct {
	url, scheme     string
	noise           string // the rest of the query, which does not count
	user            string // of the cookie; empty: none
	secret          string // of Authorization; empty: none
	gzip            bool
	method          string
	content         string // of a QUERY
	fields          rule.Fields
	began           int  // the step
	tls, terminated bool // the connection's scheme, and whether a trusted proxy ended TLS
}

// place is what a purge names.
func (c *client) place() string { return c.scheme + "://h" + c.url }

// asks is the URL that the client asks for.
func (c *client) asks() string { return c.place() + c.noise }

// representation is what the origin has for some clients.
type representation struct {
	client
	id       int
	byUser   bool // depends on the cookie
	bySecret bool // depends on Authorization
	byCoding bool // depends on Accept-Encoding
}

// madeFor says whether c may have the representation.
func (r *representation) madeFor(c *client) bool {
	return r.url == c.url && r.scheme == c.scheme && r.content == c.content && (!r.byUser || r.user == c.user) && (!r.bySecret || r.secret == c.secret) &&
		(!r.byCoding || r.gzip == c.gzip)
}

// body has the representation's number in each piece of six bytes.
func (r *representation) body() string { return strings.Repeat(fmt.Sprintf("%06d", r.id), 4) }

// has says whether these bytes are there.
func (r *representation) has(offset int, bytes string) bool {
	return strings.HasPrefix(r.body()[min(offset, 4*6):], bytes)
}

// madeAs is the representation whose number stands in the bytes, nil if there is none.
func (w *world) madeAs(offset int, bytes string) *representation {
	from := (6 - offset%6) % 6
	if len(bytes) < from+6 {
		return nil
	}
	id, err := strconv.Atoi(bytes[from : from+6])
	if err != nil || id >= len(w.made) {
		return nil
	}
	return w.made[id]
}

// world is the origin and what it has made.
type world struct {
	t    *testing.T
	rnd  *rand.Rand
	d    *driver // the store, and the time
	step int

	made     []*representation
	current  map[string]*representation
	versions map[string]int
	purged   map[string]int // the step of the last purge of a URL
	down     bool
	pending  []*exchange
	counts   map[string]int
}

func (w *world) pick(list ...string) string { return list[w.rnd.IntN(len(list))] }
func (w *world) rarely(n int) bool          { return w.rnd.IntN(n) == 0 }

// forbidden are ways to say that an answer is for one client, and what origins write
// instead.
var forbidden = []string{
	"private, max-age=60", "no-store", "max-age=60, no-store", "public; no-store", "public; max-age=30; private", "max-age=60 private",
	"max-age=60\tprivate", "\"private\", max-age=60", "max-age=60, x=\"private", "max-age=60, Private;", "max-age=60, no-store=1",
	"private=\"set-cookie;x\", max-age=60", "s-maxage=60; private", "must-understand;, no-store, max-age=60", "public=private, max-age=60",
}

// secretive do not permit to give an answer to a request with Authorization to others.
var secretive = []string{
	"max-age=60", "public;, max-age=60", "public=1, max-age=60", "s-maxage=60;", "s-maxage=x, max-age=60", "must-revalidate;, max-age=60",
	"immutable, max-age=60", "proxy-revalidate, max-age=60", "stale-while-revalidate=9, max-age=1",
}

// open permit it.
var open = []string{"max-age=3", "public, max-age=2, stale-while-revalidate=5", "s-maxage=4", "max-age=1, stale-if-error=9", "no-cache",
	"max-age=0", "public, max-age=20", "must-revalidate, max-age=2", "public; x", ""}

// varying are ways to say that the noise in a query does not count.
var varying = []string{`except=("id")`, `except=("id")`, `params, except=("id")`, `params=("x" "y" "b c"), key-order`}

// respond is the origin's answer to a request for c.
func (w *world) respond(c *client, h *head.Head) message {
	if w.down {
		return message{err: errRefused}
	}
	path := c.url[strings.LastIndexByte(c.url, '/'):]
	r := representation{client: *c}
	control, targeted, vary, cookie := w.pick(open...), "", "", false
	switch path {
	case "/varied?id=1", "/varied?id=2":
		r.byCoding, vary = true, "Accept-Encoding"
	case "/coded":
		r.byCoding, vary = true, "Accept-Encoding"
	case "/user":
		r.byUser, vary = true, "Cookie"
	case "/both":
		r.byUser, r.byCoding, vary = true, true, "Accept-Encoding, Cookie"
	case "/odd": // a Vary that cannot be read
		r.byUser, vary, control = true, w.pick("Accept-Encoding Cookie", "\"Cookie\"", "Cookie; q", "*, x"), "public, max-age=60"
	case "/private":
		r.byUser, control = true, w.pick(forbidden...)
		if w.rarely(4) {
			targeted, control = w.pick("No-Store", "max-age=60; private", "private=1, max-age=60", "max-age=60, no-store,"), w.pick("max-age=60", "public, max-age=60", "")
		}
	case "/session":
		r.byUser, cookie, control = true, true, w.pick("public, max-age=60", "s-maxage=60", "max-age=60", "")
		if w.rarely(4) {
			targeted = "max-age=60"
		}
	case "/secret":
		if c.secret != "" {
			r.bySecret, control = true, w.pick(secretive...)
		}
	}
	// Half of the time what varies was not so before.
	key := fmt.Sprint(path, c.content, w.versions[path], c.scheme, r.byUser && c.user != "", r.byUser, r.bySecret, r.byCoding)
	for _, dependent := range []struct {
		yes   bool
		value string
	}{{r.byUser, c.user}, {r.bySecret, c.secret}, {r.byCoding, fmt.Sprint(c.gzip)}} {
		if dependent.yes {
			key += "\n" + dependent.value
		}
	}
	now := w.current[key]
	if now == nil {
		r.id = len(w.made)
		now = &r
		w.made, w.current[key] = append(w.made, now), now
	}
	// One weak tag for all variants of a version; a strong one for each.
	tag := fmt.Sprintf(`W/"%d"`, w.versions[path])
	if path == "/parts" || path == "/both" && w.versions[path]%2 == 0 {
		tag = fmt.Sprintf(`"%s-%d"`, path[1:], now.id)
	}
	m := message{first: "200", body: now.body(), fields: rule.Fields("Date: " + w.d.now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "\r\n")}
	add := func(name, value string) { m.fields = append(m.fields, name+": "+value+"\r\n"...) }
	add("Content-Location", fmt.Sprint("/made/", now.id))
	add("X-Step", strconv.Itoa(w.step))
	if strings.HasPrefix(path, "/varied") {
		add("No-Vary-Search", w.pick(varying...))
	}
	add("Surrogate-Key", "g"+path[1:])
	add("Cache-Groups", strconv.Quote(path))
	if c.method == "DELETE" {
		add("Cache-Group-Invalidation", strconv.Quote(w.pick("/plain", "/coded", "/user")))
	}
	if c.method == "POST" && path == "/plain" {
		m.fields = nil
		add("Content-Location", c.url)
		add("X-Made", strconv.Itoa(now.id))
	}
	if !w.rarely(8) {
		add("ETag", tag)
	}
	if w.rarely(3) {
		add("Last-Modified", epoch.Add(-100*time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	}
	if control != "" {
		add("Cache-Control", control)
	}
	if targeted != "" {
		add("CDN-Cache-Control", targeted)
	}
	if vary != "" {
		add("Vary", vary)
	}
	if cookie {
		add("Set-Cookie", "session="+c.user)
	}
	if r.byCoding && c.gzip {
		add("Content-Encoding", "gzip")
	}
	if w.rarely(12) {
		m.first = w.pick("404", "500", "503")
	}
	w.restrict(&m, h, tag)
	if m.first != "304" && w.rarely(2) {
		add("Content-Length", strconv.Itoa(len(m.body)))
	}
	if c.method == "HEAD" {
		m.body = ""
	}
	return m
}

// restrict makes m what the conditions and the range in h ask for.
func (w *world) restrict(m *message, h *head.Head, tag string) {
	if m.first != "200" {
		return
	}
	opaque := strings.TrimPrefix(tag, "W/")
	if list := string(h.Joined(head.IfNoneMatch)); list != "" {
		if strings.Contains(list, opaque) || list == "*" {
			m.first, m.body = "304", ""
			w.counts["304 of the origin"]++
		}
		return
	}
	first, end, ok := wants(string(h.Get(head.Range)), len(m.body))
	if string(h.Get(head.Range)) == "" || !ok || tag[0] == 'W' {
		return
	}
	if v := string(h.Get(head.IfRange)); v != "" && v != tag {
		return
	}
	m.first = "206"
	m.fields = fmt.Appendf(m.fields, "Content-Range: bytes %d-%d/%d\r\n", first, end-1, len(m.body))
	m.body = m.body[first:end]
}

// check says whether the client may have what it got. own says that the origin made it for
// this exchange.
func (w *world) check(c *client, status int, fields rule.Fields, body string, own bool, how string) {
	w.counts[how]++
	m := message{fields: fields}
	number := strings.TrimPrefix(m.field("Content-Location"), "/made/")
	if v, ok := m.lookup("X-Made"); ok {
		number = v
	}
	id, err := strconv.Atoi(number)
	if err != nil || id >= len(w.made) {
		if status == 304 || status == 416 || status >= 500 || body == "" {
			return // says nothing of a representation
		}
		w.t.Fatalf("step %d: %s: %d without a number: %s", w.step, how, status, fields)
	}
	r := w.made[id]
	leak := ""
	switch cookie := m.field("Set-Cookie"); {
	case !r.madeFor(c):
		leak = "made for another"
	case cookie != "" && cookie != "session="+c.user:
		leak = "another's cookie"
	case !own && cookie != "":
		leak = "a cookie from the cache"
	case r.byCoding && status < 300 && (m.field("Content-Encoding") == "gzip") != c.gzip:
		leak = "another coding"
	}
	offset := 0
	if status == 206 {
		part, _, _ := strings.Cut(strings.TrimPrefix(m.field("Content-Range"), "bytes "), "-")
		offset, _ = strconv.Atoi(part)
		w.counts["parts"]++
	}
	if status < 300 && body != "" && !r.has(offset, body) {
		// A HEAD without validators may have brought the fields of a later version. The
		// bytes must be of one representation all the same, and that for this client.
		if of := w.madeAs(offset, body); of == nil || !of.madeFor(c) || !of.has(offset, body) {
			leak = "bytes of another"
		}
	}
	if made, err := strconv.Atoi(m.field("X-Step")); err == nil && !own && made < w.purged[c.place()] && c.began > w.purged[c.place()] {
		leak = "purged"
	}
	if leak != "" {
		w.t.Fatalf("step %d: %s: %s: client %+v got %d %q\n%smade for %+v", w.step, how, leak, *c, status, body, fields, r)
	}
}

// exchange is one on its way.
type exchange struct {
	w          *world
	c          client
	d          driver
	q          *cache.Request
	found      cache.Found
	f          *cache.Fetch
	background bool
	rounds     int
	waiting    []*exchange
	kept       message // what is being stored, once the head was seen
	keeping    bool
}

// find looks the request up and goes as far as it can without the origin.
func (e *exchange) find() {
	e.q = e.d.request(e.w.t, e.c.method+" "+e.c.asks(), e.c.fields, e.c.content)
	e.found = e.w.d.store.Lookup(e.q)
	e.goOn(false)
}

func (e *exchange) goOn(alone bool) {
	w := e.w
	for ; ; e.rounds++ {
		switch e.found.Outcome {
		case rule.Fresh, rule.Stale:
			if !e.answer(e.found.Outcome.String()) {
				e.direct()
			} else if e.found.Refresh {
				if f := w.d.store.Refresh(e.q, &e.found); f != nil {
					c := e.c
					c.method = "GET"
					w.pending = append(w.pending, &exchange{w: w, c: c, d: e.d, f: f, background: true})
				}
			}
			return
		case rule.Unavailable:
			return
		case rule.Bypass:
			e.direct()
			return
		}
		f, role := w.d.store.Join(e.q, &e.found, alone || e.rounds > 3)
		switch role {
		case cache.Ready:
			continue
		case cache.Follow:
			for _, p := range w.pending {
				if p.f == f {
					w.counts["waited"]++
					p.waiting = append(p.waiting, e)
					return
				}
			}
			w.t.Fatalf("step %d: nothing leads the fetch", w.step)
		}
		e.f = f
		w.pending = append(w.pending, e)
		return
	}
}

// answer answers from what was found.
func (e *exchange) answer(how string) bool {
	w := e.w
	a, ok := w.d.store.Answer(e.q, &e.found)
	if !ok {
		return false
	}
	body := string(a.Body)
	if a.Reader != nil {
		defer a.Reader.Close()
		for {
			p, err := a.Reader.Next(nil)
			if err == io.EOF {
				break
			}
			if err != nil {
				return true
			}
			body += string(p)
		}
	}
	if e.c.noise != "" && (how == "hit" || how == "stale") {
		w.counts["with noise"]++
	}
	if e.found.Collapsed {
		how = "collapsed"
	}
	raw := a.Head()
	w.check(&e.c, a.Status, raw[bytes.IndexByte(raw, '\n')+1:], body, false, how)
	return true
}

// direct asks the origin for this client alone.
func (e *exchange) direct() {
	m := e.w.respond(&e.c, e.q.Head)
	if m.err != nil {
		return
	}
	e.own(m)
	if f, _ := e.w.d.store.Unsafe(e.q, e.response(m)); f != nil {
		e.f = f
		e.keep(f.Respond(e.q, e.response(m)), m)
		e.end()
	}
	if unsafe := e.c.method == "POST" || e.c.method == "DELETE"; unsafe && m.first < "400" {
		e.w.purged[e.c.place()] = e.w.step
		if group := strings.Trim(m.field("Cache-Group-Invalidation"), `"`); group != "" {
			of := e.c
			of.url = group
			e.w.purged[of.place()] = e.w.step
			e.w.counts["groups ended"]++
		}
	}
}

func (e *exchange) response(m message) *rule.Response {
	d := e.d
	d.now = e.w.d.now
	return d.response(m)
}

// own gives the client what the origin made for it.
func (e *exchange) own(m message) {
	status, _ := strconv.Atoi(m.first)
	e.w.check(&e.c, status, m.fields, m.body, true, "own")
}

// proceed takes a fetch a step further: the head, or the end of the body.
func (e *exchange) proceed() {
	w := e.w
	if e.keeping {
		e.end()
		return
	}
	q := e.q
	if e.background {
		q = nil
	} else {
		q.Advance(w.d.now)
	}
	var h head.Head
	e.f.Request().CopyTo(&h)
	e.f.Condition(&h)
	m := w.respond(&e.c, &h)
	if m.err != nil {
		if q != nil {
			if reason, ok := e.found.StaleFor(q, rule.FailedConnection); ok {
				e.found.Outcome, e.found.Reason = rule.Stale, reason
				e.answer("stale, because the origin failed")
			}
		}
		e.end()
		return
	}
	dec := e.f.Respond(q, e.response(m))
	if dec.Action == cache.Again {
		w.counts["again"]++
		h.Del(head.IfNoneMatch)
		h.Del(head.IfModifiedSince)
		m = w.respond(&e.c, &h)
		if m.err != nil {
			e.end()
			return
		}
		dec = e.f.Respond(q, e.response(m))
	}
	switch dec.Action {
	case cache.Updated, cache.UseStale:
		if q != nil {
			e.found.Entry = dec.Entry
			e.answer("validated")
		}
		e.end()
		return
	case cache.Keep:
		if q != nil && !e.f.Narrowed() {
			e.own(m)
		}
		e.keep(dec, m)
		return
	}
	if q != nil {
		if entry, ok := e.f.WantsNothing(q, e.response(m)); ok {
			e.found = cache.Found{Outcome: rule.Fresh, Entry: entry}
			e.answer("condition of the client's own")
		} else {
			e.own(m)
		}
	}
	e.end()
}

// keep begins to store.
func (e *exchange) keep(dec cache.Decision, m message) {
	if dec.Action == cache.Keep {
		e.keeping, e.kept = true, m
	}
}

// end ends a fetch, and gives those who wait what there is.
func (e *exchange) end() {
	w := e.w
	// Those who wait are told of the head before the body is there.
	var ready []*exchange
	tell := func() {
		for _, o := range e.waiting {
			o.q.Advance(o.q.Now)
			role, _, err := e.f.Wait(o.q, &o.found, nil)
			o.q.Advance(later(o.q.Now, w.d.now))
			switch {
			case role == cache.Ready:
				ready = append(ready, o)
			case err == nil || role == cache.Alone:
				o.rounds++
				o.goOn(role == cache.Alone)
			}
		}
		e.waiting = nil
	}
	if e.keeping {
		if _, sized := e.kept.lookup("Content-Length"); sized {
			tell()
		}
		for _, o := range ready {
			o.found.Collapsed = true
		}
		if w.rarely(20) {
			e.f.Write([]byte(e.kept.body[:len(e.kept.body)/2]))
			e.f.Abort(cache.ErrAborted)
		} else {
			e.f.Write([]byte(e.kept.body))
			if e.f.Commit() == rule.ReasonNone {
				w.counts["stored"]++
			}
			if !e.background && e.q != nil && e.f.Narrowed() {
				e.found = e.f.Found()
				if e.found.Entry != nil {
					e.answer("narrowed")
				}
			}
		}
	}
	e.f.Abort(cache.ErrAborted)
	w.pending = slices.DeleteFunc(w.pending, func(o *exchange) bool { return o == e })
	tell()
	for _, o := range ready {
		o.goOn(false)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ask makes a request of some client's.
func (w *world) ask() client {
	c := client{
		url:    w.pick("/plain", "/coded", "/coded", "/user", "/user", "/both", "/odd", "/private", "/private", "/session", "/secret", "/secret", "/parts", "/varied?id=1", "/varied?id=1", "/varied?id=2"),
		method: "GET", user: w.pick("", "alice", "bob"), gzip: w.rarely(2), began: w.step,
		terminated: w.rarely(3), tls: w.rarely(4),
	}
	if strings.HasPrefix(c.url, "/varied") {
		c.noise = w.pick("", "&", "&x=1", "&x=2&y", "&%78=3", "&b+c=1", "&y=1&b%20c")
	}
	c.scheme = schemeOf(&c)
	if w.rarely(12) {
		c.method = w.pick("HEAD", "HEAD", "POST", "OPTIONS", "PROPFIND", "DELETE")
	}
	if c.method == "GET" && w.rarely(6) {
		c.method, c.content = "QUERY", w.pick("a", "b", "c")
	}
	add := func(name, value string) { c.fields = append(c.fields, name+": "+value+"\r\n"...) }
	if c.user != "" {
		add("Cookie", "user="+c.user)
	}
	if c.gzip {
		add("Accept-Encoding", "gzip")
	}
	if c.url == "/secret" && w.rarely(2) || w.rarely(12) {
		c.secret = w.pick("alice", "bob")
		add("Authorization", "Basic "+c.secret)
	}
	version := w.versions[c.url]
	if w.rarely(5) {
		add("If-None-Match", w.pick(fmt.Sprintf(`W/"%d"`, version), fmt.Sprintf(`"%s-%d"`, c.url[1:], w.rnd.IntN(len(w.made)+1)), `"x"`, "*"))
	}
	if w.rarely(10) {
		add("If-Modified-Since", epoch.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	}
	if c.url == "/parts" || w.rarely(8) {
		add("Range", w.pick("bytes=0-", "bytes=0-5", "bytes=6-", "bytes=3-9", "bytes=-7", "bytes=30-"))
		if w.rarely(5) {
			add("If-Range", fmt.Sprintf(`"%s-%d"`, c.url[1:], w.rnd.IntN(len(w.made)+1)))
		}
	}
	if w.rarely(8) {
		add("Cache-Control", w.pick("no-cache", "max-age=0", "max-stale=9", "max-stale", "only-if-cached", "no-store", "min-fresh=2"))
	}
	return c
}

// schemeOf is the scheme that the client uses: of the connection, or what a trusted proxy
// says of its own.
func schemeOf(c *client) string {
	if c.tls || c.terminated {
		return "https"
	}
	return "http"
}

func TestLeak(t *testing.T) {
	const seed = 20261126
	change := func(c *config.RouteCache) {
		c.DefaultTTL, c.NegativeTTL = config.Duration(3*time.Second), config.Duration(time.Second)
		c.StaleWhileRevalidate, c.StaleIfError = config.Duration(2*time.Second), config.Duration(3*time.Second)
		c.Uncacheable = config.Duration(4 * time.Second)
	}
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), d: newDriver(t, 1<<20, change), counts: map[string]int{},
		current: map[string]*representation{}, versions: map[string]int{}, purged: map[string]int{},
	}
	for range steps() {
		w.step++
		w.d.now = w.d.now.Add(time.Duration(w.rnd.IntN(600)) * time.Millisecond)
		switch n := w.rnd.IntN(100); {
		case n < 60:
			e := &exchange{w: w, c: w.ask(), d: driver{store: w.d.store, policy: w.d.policy, now: w.d.now}}
			e.find()
		case n < 94:
			if len(w.pending) > 0 {
				w.pending[w.rnd.IntN(len(w.pending))].proceed()
			}
		case n < 96:
			w.versions[w.ask().url]++
		case n < 97:
			w.down = w.rarely(3)
		default:
			w.purge()
		}
		for len(w.pending) > 20 {
			w.pending[0].proceed()
		}
	}
	for _, how := range []string{"hit", "stale", "collapsed", "validated", "narrowed", "own", "stale, because the origin failed",
		"condition of the client's own", "parts", "groups ended", "stored", "waited", "304 of the origin", "purged", "with noise"} {
		if w.counts[how] == 0 {
			t.Errorf("the model was not tried: no %q", how)
		}
	}
	t.Log(w.counts)
}

// purge ends something.
func (w *world) purge() {
	c := w.ask()
	p := cache.Purge{URL: c.asks()}
	switch w.rnd.IntN(5) {
	case 0:
		p.Soft = true
	case 1:
		p = cache.Purge{Group: "g" + c.url[1:]}
		for _, scheme := range []string{"http", "https"} {
			c.scheme = scheme
			w.purged[c.place()] = w.step
		}
	case 2:
		p = cache.Purge{Prefix: c.asks()}
		fallthrough
	default:
		w.purged[c.place()] = w.step
	}
	if w.d.store.Purge(p, w.d.now.UnixNano()).Entries > 0 {
		w.counts["purged"]++
	}
}
