package cache_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
	"weir/internal/testkit"
)

var modelSteps = flag.Int("model.steps", 0, "exchanges of TestModel and TestLeak; 0: 30,000, or 8,000 with -short")

// steps is how many exchanges a model is tried with. Each fault of TestLeakFindsFaults shows before the 6,000th.
func steps() int {
	return cmp.Or(*modelSteps, testkit.Rounds(8_000, 30_000))
}

// The model is RFC 9111 written down as slowly and plainly as it goes: it keeps
// what came in and works everything out anew for each request, with strings
// and maps. It shares no code with the package.

// pairs are header fields in their order.
type pairs [][2]string

func (p pairs) all(name string) []string {
	var list []string
	for _, f := range p {
		if strings.EqualFold(f[0], name) {
			list = append(list, f[1])
		}
	}
	return list
}

func (p pairs) get(name string) (string, bool) {
	list := p.all(name)
	return strings.Join(list, ", "), len(list) > 0
}

func (p pairs) directives() map[string]string {
	d := map[string]string{}
	value, _ := p.get("Cache-Control")
	for item := range strings.SplitSeq(value, ",") {
		name, arg, _ := strings.Cut(strings.TrimSpace(item), "=")
		if _, dup := d[strings.ToLower(name)]; !dup {
			d[strings.ToLower(name)] = arg
		}
	}
	return d
}

func (p pairs) fields() rule.Fields {
	var f rule.Fields
	for _, kv := range p {
		f = append(f, kv[0]+": "+kv[1]+"\r\n"...)
	}
	return f
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

type ask struct {
	method, url string
	fields      pairs
	down        bool // the origin does not answer
	now         time.Time
}

func (a ask) selects(name string) string {
	list := a.fields.all(name)
	if len(list) == 0 {
		return "(absent)"
	}
	return strings.Join(list, ",")
}

type reply struct {
	status int
	fields pairs
	body   string
}

// kept is a response that the model stores.
type kept struct {
	reply
	at  time.Time
	sel map[string]string
	// ended is when its lifetime was ended early.
	ended time.Time
	// bytes is what is there of a partial one, nil if it is whole; total is how
	// many there would be.
	bytes map[int]byte
	total int
}

// over is for how long it has been stale; 0 is stale already.
func (k kept) over(now time.Time) int64 {
	over := k.age(now) - k.lifetime()
	if !k.ended.IsZero() {
		over = max(over, now.Unix()-k.ended.Unix())
	}
	return over
}

func (k kept) seconds(name string) (int64, bool) {
	v, ok := k.fields.directives()[name]
	return number(v), ok
}

func (k kept) date() time.Time {
	if v, ok := k.fields.get("Date"); ok {
		if t, err := http.ParseTime(v); err == nil {
			return t
		}
	}
	return k.at
}

func (k kept) age(now time.Time) int64 {
	apparent := max(k.at.Unix()-k.date().Unix(), 0)
	v, _ := k.fields.get("Age")
	return max(apparent, number(v)) + now.Unix() - k.at.Unix()
}

func (k kept) byDefault() bool {
	return slices.Contains([]int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}, k.status)
}

func (k kept) lifetime() int64 {
	d := k.fields.directives()
	if s, ok := d["s-maxage"]; ok {
		return number(s)
	}
	if s, ok := d["max-age"]; ok {
		return number(s)
	}
	if v, ok := k.fields.get("Expires"); ok {
		t, err := http.ParseTime(v)
		if err != nil {
			return 0
		}
		return max(t.Unix()-k.date().Unix(), 0)
	}
	_, public := d["public"]
	if v, ok := k.fields.get("Last-Modified"); ok && (k.byDefault() || public) {
		if t, err := http.ParseTime(v); err == nil && t.Before(k.date()) {
			return min((k.date().Unix()-t.Unix())/10, 24*3600)
		}
	}
	return 0
}

func (k kept) explicit() bool {
	d := k.fields.directives()
	_, s := d["s-maxage"]
	_, m := d["max-age"]
	_, e := k.fields.get("Expires")
	return s || m || e
}

func (k kept) noCache() bool { _, ok := k.fields.directives()["no-cache"]; return ok }

// neverStale: RFC 9111 section 4.2.4.
func (k kept) neverStale() bool {
	d := k.fields.directives()
	for _, name := range []string{"must-revalidate", "proxy-revalidate", "no-cache", "s-maxage"} {
		if _, ok := d[name]; ok {
			return true
		}
	}
	return false
}

func (k kept) validator() bool {
	_, e := k.fields.get("ETag")
	_, l := k.fields.get("Last-Modified")
	return e || l
}

// storable: RFC 9111 section 3.
func storable(a ask, k kept) bool {
	d := k.fields.directives()
	has := func(name string) bool { _, ok := d[name]; return ok }
	_, cookie := k.fields.get("Set-Cookie")
	_, authorization := a.fields.get("Authorization")
	vary, _ := k.fields.get("Vary")
	understood := k.status != 599 && k.status != 201
	switch {
	case a.method != "GET", k.status == 206:
		return false
	case has("must-understand") && !understood:
		return false
	case has("no-store") && !has("must-understand"):
		return false
	case has("private"), strings.Contains(vary, "*"):
		return false
	case authorization && !has("public") && !has("must-revalidate") && !has("s-maxage"):
		return false
	case cookie:
		return false
	case k.noCache() && !k.validator():
		return false
	case !k.explicit() && !has("public") && !k.byDefault():
		return false
	}
	return k.lifetime() > 0 || k.validator()
}

type model struct {
	kept map[string][]kept // newest first
	// joined and completed count what became of parts, answered the answers
	// from them.
	joined, completed, answered int
}

// expected is what must come of an exchange.
type expected struct {
	asked      bool
	tags       string // If-None-Match that the origin sees
	refresh    bool
	status     int
	body       string
	age        int64 // -1 if not from the store
	fromOrigin bool
}

func (m *model) find(a ask) (kept, int) {
	for i, k := range m.kept[a.url] {
		ok := true
		for name, v := range k.sel {
			ok = ok && a.selects(name) == v
		}
		if ok && (k.bytes == nil || k.covers(a)) {
			return k, i
		}
	}
	return kept{}, -1
}

// wants is the range of bytes that the request asks for, of total.
func wants(r string, total int) (first, end int, ok bool) {
	from, to, _ := strings.Cut(strings.TrimPrefix(r, "bytes="), "-")
	first, end = int(number(from)), total
	if from == "" {
		first = max(total-int(number(to)), 0)
	} else if to != "" {
		end = min(int(number(to))+1, total)
	}
	return first, end, first < end
}

// covers: RFC 9111 section 3.3.
func (k kept) covers(a ask) bool {
	r, ranged := a.fields.get("Range")
	_, inm := a.fields.get("If-None-Match")
	first, end, ok := wants(r, k.total)
	if a.method != "GET" || !ranged || inm || !ok {
		return false
	}
	// It must be as fresh as the client wants, for it cannot be validated.
	d := a.fields.directives()
	_, noCache := d["no-cache"]
	_, maxStale := d["max-stale"]
	limit, maxAge := d["max-age"]
	if noCache || k.over(a.now) >= 0 || -k.over(a.now) < number(d["min-fresh"]) ||
		maxAge && !maxStale && k.age(a.now) > number(limit) {
		return false
	}
	for i := first; i < end; i++ {
		_, there := k.bytes[i]
		ok = ok && there
	}
	return ok
}

// tag is the strong entity tag, or the date that is one.
func (k kept) tag() string {
	tag, has := k.fields.get("ETag")
	if has {
		if tag[0] != '"' {
			return ""
		}
		return tag
	}
	modified, _ := k.fields.get("Last-Modified")
	t, err := http.ParseTime(modified)
	if err != nil || k.date().Unix()-t.Unix() < 1 {
		return ""
	}
	return modified
}

// part: what a 206 brings, and what it is joined with.
func (m *model) part(a ask, r reply) (stored bool) {
	contentRange, ok := r.fields.get("Content-Range")
	if _, ranged := a.fields.get("Range"); !ok || !ranged {
		return false
	}
	n := kept{reply: reply{status: 200}, at: a.now, bytes: map[int]byte{}}
	var first, last int
	if _, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &n.total); err != nil {
		panic(err)
	}
	for _, f := range r.fields {
		if f[0] != "Content-Range" {
			n.fields = append(n.fields, f)
		}
	}
	if n.tag() == "" || !storable(a, n) {
		return false
	}
	for _, old := range m.kept[a.url] {
		if fmt.Sprint(old.sel) == fmt.Sprint(m.selected(a, n)) && old.bytes != nil && old.tag() == n.tag() && old.total == n.total {
			merged := merge(old, reply{fields: n.fields}, a.now)
			n.fields = merged.fields
			for i, b := range old.bytes {
				n.bytes[i] = b
			}
			m.joined++
		}
	}
	if n.noCache() || n.age(a.now) >= n.lifetime() || !storable(a, n) {
		return false
	}
	for i := range len(r.body) {
		n.bytes[first+i] = r.body[i]
	}
	if len(n.bytes) == n.total {
		for i := range n.total {
			n.body += string(n.bytes[i])
		}
		n.bytes = nil
		m.completed++
	}
	m.put(a, n)
	return true
}

// forget: parts of what the origin does not have any more.
func (m *model) forget(a ask, r reply) {
	if r.status >= 500 || r.status == 304 || r.status == 416 {
		return
	}
	m.kept[a.url] = slices.DeleteFunc(m.kept[a.url], func(k kept) bool {
		for name, v := range k.sel {
			if a.selects(name) != v {
				return false
			}
		}
		tag, _ := r.fields.get("ETag")
		stored, _ := k.fields.get("ETag")
		modified, has := r.fields.get("Last-Modified")
		storedModified, _ := k.fields.get("Last-Modified")
		return k.bytes != nil && (r.status != 200 && r.status != 206 || tag != stored || has && modified != storedModified)
	})
}

func (m *model) drop(url string, i int) { m.kept[url] = slices.Delete(m.kept[url], i, i+1) }

func (m *model) selected(a ask, k kept) map[string]string {
	sel := map[string]string{}
	vary, _ := k.fields.get("Vary")
	for name := range strings.SplitSeq(vary, ",") {
		if name = strings.TrimSpace(name); name != "" {
			sel[name] = a.selects(name)
		}
	}
	return sel
}

func (m *model) put(a ask, k kept) {
	k.sel = m.selected(a, k)
	for i, old := range m.kept[a.url] {
		if fmt.Sprint(old.sel) == fmt.Sprint(k.sel) {
			m.drop(a.url, i)
			break
		}
	}
	m.kept[a.url] = append([]kept{k}, m.kept[a.url]...)
}

// onFailure says whether k may answer when the origin failed.
func (k kept) onFailure(a ask, connection bool) bool {
	d := a.fields.directives()
	if _, no := d["no-cache"]; no || k.neverStale() {
		return false
	}
	over := k.over(a.now)
	if over <= 0 {
		_, maxAge := d["max-age"]
		_, minFresh := d["min-fresh"]
		return connection && !maxAge && !minFresh
	}
	sie, _ := k.seconds("stale-if-error")
	return over <= sie || connection && over <= 60
}

// do is an exchange; origin answers a conditional request or a plain one.
func (m *model) do(a ask, origin func(tags, part string) reply) expected {
	d := a.fields.directives()
	has := func(name string) bool { _, ok := d[name]; return ok }
	forwarded := func(store bool) expected {
		tags, _ := a.fields.get("If-None-Match")
		e := expected{asked: true, tags: tags, age: -1, fromOrigin: true}
		if a.down {
			e.status = 502
			return e
		}
		part, _ := a.fields.get("Range")
		r := origin(tags, part)
		e.status, e.body = r.status, r.body
		k := kept{reply: r, at: a.now}
		switch {
		case !store:
		case r.status == 206:
			if !m.part(a, r) {
				m.forget(a, r)
			}
		case r.status != 304 && storable(a, k):
			m.put(a, k)
		default:
			m.forget(a, r)
		}
		return e
	}
	if a.method == "POST" || a.method == "DELETE" {
		e := forwarded(false)
		if !a.down && e.status < 400 {
			delete(m.kept, a.url)
		}
		return e
	}
	if a.method == "OPTIONS" || has("no-store") {
		return forwarded(false)
	}
	k, i := m.find(a)
	if i >= 0 {
		age, over := k.age(a.now), k.over(a.now)
		usable, refresh := false, false
		switch {
		case k.noCache(), has("no-cache"):
		case has("max-age") && age > number(d["max-age"]) && !has("max-stale"):
		case has("min-fresh") && -over < number(d["min-fresh"]):
		case over < 0:
			usable = true
		case k.neverStale():
		default:
			swr, _ := k.seconds("stale-while-revalidate")
			limit := int64(1) << 40
			if d["max-stale"] != "" {
				limit = number(d["max-stale"])
			}
			if over <= swr && swr > 0 {
				usable, refresh = true, true
			} else {
				usable = has("max-stale") && over <= limit
			}
		}
		if usable {
			e := m.answer(a, k)
			if refresh {
				e.refresh = true
				e.asked, e.tags = true, ""
				b := a
				b.method, b.fields = "GET", slices.Clone(a.fields)
				m.fetch(b, k, i, origin, &e.tags, true)
			}
			return e
		}
	}
	if has("only-if-cached") {
		return expected{status: 504, age: -1}
	}
	_, inm := a.fields.get("If-None-Match")
	_, rng := a.fields.get("Range")
	if a.method == "HEAD" {
		e := forwarded(false)
		switch {
		case a.down:
			if i >= 0 && k.onFailure(a, true) {
				e = m.answer(a, k)
				e.asked = true
				e.tags, _ = a.fields.get("If-None-Match")
			}
		case e.status == 200 && i >= 0 && k.status == 200:
			m.head(a, k, i, origin(e.tags, ""))
		}
		return e
	}
	if part, _ := a.fields.get("Range"); i < 0 && rng && part != "bytes=0-" {
		return forwarded(true)
	}
	var e expected
	e.asked = true
	r, from, ok := m.fetch(a, k, i, origin, &e.tags, false)
	switch {
	case !ok:
		e.status, e.age = 502, -1
	case from != nil:
		got := m.answer(a, *from)
		got.asked, got.tags = true, e.tags
		return got
	default:
		e.status, e.body, e.age = r.status, r.body, -1
		if inm && r.status == 200 && !oneClients(r) {
			if got := m.answer(a, kept{reply: r, at: a.now}); got.status == 304 {
				e.status, e.body = 304, ""
			}
		}
	}
	return e
}

// fetch asks for the whole representation. It returns the origin's answer, or
// the entry that answers instead.
func (m *model) fetch(a ask, k kept, i int, origin func(tags, part string) reply, tags *string, background bool) (reply, *kept, bool) {
	var candidates []kept
	if i >= 0 && k.validator() {
		candidates = []kept{k}
	}
	var list []string
	for _, c := range candidates {
		if t, ok := c.fields.get("ETag"); ok {
			list = append(list, t)
		}
	}
	*tags = strings.Join(list, ", ")
	if a.down {
		if i >= 0 && k.onFailure(a, true) && !background {
			return reply{}, &k, true
		}
		return reply{}, nil, false
	}
	r := origin(*tags, "")
	if r.status == 304 {
		tag, _ := r.fields.get("ETag")
		for _, c := range candidates {
			if t, _ := c.fields.get("ETag"); strings.TrimPrefix(t, "W/") == strings.TrimPrefix(tag, "W/") {
				n := merge(c, r, a.now)
				grown := slices.ContainsFunc(varies(n), func(name string) bool { return name != "*" && !slices.Contains(varies(c), name) })
				if t, _ := c.fields.get("ETag"); grown || oneClient(a, n) && (strings.HasPrefix(tag, "W/") || strings.HasPrefix(t, "W/") || t == "") {
					// It is not known for which values of these fields c was made, or
					// whether this client would get what others do.
					if grown {
						m.drop(a.url, i)
					}
					*tags = ""
					narrowed := len(a.fields.all("If-None-Match"))+len(a.fields.all("Range")) > 0
					r = origin("", "")
					n := kept{reply: r, at: a.now}
					b := a
					b.method = "GET"
					if !storable(b, n) {
						m.forget(a, r)
						return r, nil, true
					}
					m.put(a, n)
					if narrowed {
						return reply{}, &n, true
					}
					return r, nil, true
				}
				b := a
				b.method = "GET"
				if i >= 0 && fmt.Sprint(varies(n)) == fmt.Sprint(varies(c)) || i < 0 && fmt.Sprint(varies(n)) == fmt.Sprint(varies(c)) {
					if storable(b, n) && !oneClients(r) {
						m.put(a, n)
						return reply{}, &n, true
					}
				}
				for j, old := range m.kept[a.url] {
					if fmt.Sprint(old.sel) == fmt.Sprint(c.sel) {
						m.drop(a.url, j)
						break
					}
				}
				return reply{}, &n, true
			}
		}
		panic("the origin sent a 304 for nothing")
	}
	if slices.Contains([]int{500, 502, 503, 504}, r.status) && i >= 0 && k.onFailure(a, false) {
		return reply{}, &k, true
	}
	n := kept{reply: r, at: a.now}
	b := a
	b.method = "GET"
	if storable(b, n) {
		m.put(a, n)
		if _, inm := a.fields.get("If-None-Match"); inm || len(a.fields.all("Range")) > 0 {
			// The client wanted less than what was fetched.
			return reply{}, &n, true
		}
	} else if i >= 0 && r.status < 500 && r.status != 206 {
		for j, old := range m.kept[a.url] {
			if fmt.Sprint(old.sel) == fmt.Sprint(k.sel) {
				m.drop(a.url, j)
				break
			}
		}
	} else if i < 0 {
		m.forget(a, r)
	}
	return r, nil, true
}

func varies(k kept) []string {
	v, _ := k.fields.get("Vary")
	var names []string
	for n := range strings.SplitSeq(v, ",") {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// oneClient says that an update is for the client alone that asked.
func oneClient(a ask, k kept) bool {
	d := k.fields.directives()
	has := func(name string) bool { _, ok := d[name]; return ok }
	_, authorization := a.fields.get("Authorization")
	if has("must-understand") && (k.status == 599 || k.status == 201) {
		return false
	}
	return has("no-store") && !has("must-understand") || has("private") ||
		authorization && !has("public") && !has("must-revalidate") && !has("s-maxage")
}

// oneClients says that an update brings a cookie that others may not get.
func oneClients(r reply) bool {
	_, cookie := r.fields.get("Set-Cookie")
	return cookie
}

// merge is k with the fields of a 304.
func merge(k kept, r reply, now time.Time) kept {
	n := kept{reply: reply{status: k.status, body: k.body}, at: now}
	for _, f := range k.fields {
		if _, replaced := r.fields.get(f[0]); !replaced && f[0] != "Age" && f[0] != "Date" {
			n.fields = append(n.fields, f)
		}
	}
	n.fields = append(n.fields, r.fields...)
	return n
}

// head lets a HEAD update the entry.
func (m *model) head(a ask, k kept, i int, r reply) {
	same := true
	for _, name := range []string{"ETag", "Last-Modified"} {
		if v, ok := r.fields.get(name); ok {
			stored, _ := k.fields.get(name)
			same = same && v == stored
		}
	}
	if !same {
		if k.ended.IsZero() {
			m.kept[a.url][i].ended = a.now
		}
		return
	}
	b := a
	b.method = "GET"
	n := merge(k, r, a.now)
	if storable(b, n) && !oneClients(r) && fmt.Sprint(varies(n)) == fmt.Sprint(varies(k)) {
		m.put(a, n)
		return
	}
	m.drop(a.url, i)
}

// answer is k for this request: whole, a part, or 304.
func (m *model) answer(a ask, k kept) expected {
	e := expected{status: k.status, body: k.body, age: k.age(a.now)}
	tag, _ := k.fields.get("ETag")
	if inm, ok := a.fields.get("If-None-Match"); ok {
		if k.status == 200 {
			for item := range strings.SplitSeq(inm, ",") {
				item = strings.TrimSpace(item)
				if item == "*" || tag != "" && strings.TrimPrefix(item, "W/") == strings.TrimPrefix(tag, "W/") {
					e.status, e.body = 304, ""
					return e
				}
			}
		}
	}
	if a.method == "HEAD" {
		e.body = ""
		return e
	}
	r, ok := a.fields.get("Range")
	if !ok || k.status != 200 {
		return e
	}
	if k.bytes != nil {
		m.answered++
		e.status = 206
		first, end, _ := wants(r, k.total)
		for ; first < end; first++ {
			e.body += string(k.bytes[first])
		}
		return e
	}
	from, to, _ := strings.Cut(strings.TrimPrefix(r, "bytes="), "-")
	n := len(k.body)
	switch {
	case from == "" && n == 0:
	case from == "":
		want := int(number(to))
		e.status, e.body = 206, k.body[max(n-want, 0):]
	case to != "" && number(to) < number(from):
	case int(number(from)) >= n:
		e.status, e.body = 416, ""
	case to == "":
		e.status, e.body = 206, k.body[number(from):]
	default:
		e.status, e.body = 206, k.body[number(from):min(int(number(to))+1, n)]
	}
	return e
}

// TestModel compares the package with the model over random exchanges. The
// full run has a million: -model.steps=1000000.
func TestModel(t *testing.T) {
	const seed = 20260102
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	rarely := func(n int) bool { return rnd.IntN(n) == 0 }
	d := newDriver(t, 8<<20, func(c *config.RouteCache) { c.Uncacheable = 0 })
	m := &model{kept: map[string][]kept{}}
	var trace []string
	for step := range steps() {
		d.now = d.now.Add(time.Duration(rnd.IntN(4)) * time.Second)
		a := ask{method: "GET", url: pick("http://h/a", "http://h/b?x", "http://h/parts"), now: d.now, down: rarely(20)}
		if rarely(6) {
			a.method = pick("HEAD", "HEAD", "HEAD", "POST", "DELETE", "OPTIONS")
		}
		if rarely(2) {
			a.fields = append(a.fields, [2]string{"Foo", pick("1", "2")})
		}
		if rarely(4) {
			a.fields = append(a.fields, [2]string{"Cache-Control", pick("max-age=0", "max-age=5", "max-stale", "max-stale=3",
				"min-fresh=3", "no-cache", "no-store", "only-if-cached", "max-age=2, max-stale=4", "foo")})
		}
		if rarely(20) {
			a.fields = append(a.fields, [2]string{"Authorization", "x"})
		}
		if rarely(6) {
			a.fields = append(a.fields, [2]string{"If-None-Match", pick(`"a"`, `"b"`, "*", `"c", W/"a"`, `"a", "b"`)})
		}
		// Most of one resource is asked for in parts, and has what parts need.
		inParts := strings.HasSuffix(a.url, "/parts") && !rarely(6)
		if (inParts && !rarely(3) || rarely(8)) && a.method == "GET" {
			a.fields = append(a.fields, [2]string{"Range", pick("bytes=0-", "bytes=0-1", "bytes=2-4", "bytes=4-6", "bytes=1-", "bytes=-2", "bytes=900-", "bytes=2-1", "bytes=3-800")})
		}
		date := func(seconds int) string {
			return d.now.Add(time.Duration(seconds) * time.Second).UTC().Format(http.TimeFormat)
		}
		// What the origin has at the moment.
		r := reply{status: 200, body: fmt.Sprintf("body of step %d", step)}
		if rarely(6) {
			r.status, _ = strconv.Atoi(pick("404", "500", "503", "201", "302", "599", "410", "206"))
		}
		if inParts {
			r.fields = append(r.fields, [2]string{"Cache-Control", "max-age=10"}, [2]string{"ETag", pick(`"a"`, `"a"`, `"a"`, `"b"`)})
		}
		for range rnd.IntN(3) {
			if inParts && !rarely(4) {
				break
			}
			r.fields = append(r.fields, [2]string{"Cache-Control", pick("max-age=0", "max-age=3", "max-age=10", "max-age=10", "max-age=x",
				"s-maxage=3", "no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate",
				"stale-while-revalidate=4", "stale-if-error=6", "must-understand", "MAX-AGE=5")})
		}
		if rarely(4) {
			r.fields = append(r.fields, [2]string{"Expires", pick(date(5), date(0), date(-5), "0", "tomorrow")})
		}
		if !rarely(8) {
			r.fields = append(r.fields, [2]string{"Date", date(rnd.IntN(4) - 2)})
		}
		if rarely(6) {
			r.fields = append(r.fields, [2]string{"Age", pick("2", "0", "7", "x")})
		}
		if !inParts && rarely(3) {
			r.fields = append(r.fields, [2]string{"ETag", pick(`"a"`, `"b"`, `W/"a"`)})
		}
		if rarely(4) {
			r.fields = append(r.fields, [2]string{"Last-Modified", date(-10 * (1 + rnd.IntN(10)))})
		}
		if rarely(4) {
			r.fields = append(r.fields, [2]string{"Vary", pick("Foo", "Foo", "Bar, Foo", "*")})
		}
		if rarely(20) {
			r.fields = append(r.fields, [2]string{"Set-Cookie", "a=b"})
		}
		parts := inParts || rarely(2)
		if parts {
			r.body = fmt.Sprintf("%08d", step)
		}
		if a.method == "HEAD" || a.method == "OPTIONS" {
			r.body = ""
		}
		origin := func(tags, part string) reply {
			tag, _ := r.fields.get("ETag")
			for item := range strings.SplitSeq(tags, ", ") {
				if tag != "" && strings.TrimPrefix(item, "W/") == strings.TrimPrefix(tag, "W/") && r.status == 200 {
					return reply{status: 304, fields: r.fields}
				}
			}
			if first, end, ok := wants(part, len(r.body)); part != "" && ok && parts && r.status == 200 {
				contentRange := fmt.Sprintf("bytes %d-%d/%d", first, end-1, len(r.body))
				return reply{206, append(slices.Clone(r.fields), [2]string{"Content-Range", contentRange}), r.body[first:end]}
			}
			return r
		}
		want := m.do(a, origin)
		got := d.do(t, a.method+" "+a.url, a.fields.fields(), "", func(h *head.Head) message {
			if a.down {
				return message{err: errRefused}
			}
			o := origin(string(h.Get(head.IfNoneMatch)), string(h.Get(head.Range)))
			return message{first: strconv.Itoa(o.status), fields: o.fields.fields(), body: o.body}
		})
		gotAge := int64(-1)
		if v, ok := (&message{fields: got.head}).lookup("Age"); ok && want.age >= 0 && want.status != 416 {
			gotAge = number(v)
		} else if want.status == 416 {
			gotAge = want.age
		}
		trace = append(trace, fmt.Sprintf("%d at %v: %s %s %v down %v; origin %v; want %+v", step, d.now.Sub(epoch), a.method, a.url, a.fields, a.down, r, want))
		if got.asked != want.asked || got.asked && got.upstream.field("If-None-Match") != want.tags ||
			got.status != want.status || got.body != want.body || gotAge != want.age || got.refresh != want.refresh {
			for _, line := range trace[max(len(trace)-12, 0):] {
				t.Log(line)
			}
			t.Fatalf("step %d: asked %v with %q, refresh %v, %d, body %q, age %d (%v %v, decided %v %v)", step, got.asked, got.upstream.field("If-None-Match"),
				got.refresh, got.status, got.body, gotAge, got.outcome, got.reason, got.decision.Action, got.decision.Reason)
		}
		if len(trace) > 100 {
			trace = trace[50:]
		}
	}
	if m.joined == 0 || m.completed == 0 || m.answered == 0 {
		t.Errorf("%d parts joined, %d completed, %d answers from parts: the model was not tried", m.joined, m.completed, m.answered)
	}
	t.Logf("%d parts joined, %d completed, %d answers from parts", m.joined, m.completed, m.answered)
}
