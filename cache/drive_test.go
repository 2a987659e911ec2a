package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
)

// epoch is when tests begin. Its Date is Fri, 02 Jan 2026 03:04:05 GMT.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// errRefused is an origin that does not answer.
var errRefused = errors.New("connection refused")

// message is a head and a body, as tests write them.
type message struct {
	first  string // request line or status
	fields rule.Fields
	body   string
	err    error // no answer at all
	cut    bool  // the end of the body is not proven
}

// field is the first value of a name, "" if there is none.
func (m *message) field(name string) string {
	v, _ := m.lookup(name)
	return v
}

func (m *message) lookup(name string) (string, bool) {
	for line := range strings.SplitSeq(string(m.fields), "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

func answer(status int, fields ...string) message {
	m := message{first: strconv.Itoa(status)}
	for _, f := range fields {
		m.fields = append(m.fields, f+"\r\n"...)
	}
	return m
}

// result is what came of an exchange.
type result struct {
	outcome   rule.Outcome
	reason    rule.Reason // of the look-up, or why a stale entry answered
	asked     bool        // the origin was asked
	upstream  message     // what it was asked, the last time
	decision  cache.Decision
	stored    bool
	collapsed bool
	status    int
	head      rule.Fields
	body      string
	err       error
	refresh   bool
}

// driver does what the proxy does with a store, one exchange after the other.
type driver struct {
	store  *cache.Store
	policy *rule.Policy
	now    time.Time
	q      cache.Request
}

func newDriver(t testing.TB, size config.Size, change func(c *config.RouteCache)) *driver {
	t.Helper()
	all := config.Default().Cache
	all.Size = size
	all.MaxObject = min(all.MaxObject, size)
	store, err := cache.NewStore(&all)
	if err != nil {
		t.Fatal(err)
	}
	c := config.DefaultRouteCache()
	if change != nil {
		change(c)
	}
	policy, err := rule.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	return &driver{store: store, policy: policy, now: epoch}
}

// request makes q the request of a method, an absolute URL and fields.
func (d *driver) request(t testing.TB, line string, fields rule.Fields, body string) *cache.Request {
	t.Helper()
	method, url, ok := strings.Cut(line, " ")
	scheme, rest, ok2 := strings.Cut(url, "://")
	if !ok || !ok2 {
		t.Fatalf("request line %q", line)
	}
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	h := new(head.Head)
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + string(fields)
	if body != "" {
		text += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	if err := h.ScanRequest([]byte(text + "\r\n")); err != nil {
		t.Fatalf("request %q: %v", text, err)
	}
	d.q.Policy, d.q.Head, d.q.Now = d.policy, h, d.now
	d.q.Scheme, d.q.Host, d.q.Target = []byte(scheme), []byte(host), []byte(target)
	d.q.Body, d.q.Content = body != "", nil
	if d.q.Body && rule.IsQuery(h) {
		d.q.Content = []byte(body)
	}
	return &d.q
}

// origin answers what it is asked.
type origin func(h *head.Head) message

// do runs an exchange.
func (d *driver) do(t testing.TB, line string, fields rule.Fields, body string, o origin) result {
	t.Helper()
	q := d.request(t, line, fields, body)
	found := d.store.Lookup(q)
	r := result{outcome: found.Outcome, reason: found.Reason}
	ask := func(h *head.Head) message {
		r.asked = true
		r.upstream = message{first: string(h.Method()) + " " + string(h.Target())}
		for f := range h.All() {
			r.upstream.fields = rule.AppendField(r.upstream.fields, f.Name, f.Value)
		}
		return o(h)
	}
	switch found.Outcome {
	case rule.Fresh, rule.Stale:
		d.reply(t, &r, q, &found)
		if found.Refresh {
			if f := d.store.Refresh(q, &found); f != nil {
				r.refresh = true
				d.fetch(t, &r, nil, nil, f, ask)
			}
		}
		return r
	case rule.Unavailable:
		r.status = 504
		return r
	case rule.Bypass:
		m := ask(q.Head)
		r.pass(m)
		if m.err == nil {
			f, _ := d.store.Unsafe(q, d.response(m))
			if f != nil {
				r.decision = f.Respond(q, d.response(m))
				d.finish(t, &r, f, m)
			}
		}
		return r
	}
	f, role := d.store.Join(q, &found, false)
	switch role {
	case cache.Lead, cache.Alone:
		d.fetch(t, &r, q, &found, f, ask)
	default:
		t.Fatalf("role %v with one exchange at a time", role)
	}
	return r
}

func (r *result) pass(m message) {
	if m.err != nil {
		r.status, r.err = 502, m.err
		return
	}
	r.status, _ = strconv.Atoi(m.first)
	r.head, r.body = m.fields, m.body
	if m.cut {
		r.err = io.ErrUnexpectedEOF
	}
}

func (d *driver) response(m message) *rule.Response {
	status, _ := strconv.Atoi(m.first)
	r := &rule.Response{Status: status, Fields: m.fields, Length: -1, Requested: d.now, Received: d.now}
	if v, ok := m.lookup("Content-Length"); ok {
		r.Length, _ = strconv.ParseInt(v, 10, 64)
	}
	return r
}

// fetch asks the origin on behalf of f; without q in the background.
func (d *driver) fetch(t testing.TB, r *result, q *cache.Request, found *cache.Found, f *cache.Fetch, ask origin) {
	defer f.Abort(cache.ErrAborted)
	var h head.Head
	f.Request().CopyTo(&h)
	f.Condition(&h)
	m := ask(&h)
	if m.err != nil {
		if q == nil {
			return
		}
		if reason, ok := found.StaleFor(q, rule.FailedConnection); ok {
			found.Outcome, found.Reason = rule.Stale, reason
			r.outcome, r.reason = rule.Stale, reason
			d.reply(t, r, q, found)
			return
		}
		r.pass(m)
		return
	}
	r.decision = f.Respond(q, d.response(m))
	switch r.decision.Action {
	case cache.Again:
		h.Del(head.IfNoneMatch)
		h.Del(head.IfModifiedSince)
		m = ask(&h)
		r.decision = f.Respond(q, d.response(m))
	case cache.Updated, cache.UseStale:
		if q != nil {
			found.Entry = r.decision.Entry
			if r.decision.Action == cache.UseStale {
				r.outcome, r.reason = rule.Stale, r.decision.Reason
			}
			d.reply(t, r, q, found)
		}
		return
	}
	if q != nil {
		r.pass(m)
		d.want(t, r, q, f, m)
	}
	d.finish(t, r, f, m)
	if q != nil && r.stored && f.Narrowed() {
		// The fetch did without the client's own condition or range.
		found := f.Found()
		d.reply(t, r, q, &found)
	}
}

// want gives the client what it asked for of a response that is not stored, and for which
// the fetch did without the client's own condition or range.
func (d *driver) want(t testing.TB, r *result, q *cache.Request, f *cache.Fetch, m message) {
	if r.decision.Action != cache.Pass {
		return
	}
	if e, ok := f.WantsNothing(q, d.response(m)); ok {
		d.reply(t, r, q, &cache.Found{Outcome: rule.Fresh, Entry: e})
	} else if f.WantsRange(q, d.response(m)) {
		r.status = 206
		length := len(r.body)
		r.head = rule.AppendField(bytes.Clone(r.head), []byte("Content-Range"), fmt.Appendf(nil, "bytes 0-%d/%d", length-1, length))
	}
}

func (d *driver) finish(t testing.TB, r *result, f *cache.Fetch, m message) {
	defer f.Abort(cache.ErrAborted)
	if r.decision.Action != cache.Keep {
		return
	}
	body := m.body
	for len(body) > 0 {
		n := min(len(body), 7+len(m.body)/8)
		f.Write([]byte(body[:n]))
		body = body[n:]
	}
	if !m.cut {
		r.stored = f.Commit() == rule.ReasonNone
	}
}

// reply answers from what was found.
func (d *driver) reply(t testing.TB, r *result, q *cache.Request, found *cache.Found) {
	a, ok := d.store.Answer(q, found)
	if !ok {
		t.Fatal("only the origin can judge")
	}
	r.status = a.Status
	raw := a.Head()
	line := bytes.IndexByte(raw, '\n') + 1
	if want := fmt.Sprintf("HTTP/1.1 %d ", a.Status); !bytes.HasPrefix(raw, []byte(want)) {
		t.Fatalf("status line %q for %d", raw[:line], a.Status)
	}
	r.head = rule.AppendField(bytes.Clone(raw[line:]), []byte("Age"), strconv.AppendInt(nil, a.Age, 10))
	r.body = string(a.Body)
	r.collapsed = found.Collapsed
	if a.Reader != nil {
		defer a.Reader.Close()
		var body []byte
		for {
			p, err := a.Reader.Next(nil)
			if err == io.EOF {
				break
			}
			if err != nil {
				r.err = err
				break
			}
			body = append(body, p...)
		}
		r.body = string(body)
	}
	if !a.Bodyless && a.Length >= 0 && r.err == nil && int64(len(r.body)) != a.Length {
		t.Fatalf("%d body bytes, announced %d", len(r.body), a.Length)
	}
	checkLent(t, &a)
}

// checkLent checks that the lent head of an answer goes out as the bytes of the answer's head,
// and says of itself what a scan of these bytes finds.
func checkLent(t testing.TB, a *cache.Answer) {
	t.Helper()
	var lent, scanned head.Head
	a.Lend(&lent)
	sent := lent.AppendTo(nil)
	if want := string(a.Head()) + "\r\n"; string(sent) != want {
		t.Fatalf("the lent head goes out as %q, want %q", sent, want)
	}
	if err := scanned.ScanResponse(sent); err != nil {
		t.Fatalf("cannot scan head %q: %v", sent, err)
	}
	if lent.Status != a.Status || lent.Status != scanned.Status || lent.Length != a.Length || lent.Present() != scanned.Present() {
		t.Fatalf("%q is lent with status %d, length %d and fields %#x; the answer has %d and %d, a scan finds %d and fields %#x",
			sent, lent.Status, lent.Length, lent.Present(), a.Status, a.Length, scanned.Status, scanned.Present())
	}
}
